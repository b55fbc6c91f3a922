"""One module per kind of measurement; each is an intervention on the decoder loop."""
