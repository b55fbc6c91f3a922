"""Two runs side by side, and the archive in which a run travels."""
