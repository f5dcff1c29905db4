"""Frames that several systems share."""
