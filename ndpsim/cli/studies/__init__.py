"""`ndpsim study` and `ndpsim reproduce`."""
