"""Models, each behind the interface `model.Model`; `loading.load` finds the family of a checkpoint."""
