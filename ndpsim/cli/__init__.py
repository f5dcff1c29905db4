"""The command line: each command parses, calls and prints; progress, tables and interrupts. No results are computed."""
