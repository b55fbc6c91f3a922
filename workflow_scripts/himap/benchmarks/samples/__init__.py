"""From published rows to samples.parquet."""
