"""Instructions as rows of plain numbers: the form that the resolve pass, the executor and the timing kernel share."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.isa import codes
from ndpsim.isa.spec import isa
from ndpsim.jit import borrowing

Ints = NDArray[np.int64]

# Columns of a resolved instruction. The first ones are the raw fields; a matrix instruction also gets what its
# registers hold, with REGION the number of the region and OFFSET the byte in it at which row 0 begins. MASKS: index in
# the joined lists of the first row's sequence mask, or -1 where every row works for the whole batch.
(
    OP, TYPE, TO, MAT, LIST, BATCH, PEER, SRC, SRC2, DST, COUNT, FIRST, VALUE, BASE, ROWS, COLS, STRIDE, REGION, LISTED,
    LENGTH, OFFSET, MASKS, LEGAL,
) = range(23)  # fmt: skip
_RAW = {
    "op": OP, "type": TYPE, "to": TO, "list": LIST, "batch": BATCH, "src": SRC, "src2": SRC2, "dst": DST,
    "count": COUNT, "first": FIRST, "base": BASE, "rows": ROWS, "cols": COLS, "stride": STRIDE,
}  # fmt: skip


class Encodings(NamedTuple):
    """The instruction set, for kernels.

    columns: int64[n, 3], the column of a raw field, its lowest bit in the word, and its width; by opcode, masks:
    uint64[256, 2], the bits that may be set, and types: int64[256], a bit mask of the allowed types.
    """

    columns: Ints
    masks: NDArray[np.uint64]
    types: Ints


@cache
def encodings() -> Encodings:
    """Return the instruction set."""
    fields = isa().fields
    columns = np.array([(column, fields[name].lo, fields[name].width) for name, column in _RAW.items()], np.int64)
    masks = np.zeros((256, 2), np.uint64)
    types = np.zeros(256, np.int64)
    for instruction in isa().instructions.values():
        low, high = instruction.mask & (1 << 64) - 1, instruction.mask >> 64
        masks[instruction.opcode] = low, high
        types[instruction.opcode] = sum(1 << isa().types[name].code for name in instruction.types)
    return Encodings(columns, masks, types)


def decode_fields(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Decode words uint64[n, 2] into rows int64[n, 23]: raw fields, MASKS (-1), LEGAL (1 if it is an encoding)."""
    ops = new_ops(len(words))
    decode_words(words, *encodings(), ops)
    return ops


def new_ops(count: int) -> NDArray[np.int64]:
    """Return room for instructions."""
    return np.empty((count, LEGAL + 1), np.int64)


@borrowing
def decode_words(words: NDArray[np.uint64], columns: Ints, masks: NDArray[np.uint64], types: Ints, ops: Ints) -> None:
    """Do the work of `decode_fields`; columns, masks, types: those of `Encodings`."""
    for i in range(words.shape[0]):
        low, high, op = words[i, 0], words[i, 1], ops[i]
        for j in range(ops.shape[1]):
            op[j] = 0
        for j in range(columns.shape[0]):
            column, lo, width = columns[j, 0], columns[j, 1], columns[j, 2]
            value = low >> np.uint64(lo) if lo < 64 else high >> np.uint64(lo - 64)
            if lo < 64 < lo + width:
                value |= high << np.uint64(64 - lo)
            op[column] = np.int64(value & np.uint64((1 << width) - 1))
        op[MAT], op[PEER], op[VALUE] = op[TO], op[BATCH], op[FIRST]
        op[MASKS] = -1
        mask_low, mask_high, allowed = masks[op[OP], 0], masks[op[OP], 1], types[op[OP]]
        legal = mask_low != 0 and low & ~mask_low == 0 and high & ~mask_high == 0
        legal = legal and (allowed == 0 or allowed >> op[TYPE] & 1 == 1)
        op[LEGAL] = legal and (op[OP] != codes.OP_CVT or allowed >> op[TO] & 1 == 1)
