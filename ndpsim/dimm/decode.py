"""Instructions as rows of plain numbers: the form that the resolve pass, the executor and the timing kernel share."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.isa import codes
from ndpsim.isa.encoding import extract
from ndpsim.isa.spec import isa

# Columns of a resolved instruction. The first ones are the raw fields; a matrix instruction also gets what its
# registers hold, with REGION the number of the region and OFFSET the byte in it at which row 0 begins.
(
    OP, TYPE, TO, MAT, LIST, BATCH, PEER, SRC, SRC2, DST, COUNT, FIRST, VALUE, BASE, ROWS, COLS, STRIDE, REGION, LISTED,
    LENGTH, OFFSET, LEGAL,
) = range(22)  # fmt: skip
_RAW = {
    "op": OP, "type": TYPE, "to": TO, "list": LIST, "batch": BATCH, "src": SRC, "src2": SRC2, "dst": DST,
    "count": COUNT, "first": FIRST, "base": BASE, "rows": ROWS, "cols": COLS, "stride": STRIDE,
}  # fmt: skip


@cache
def _legal_bits() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return by opcode: the bits that may be set, uint64[256, 2], and a bit mask of allowed types, int64[256]."""
    masks = np.zeros((256, 2), np.uint64)
    types = np.zeros(256, np.int64)
    for instruction in isa().instructions.values():
        low, high = instruction.mask & (1 << 64) - 1, instruction.mask >> 64
        masks[instruction.opcode] = low, high
        types[instruction.opcode] = sum(1 << isa().types[name].code for name in instruction.types)
    return masks, types


def decode_fields(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Decode words uint64[n, 2] into rows int64[n, 22]: raw fields, and LEGAL (1 if the encoding is defined)."""
    fields = isa().fields
    ops = np.zeros((len(words), LEGAL + 1), np.int64)
    for name, column in _RAW.items():
        ops[:, column] = extract(words, fields[name])
    ops[:, MAT] = ops[:, TO]
    ops[:, PEER] = ops[:, BATCH]
    ops[:, VALUE] = ops[:, FIRST]
    masks, types = _legal_bits()
    opcode = ops[:, OP]
    legal = ((words & ~masks[opcode]) == 0).all(axis=1) & (masks[opcode, 0] != 0)
    typed = types[opcode] != 0
    legal &= ~typed | (types[opcode] >> ops[:, TYPE] & 1 == 1)
    legal &= (opcode != codes.OP_CVT) | (types[opcode] >> ops[:, TO] & 1 == 1)
    ops[:, LEGAL] = legal
    return ops
