"""Activation traces: capture, store, describe."""
