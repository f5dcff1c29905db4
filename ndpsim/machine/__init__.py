"""Devices and the timeline: who is busy when."""
