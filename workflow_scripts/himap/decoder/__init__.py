"""The loop over decoder layers, and the tokens, caches and attention that it works with."""
