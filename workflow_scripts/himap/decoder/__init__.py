"""The one loop over decoder layers, and what it runs on."""
