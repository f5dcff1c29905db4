"""The judge of command logs: rules of its own, apart from the simulators."""
