"""Memory requests: traces from text and HDF5 files, and traces made up by name."""
