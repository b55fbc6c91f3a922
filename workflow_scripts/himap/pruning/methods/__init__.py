"""Built-in methods, one YAML file each."""
