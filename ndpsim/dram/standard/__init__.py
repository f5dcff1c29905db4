"""DRAM standards as data: organisation, timings, constraints, currents; STANDARDS.md says how to write one."""
