"""Instructions as 128-bit words: encode and decode, one mapping used in both directions.

A program is an array of words, uint64[n, 2], low half first.
"""

import struct
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.spec import Instruction, isa
from ndpsim.jit import njit

_LOW_HALF = (1 << 64) - 1


def float_bits(value: float) -> int:
    """Return the binary32 bit pattern of a number (rounded to nearest even)."""
    return int(np.float32(value).view(np.uint32))


def float_from_bits(bits: int) -> float:
    """Return the number with this binary32 bit pattern."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def encode(mnemonic: str, operands: Mapping[str, int]) -> int:
    """Encode one instruction as an integer of 128 bits.

    `operands` gives every field of the instruction as a raw non-negative integer (types by code, floats by bits).
    Raises InputError naming the instruction and the field that is missing, unknown or too wide.
    """
    instruction = isa().instructions.get(mnemonic)
    if instruction is None:
        raise InputError(f"{mnemonic}: no such instruction; known are {', '.join(isa().instructions)}")
    word = instruction.opcode
    for field in instruction.fields:
        try:
            value = int(operands[field.name])
        except KeyError:
            raise InputError(f"{mnemonic}: operand {field.name} is missing") from None
        if not 0 <= value < 1 << field.width:
            raise InputError(f"{mnemonic}: {field.name}: expected 0 to {(1 << field.width) - 1}, found {value}")
        word |= value << field.lo
    if len(operands) != len(instruction.fields):
        unknown = set(operands) - {field.name for field in instruction.fields}
        raise InputError(f"{mnemonic}: unknown operand {', '.join(sorted(unknown))}")
    return word


def encoder(mnemonic: str) -> Callable[..., int]:
    """Return a function from the operands, in the order of the instruction's fields, to the word; for compilers."""
    instruction = isa().instructions[mnemonic]
    shape = [(field.lo, 1 << field.width, field.name) for field in instruction.fields]

    def pack(*operands: int) -> int:
        word = instruction.opcode
        for value, (lo, limit, name) in zip(operands, shape, strict=True):
            if not 0 <= value < limit:
                raise InputError(f"{mnemonic}: {name}: expected 0 to {limit - 1}, found {value}")
            word |= value << lo
        return word

    return pack


def words_to_array(words: list[int]) -> NDArray[np.uint64]:
    """Pack 128-bit integers into uint64[n, 2], low half first."""
    halves = [half for word in words for half in (word & _LOW_HALF, word >> 64)]
    return np.array(halves, np.uint64).reshape(-1, 2)


def array_to_words(words: NDArray[np.uint64]) -> list[int]:
    """Unpack uint64[n, 2] into 128-bit integers."""
    return [int(low) | int(high) << 64 for low, high in words.tolist()]


def relocated(words: NDArray[np.uint64], atoms: int) -> NDArray[np.uint64]:
    """Add to the base of every `mat`: a program encoded for matrices at atom 0 then finds them at `atoms`.

    words: uint64[n, 2]; they stay as they are. Raises InputError if a base becomes too large for its field.
    """
    base = isa().fields["base"]
    moved, fits = _relocated(words, atoms, base.lo, (1 << base.width) - 1)
    if not fits:
        raise InputError(f"mat: base: expected 0 to {(1 << base.width) - 1}, found a matrix behind that")
    return moved


@njit
def _relocated(words: NDArray[np.uint64], atoms: int, lo: int, most: int) -> tuple[NDArray[np.uint64], bool]:
    moved = words.copy()
    for i in range(words.shape[0]):
        low = np.uint64(words[i, 0])
        if low & np.uint64(0xFF) == np.uint64(codes.OP_MAT):
            if np.int64(low >> np.uint64(lo)) & most > most - atoms:
                return moved, False
            moved[i, 0] = low + (np.uint64(atoms) << np.uint64(lo))
    return moved, True


def decode(word: int) -> tuple[Instruction, dict[str, int]] | None:
    """Decode one word into its instruction and raw operands, or None where the encoding is undefined."""
    instruction = isa().by_opcode.get(word & 0xFF)
    if instruction is None or word & ~instruction.mask:
        return None
    operands = {field.name: word >> field.lo & ((1 << field.width) - 1) for field in instruction.fields}
    allowed = {isa().types[name].code for name in instruction.types}
    if any(field.kind == "type" and operands[field.name] not in allowed for field in instruction.fields):
        return None
    return instruction, operands
