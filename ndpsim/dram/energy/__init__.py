"""Joules of a command log: currents of the data sheet, and the commands that were counted."""
