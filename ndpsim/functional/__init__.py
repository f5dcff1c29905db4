"""Runs with numbers: feed-forward blocks and whole layers that DIMMs compute bit for bit."""
