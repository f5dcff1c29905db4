"""`ndpsim dram` and `ndpsim check`: the host controller, standards, and the checker of command logs."""
