"""The NDP unit and its DIMM: the machine as data, and programs checked, executed, timed and charged their energy."""
