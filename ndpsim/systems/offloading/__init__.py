"""Baselines with weights in host memory: Accelerate, FlexGen, Deja Vu."""
