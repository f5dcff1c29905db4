"""`ndpsim compile`, `generate`, `asm`, `disasm` and `exec`: programs of NDP units."""
