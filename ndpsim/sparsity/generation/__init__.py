"""Activation traces from published figures: the generator, its parameters and presets; GENERATOR.md is the model."""
