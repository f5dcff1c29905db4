"""Published results beside simulated ones, and sweeps: data in `workloads/studies/`, a table or a plot as result."""
