"""Memory requests: traces in files, and made up by name."""
