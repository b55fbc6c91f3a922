"""Built-in methods, one YAML file each: a file added here is a method that every config knows (`himap.pruning.resolve.load_all`)."""
