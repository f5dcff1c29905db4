"""One module a system: who computes and stores what, and nothing else."""
