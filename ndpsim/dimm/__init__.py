"""The NDP unit and its DIMM: functional execution and timing."""
