"""Command-line tools beside the workflow."""
