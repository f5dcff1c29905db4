"""`ndpsim run`, `rerun`, `timeline`, `list` and `cache`: a run, its table, and what is kept of it."""
