"""The config: schema, defaults, checks, and its generated documentation."""
