"""NDP streams: trains of bursts from the ranks of a DIMM to its MAC array; STREAM_CONTROLLER.md specifies them."""
