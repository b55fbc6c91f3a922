"""Rewrite checkpoints of other layouts as safetensors in a layout that transformers or this project reads."""
