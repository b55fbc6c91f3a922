"""What runs inside a job: journal, progress, devices, provenance."""
