"""Ranks that the host shares with NDP units, under an arbitration policy."""
