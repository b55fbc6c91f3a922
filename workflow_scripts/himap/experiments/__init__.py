"""Measurements on a model, one module per kind: each runs the decoder loop with an intervention, or beside a clock."""
