"""Slow, independent twins of the fast code, and the tests that hold them to the specification."""
