"""Hermes (HPCA 2025) and its relatives: hot neurons on the GPU, cold ones in DIMMs or on the host."""
