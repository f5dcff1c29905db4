"""NDP streams of a rank: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies them."""
