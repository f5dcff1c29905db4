"""A run in lockstep: its setup, its traces and their cache, and the driver of a system."""
