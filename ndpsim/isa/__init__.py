"""The instruction set: encode, decode, assemble, disassemble, program files."""
