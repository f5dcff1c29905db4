"""ndpsim: near-data processing in DIMMs for language-model inference, simulated command by command."""

__version__ = "0.1.0"
