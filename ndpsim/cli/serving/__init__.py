"""The command for requests that arrive over time."""
