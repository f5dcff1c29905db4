"""A run in lockstep: its setup and changes to it, the driver that asks a system for steps, traces and their cache."""
