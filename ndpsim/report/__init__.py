"""What is left of a run: its figures, result files, timelines."""
