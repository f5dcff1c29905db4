"""Checks of a single instruction, without data: each returns the code of the first trap that holds, or 0.

An instruction is a row of numbers, int64[23], with the columns of `ndpsim.dimm.decode`; a matrix instruction also gets
from here what its registers hold.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import decode
from ndpsim.isa import codes, facts
from ndpsim.jit import borrowing

Ints = NDArray[np.int64]


@borrowing
def _overlaps(a: int, a_bytes: int, b: int, b_bytes: int, may_coincide: bool) -> bool:
    if a_bytes <= 0 or b_bytes <= 0 or a + a_bytes <= b or b + b_bytes <= a:
        return False
    return not (may_coincide and a == b and a_bytes == b_bytes)


@borrowing
def operand_bytes(shape: int, width: int, op: Ints) -> int:
    """Return the bytes of a buffer operand, -1 if there is none; width: bytes of an element."""
    vectors = max(op[decode.BATCH], 1)  # instructions without a batch have zero there
    if shape == facts.NOTHING:
        return -1
    if shape == facts.VALUES:
        return op[decode.COUNT] * vectors * width
    if shape == facts.VECTORS:
        return 4 * vectors
    if shape == facts.STATE:
        return 16 * vectors
    if shape == facts.COLUMNS:
        return vectors * op[decode.COLS] * width
    if shape == facts.ROWS:
        return vectors * op[decode.LENGTH] * width
    return op[decode.LENGTH] * op[decode.COLS] * width if shape == facts.MATRIX else op[decode.COUNT]


@borrowing
def width_of(by: int, op: Ints) -> int:
    """Return the bytes of an element of an operand; by: SRC_WIDTH or DST_WIDTH of the instruction."""
    if by == facts.WORD:
        return 4
    return codes.TYPE_BYTES[op[decode.TYPE]] if by == facts.BY_TYPE else codes.TYPE_BYTES[op[decode.TO]]


@borrowing
def check_buffer(op: Ints, fact: Ints, buffer_bytes: int) -> int:
    """Check the buffer operands of an instruction; fact: what `isa/facts.py` says of it."""
    width = width_of(fact[facts.SRC_WIDTH], op)
    src, src2 = operand_bytes(fact[facts.SRC], width, op), operand_bytes(fact[facts.SRC2], width, op)
    dst = operand_bytes(fact[facts.DST], width_of(fact[facts.DST_WIDTH], op), op)
    at, at2, to = op[decode.SRC], op[decode.SRC2], op[decode.DST]
    for place, size in ((at, src), (at2, src2), (to, dst)):
        if size >= 0 and place % codes.ALIGNMENT:
            return codes.TRAP_MISALIGNED
    for place, size in ((at, src), (at2, src2), (to, dst)):
        if size >= 0 and place + size > buffer_bytes:
            return codes.TRAP_BUFFER
    in_place = fact[facts.IN_PLACE] == 1
    overlap = _overlaps(at, src, to, dst, in_place)
    if fact[facts.SRC2] == facts.STATE:  # it is also a result
        overlap = overlap or _overlaps(at, src, at2, src2, False) or _overlaps(at2, src2, to, dst, False)
    else:
        overlap = overlap or _overlaps(at2, src2, to, dst, in_place)
    return codes.TRAP_OVERLAP if overlap else 0


@borrowing
def check_matrix(op: Ints, region_lo: int, region_hi: int, regions: Ints) -> int:
    """Find the region in which the matrix of a `mat` lies, of those from `region_lo` to `region_hi`, and check it."""
    row_bytes = op[decode.COLS] * codes.TYPE_BYTES[op[decode.TYPE]]
    if op[decode.COLS] == 0 or (op[decode.ROWS] > 1 and op[decode.STRIDE] * codes.ATOM_BYTES < row_bytes):
        return codes.TRAP_OPERAND
    op[decode.REGION] = -1
    if op[decode.ROWS] > 0:
        lo = op[decode.BASE] * codes.ATOM_BYTES
        hi = lo + (op[decode.ROWS] - 1) * op[decode.STRIDE] * codes.ATOM_BYTES + row_bytes
        for i in range(region_lo, region_hi):
            if regions[i, 0] <= lo and hi <= regions[i, 1]:
                op[decode.REGION] = i - region_lo
                op[decode.OFFSET] = lo - regions[i, 0]
        if op[decode.REGION] < 0:
            return codes.TRAP_REGION
    return 0


@borrowing
def check_stream(op: Ints, fact: Ints, matrices: Ints, matrix: int, registers: Ints, entry: int,
                 lists: NDArray[np.uint32], regions: Ints, region_lo: int, buffer_bytes: int) -> int:  # fmt: skip
    """Give a matrix instruction what its registers hold, and check it.

    matrices, registers: as `check_ops` keeps them; its own ones begin at `matrix` and `entry`.
    """
    product = fact[facts.BATCHED] == 1
    if product and op[decode.BATCH] == 0:
        return codes.TRAP_OPERAND
    if matrices[matrix] < 0 or registers[entry] < 0:
        return codes.TRAP_UNSET
    op[decode.TYPE], op[decode.BASE], op[decode.ROWS] = matrices[matrix], matrices[matrix + 1], matrices[matrix + 2]
    op[decode.COLS], op[decode.STRIDE] = matrices[matrix + 3], matrices[matrix + 4]
    op[decode.REGION], op[decode.OFFSET] = matrices[matrix + 5], matrices[matrix + 6]
    op[decode.LISTED], op[decode.FIRST], op[decode.LENGTH] = (
        registers[entry],
        registers[entry + 1],
        registers[entry + 2],
    )
    op[decode.MASKS] = registers[entry + 3] if product else -1
    if not product and op[decode.COLS] * codes.TYPE_BYTES[op[decode.TYPE]] % codes.ALIGNMENT:
        return codes.TRAP_MISALIGNED
    trap = check_buffer(op, fact, buffer_bytes)
    if trap:
        return trap
    first, n, held = op[decode.FIRST], op[decode.LENGTH], op[decode.ROWS]
    if op[decode.LISTED] == 1:
        missing = 0
        for i in range(first, first + n):  # to the end, so that several are handled at once
            missing += lists[i] >= held
        if missing:
            return codes.TRAP_ROW
    elif n > 0 and first + n > held:
        return codes.TRAP_ROW
    if fact[facts.SRC] == facts.MATRIX and op[decode.REGION] >= 0 and regions[region_lo + op[decode.REGION], 2] == 0:
        return codes.TRAP_REGION
    if op[decode.MASKS] >= 0 and (op[decode.BATCH] > codes.ENTRY_BITS or registers[entry + 4] >> op[decode.BATCH] != 0):
        return codes.TRAP_MASK
    return 0


@borrowing
def set_masks(registers: Ints, entry: int, first: int, end: int, lists: NDArray[np.uint32]) -> int:
    """Give a list register the masks from `first` on in the joined lists, in a section that ends at `end`."""
    if registers[entry] < 0:
        return codes.TRAP_UNSET
    n = registers[entry + 2]
    if first + n > end:
        return codes.TRAP_LIST
    union, empty = 0, 0
    for i in range(first, first + n):  # to the end, so that several are handled at once
        mask = int(lists[i])
        union |= mask
        empty += mask == 0
    if empty:
        return codes.TRAP_MASK
    registers[entry + 3], registers[entry + 4] = first, union
    return 0


@borrowing
def check_vector(op: Ints, fact: Ints, buffer_bytes: int) -> int:
    """Check an instruction of the vector unit."""
    if fact[facts.BATCHED] == 1 and op[decode.BATCH] == 0:
        return codes.TRAP_OPERAND
    if op[decode.OP] == codes.OP_CVT and (op[decode.TYPE] == codes.T_F32) == (op[decode.TO] == codes.T_F32):
        return codes.TRAP_OPERAND
    return check_buffer(op, fact, buffer_bytes)
