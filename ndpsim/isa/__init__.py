"""The instruction set, from `isa/ndp.toml`: encode, decode, assemble, disassemble; its manual, and program files."""
