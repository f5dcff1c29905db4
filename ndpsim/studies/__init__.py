"""Studies: runs over a range of parameters, defined in `workloads/studies/*.toml`, with a table or a plot as result."""
