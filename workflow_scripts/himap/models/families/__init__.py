"""Model families, one file each; a checkpoint's config.json decides which one loads it."""
