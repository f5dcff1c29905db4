"""Placement of weights, lowering, per-DIMM programs."""
