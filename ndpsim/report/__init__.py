"""What is left of a run: result files, timelines."""
