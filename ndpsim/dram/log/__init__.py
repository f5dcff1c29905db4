"""Command logs: in memory, in HDF5, and as CSV of other simulators."""
