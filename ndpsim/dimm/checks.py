"""Checks of a single instruction, without data: each returns the code of the first trap that holds, or 0.

An instruction is a row of numbers, int64[23], with the columns of `ndpsim.dimm.decode`; a matrix instruction also gets
from here what its registers hold.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.decode import (
    BASE,
    BATCH,
    COLS,
    COUNT,
    DST,
    FIRST,
    LENGTH,
    LIST,
    LISTED,
    MASKS,
    MAT,
    OFFSET,
    OP,
    REGION,
    ROWS,
    SRC,
    SRC2,
    STRIDE,
    TO,
    TYPE,
)
from ndpsim.isa import codes
from ndpsim.jit import njit

Ints = NDArray[np.int64]


@njit
def _overlaps(a: int, a_bytes: int, b: int, b_bytes: int, may_coincide: bool) -> bool:
    if a_bytes <= 0 or b_bytes <= 0 or a + a_bytes <= b or b + b_bytes <= a:
        return False
    return not (may_coincide and a == b and a_bytes == b_bytes)


@njit
def check_buffer(
    op: Ints, buffer_bytes: int, src_bytes: int, src2_bytes: int, dst_bytes: int, may_coincide: bool
) -> int:
    """Check up to three buffer operands; a size of -1 means that one is not used."""
    sizes = (src_bytes, src2_bytes, dst_bytes)
    places = (op[SRC], op[SRC2], op[DST])
    for i in range(3):
        if sizes[i] >= 0 and places[i] % codes.ALIGNMENT:
            return codes.TRAP_MISALIGNED
    for i in range(3):
        if sizes[i] >= 0 and places[i] + sizes[i] > buffer_bytes:
            return codes.TRAP_BUFFER
    if dst_bytes >= 0:
        for i in range(2):
            if sizes[i] >= 0 and _overlaps(places[i], sizes[i], places[2], dst_bytes, may_coincide):
                return codes.TRAP_OVERLAP
    return 0


@njit
def check_matrix(op: Ints, region_lo: int, region_hi: int, regions: Ints) -> int:
    """Find the region in which the matrix of a `mat` lies, of those from `region_lo` to `region_hi`, and check it."""
    row_bytes = op[COLS] * codes.TYPE_BYTES[op[TYPE]]
    if op[COLS] == 0 or (op[ROWS] > 1 and op[STRIDE] * codes.ATOM_BYTES < row_bytes):
        return codes.TRAP_OPERAND
    op[REGION] = -1
    if op[ROWS] > 0:
        lo = op[BASE] * codes.ATOM_BYTES
        hi = lo + (op[ROWS] - 1) * op[STRIDE] * codes.ATOM_BYTES + row_bytes
        for i in range(region_lo, region_hi):
            if regions[i, 0] <= lo and hi <= regions[i, 1]:
                op[REGION] = i - region_lo
                op[OFFSET] = lo - regions[i, 0]
        if op[REGION] < 0:
            return codes.TRAP_REGION
    return 0


@njit
def check_stream(
    op: Ints,
    matrices: Ints,
    list_registers: Ints,
    lists: NDArray[np.uint32],
    regions: Ints,
    region_lo: int,
    buffer_bytes: int,
) -> int:
    """Give a matrix instruction what its registers hold, and check it.

    matrices, list_registers: the registers of its DIMM, as `check_ops` keeps them.
    """
    code = op[OP]
    product = code in (codes.OP_DOT, codes.OP_AXPY)
    if product and op[BATCH] == 0:
        return codes.TRAP_OPERAND
    matrix = matrices[op[MAT]]
    entry = list_registers[op[LIST]]
    if matrix[0] < 0 or entry[0] < 0:
        return codes.TRAP_UNSET
    op[TYPE] = matrix[0]
    op[BASE], op[ROWS], op[COLS], op[STRIDE] = matrix[1], matrix[2], matrix[3], matrix[4]
    op[REGION], op[OFFSET] = matrix[5], matrix[6]
    op[LISTED], op[FIRST], op[LENGTH] = entry[0], entry[1], entry[2]
    op[MASKS] = entry[3] if product else -1
    size = codes.TYPE_BYTES[op[TYPE]]
    row_bytes = op[COLS] * size
    n = op[LENGTH]
    if product:
        narrow = op[BATCH] * size * (op[COLS] if code == codes.OP_DOT else n)
        wide = op[BATCH] * 4 * (n if code == codes.OP_DOT else op[COLS])
        trap = check_buffer(op, buffer_bytes, narrow, -1, wide, False)
    elif row_bytes % codes.ALIGNMENT:
        trap = codes.TRAP_MISALIGNED
    elif code == codes.OP_LD:
        trap = check_buffer(op, buffer_bytes, -1, -1, n * row_bytes, False)
    else:
        trap = check_buffer(op, buffer_bytes, n * row_bytes, -1, -1, False)
    if trap:
        return trap
    if op[LISTED] == 1:
        rows, held = lists[op[FIRST] : op[FIRST] + n], op[ROWS]
        missing = 0
        for i in range(n):  # to the end, so that several are handled at once
            missing += rows[i] >= held
        if missing:
            return codes.TRAP_ROW
    elif n > 0 and op[FIRST] + n > op[ROWS]:
        return codes.TRAP_ROW
    if code == codes.OP_ST and op[REGION] >= 0 and regions[region_lo + op[REGION], 2] == 0:
        return codes.TRAP_REGION
    if op[MASKS] >= 0 and (op[BATCH] > codes.ENTRY_BITS or entry[4] >> op[BATCH] != 0):
        return codes.TRAP_MASK
    return 0


@njit
def set_masks(entry: Ints, first: int, end: int, lists: NDArray[np.uint32]) -> int:
    """Give a list register the masks from `first` on in the joined lists, in a section that ends at `end`."""
    if entry[0] < 0:
        return codes.TRAP_UNSET
    if first + entry[2] > end:
        return codes.TRAP_LIST
    masks = lists[first : first + entry[2]]
    union = np.uint32(0)
    empty = 0
    for i in range(len(masks)):  # to the end, so that several are handled at once
        union |= masks[i]
        empty += masks[i] == 0
    if empty:
        return codes.TRAP_MASK
    entry[3], entry[4] = first, union
    return 0


@njit
def _check_softpart(op: Ints, buffer_bytes: int) -> int:
    """Check a part of a softmax, whose second source is also a result."""
    values, state = 4 * op[COUNT] * op[BATCH], 16 * op[BATCH]
    trap = check_buffer(op, buffer_bytes, values, state, values, True)
    if trap:
        return trap
    for place in (op[SRC], op[DST]):
        if _overlaps(place, values, op[SRC2], state, False):
            return codes.TRAP_OVERLAP
    return 0


@njit
def check_vector(op: Ints, buffer_bytes: int) -> int:
    """Check an element-wise instruction, or a sum or maximum of vectors."""
    code = op[OP]
    n = 4 * op[COUNT]
    if code == codes.OP_CVT:
        if (op[TYPE] == codes.T_F32) == (op[TO] == codes.T_F32):
            return codes.TRAP_OPERAND
        source, result = op[COUNT] * codes.TYPE_BYTES[op[TYPE]], op[COUNT] * codes.TYPE_BYTES[op[TO]]
        return check_buffer(op, buffer_bytes, source, -1, result, True)
    if code == codes.OP_FILL:
        return check_buffer(op, buffer_bytes, -1, -1, n, False)
    if code in (codes.OP_ADD, codes.OP_MUL):
        return check_buffer(op, buffer_bytes, n, n, n, True)
    if code in (codes.OP_SOFTMAX, codes.OP_SUM, codes.OP_MAX, codes.OP_SOFTPART, codes.OP_SCALE):
        if op[BATCH] == 0:
            return codes.TRAP_OPERAND
        if code == codes.OP_SOFTPART:
            return _check_softpart(op, buffer_bytes)
        if code == codes.OP_SCALE:
            return check_buffer(op, buffer_bytes, n * op[BATCH], 4 * op[BATCH], n * op[BATCH], True)
        if code == codes.OP_SOFTMAX:
            return check_buffer(op, buffer_bytes, n * op[BATCH], -1, n * op[BATCH], True)
        return check_buffer(op, buffer_bytes, n * op[BATCH], -1, 4 * op[BATCH], False)
    return check_buffer(op, buffer_bytes, n, -1, n, True)
