"""Bank-level units: streams in all banks of a rank at once, in lockstep."""
