"""Everything that knows Snakemake or SLURM."""
