"""Model families, one file each, found by a checkpoint's config.json."""
