"""Rewrite checkpoints of other layouts as safetensors in the layout that transformers reads."""
