"""DRAM: standards, the stream engine, command log, legality checker."""
