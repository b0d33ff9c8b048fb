"""The gate on the repository of someone else."""
