"""Decode a program and check all of it before anything runs.

No instruction branches and no check depends on data, so one pass over the program finds the first trap, the order
in which the DIMMs' instructions run, and every operand: each instruction becomes a row of plain numbers that the
executor and the timing kernel share.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.decode import (
    BASE,
    BATCH,
    COLS,
    COUNT,
    DST,
    FIRST,
    LEGAL,
    LENGTH,
    LIST,
    LISTED,
    MASKS,
    MAT,
    OFFSET,
    OP,
    PEER,
    REGION,
    ROWS,
    SRC,
    SRC2,
    STRIDE,
    TO,
    TYPE,
    decode_fields,
)
from ndpsim.errors import ProgramError
from ndpsim.isa import codes
from ndpsim.isa.assembly import disassemble_word
from ndpsim.isa.encoding import array_to_words
from ndpsim.isa.program import Program, Region
from ndpsim.isa.spec import isa
from ndpsim.jit import njit

Ints = NDArray[np.int64]
UNLIMITED = 1 << 62  # host stream of unknown length: nothing can starve


class _Tables(NamedTuple):
    """What instructions refer to.

    lists: all list sections, list_starts: where each begins; regions: int64[n, 3] of (first byte, end, writable),
    region_starts: where each DIMM's begin; host: bytes left in each host stream in.
    """

    lists: NDArray[np.uint32]
    list_starts: Ints
    region_starts: Ints
    regions: Ints
    host: Ints


@dataclass(frozen=True)
class Trap:
    """Where a program stopped: DIMM, index of the instruction, name of the trap, and the instruction as text."""

    dimm: int
    index: int
    name: str
    text: str

    def __str__(self) -> str:
        """Say it in one sentence."""
        doc = isa().traps[self.name][1]
        return f"DIMM {self.dimm}, instruction {self.index} ({self.text}): {self.name}: {doc}"


@dataclass(frozen=True)
class Resolved:
    """A checked program.

    ops: int64[n, 23], all DIMMs one after the other; starts: int64[DIMMs + 1], where each begins; order: int64[m],
    the instructions that run, in order, up to the end or the trap; lists: uint32, all list sections joined (FIRST
    and MASKS count in it).
    """

    ops: NDArray[np.int64]
    starts: NDArray[np.int64]
    order: NDArray[np.int64]
    lists: NDArray[np.uint32]
    trap: Trap | None

    def dimm_of(self, op: int) -> int:
        """Return the DIMM to which an instruction belongs."""
        return int(np.searchsorted(self.starts, op, side="right")) - 1

    def require_clean(self) -> "Resolved":
        """Return self, or raise ProgramError with the trap."""
        if self.trap is not None:
            raise ProgramError(str(self.trap))
        return self


def resolve(program: Program, buffer_bytes: int, host_bytes: list[int] | None = None) -> Resolved:
    """Check a program for DIMMs with `buffer_bytes` of buffer; `host_bytes` holds the length of each host stream in."""
    (words, starts), (lists, list_starts) = program.words, program.lists
    ops = decode_fields(words)
    order = np.empty(len(ops), np.int64)
    result = np.zeros(4, np.int64)  # instructions run, trap code, DIMM, index
    host = np.array(host_bytes or [UNLIMITED] * len(program.regions), np.int64)
    tables = _Tables(lists, list_starts, *_regions(program.regions), host)
    _resolve(ops, starts, tables, buffer_bytes, order, result)
    ran, code, dimm, index = result.tolist()
    return Resolved(ops, starts, order[:ran], lists, _trap(program, code, dimm, index) if code else None)


def _trap(program: Program, code: int, dimm: int, index: int) -> Trap:
    words = program.dimms[dimm].words
    text = disassemble_word(array_to_words(words[index : index + 1])[0]) if index < len(words) else "end of the stream"
    return Trap(dimm, index, isa().trap_name(code), text)


@lru_cache(maxsize=1 << 12)  # the programs of a layer have the same ones
def _regions(regions: tuple[tuple[Region, ...], ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = np.cumsum([0] + [len(own) for own in regions])
    table = [(r.base * codes.ATOM_BYTES, r.end * codes.ATOM_BYTES, int(r.writable)) for own in regions for r in own]
    return starts, np.array(table, np.int64).reshape(-1, 3)


@njit
def _overlaps(a: int, a_bytes: int, b: int, b_bytes: int, may_coincide: bool) -> bool:
    if a_bytes <= 0 or b_bytes <= 0 or a + a_bytes <= b or b + b_bytes <= a:
        return False
    return not (may_coincide and a == b and a_bytes == b_bytes)


@njit
def _check_buffer(
    op: Ints, buffer_bytes: int, src_bytes: int, src2_bytes: int, dst_bytes: int, may_coincide: bool
) -> int:
    """Check up to three buffer operands (a size of -1 means: not used) and return a trap code, or 0."""
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
def _check_matrix(op: Ints, region_lo: int, region_hi: int, regions: Ints) -> int:
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
def _check_stream(
    op: Ints,
    matrices: Ints,
    list_registers: Ints,
    lists: NDArray[np.uint32],
    regions: Ints,
    region_lo: int,
    buffer_bytes: int,
) -> int:
    """Give a matrix instruction what its registers hold, and check it."""
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
        trap = _check_buffer(op, buffer_bytes, narrow, -1, wide, False)
    elif row_bytes % codes.ALIGNMENT:
        trap = codes.TRAP_MISALIGNED
    elif code == codes.OP_LD:
        trap = _check_buffer(op, buffer_bytes, -1, -1, n * row_bytes, False)
    else:
        trap = _check_buffer(op, buffer_bytes, n * row_bytes, -1, -1, False)
    if trap:
        return trap
    if op[LISTED] == 1:
        for i in range(n):
            if lists[op[FIRST] + i] >= op[ROWS]:
                return codes.TRAP_ROW
    elif n > 0 and op[FIRST] + n > op[ROWS]:
        return codes.TRAP_ROW
    if code == codes.OP_ST and op[REGION] >= 0 and regions[region_lo + op[REGION], 2] == 0:
        return codes.TRAP_REGION
    if op[MASKS] >= 0 and (op[BATCH] > codes.ENTRY_BITS or entry[4] >> op[BATCH] != 0):
        return codes.TRAP_MASK
    return 0


@njit
def _set_masks(entry: Ints, first: int, end: int, lists: NDArray[np.uint32]) -> int:
    """Give a list register the masks from `first` on in the joined lists, in a section up to `end`; return the trap."""
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
def _check_vector(op: Ints, buffer_bytes: int) -> int:
    code = op[OP]
    n = 4 * op[COUNT]
    if code == codes.OP_CVT:
        if (op[TYPE] == codes.T_F32) == (op[TO] == codes.T_F32):
            return codes.TRAP_OPERAND
        source, result = op[COUNT] * codes.TYPE_BYTES[op[TYPE]], op[COUNT] * codes.TYPE_BYTES[op[TO]]
        return _check_buffer(op, buffer_bytes, source, -1, result, True)
    if code == codes.OP_FILL:
        return _check_buffer(op, buffer_bytes, -1, -1, n, False)
    if code in (codes.OP_ADD, codes.OP_MUL):
        return _check_buffer(op, buffer_bytes, n, n, n, True)
    if code in (codes.OP_SOFTMAX, codes.OP_SUM, codes.OP_MAX):
        if op[BATCH] == 0:
            return codes.TRAP_OPERAND
        if code == codes.OP_SOFTMAX:
            return _check_buffer(op, buffer_bytes, n * op[BATCH], -1, n * op[BATCH], True)
        return _check_buffer(op, buffer_bytes, n * op[BATCH], -1, 4 * op[BATCH], False)
    return _check_buffer(op, buffer_bytes, n, -1, n, True)


@njit
def _resolve(ops: Ints, starts: Ints, tables: _Tables, buffer_bytes: int, order: Ints, result: Ints) -> None:
    """Run all DIMMs in turns without data; see `state` in ndp.toml for the turns."""
    lists, list_starts, region_starts, regions, host = tables
    dimms = starts.shape[0] - 1
    matrices = np.full((dimms, 16, 7), -1, np.int64)
    registers = np.full((dimms, 16, 5), -1, np.int64)  # listed, first, length, masks or -1, and all masks in one
    pc = starts[:-1].copy()
    done = np.zeros(dimms, np.bool_)
    arrived = np.full(dimms, -1, np.int64)  # barrier at which a DIMM waits
    barrier = waiting = ran = 0
    longest = 0
    for d in range(dimms):
        longest = max(longest, starts[d + 1] - starts[d])
    sent = np.zeros((dimms, 2, longest), np.int64)  # lengths of messages to the lower and to the upper neighbour
    head = np.zeros((dimms, 2), np.int64)
    tail = np.zeros((dimms, 2), np.int64)
    moved = True
    while moved:
        moved = False
        for d in range(dimms):
            while not done[d]:
                trap = 0
                at = pc[d]
                if at == starts[d + 1]:
                    result[0], result[1], result[2], result[3] = ran, codes.TRAP_NO_END, d, at - starts[d]
                    return
                op = ops[at]
                code = op[OP]
                if op[LEGAL] == 0:
                    trap = codes.TRAP_ILLEGAL
                elif code == codes.OP_END:
                    done[d] = True
                elif code == codes.OP_BAR:
                    if arrived[d] < 0:
                        arrived[d] = barrier
                        waiting += 1
                        if waiting == dimms:
                            waiting = 0
                            barrier += 1
                    if arrived[d] == barrier:
                        break
                    arrived[d] = -1
                elif code == codes.OP_MAT:
                    trap = _check_matrix(op, region_starts[d], region_starts[d + 1], regions)
                    if trap == 0:
                        m = matrices[d, op[MAT]]
                        m[0], m[1], m[2], m[3], m[4] = op[TYPE], op[BASE], op[ROWS], op[COLS], op[STRIDE]
                        m[5], m[6] = op[REGION], op[OFFSET]
                elif code == codes.OP_LIST:
                    if list_starts[d] + op[FIRST] + op[COUNT] > list_starts[d + 1]:
                        trap = codes.TRAP_LIST
                    else:
                        entry = registers[d, op[LIST]]
                        entry[0], entry[1], entry[2], entry[3] = 1, list_starts[d] + op[FIRST], op[COUNT], -1
                elif code == codes.OP_RANGE:
                    entry = registers[d, op[LIST]]
                    entry[0], entry[1], entry[2], entry[3] = 0, op[FIRST], op[COUNT], -1
                elif code == codes.OP_MASK:
                    trap = _set_masks(registers[d, op[LIST]], list_starts[d] + op[FIRST], list_starts[d + 1], lists)
                elif code in (codes.OP_DOT, codes.OP_AXPY, codes.OP_LD, codes.OP_ST):
                    trap = _check_stream(op, matrices[d], registers[d], lists, regions, region_starts[d], buffer_bytes)
                elif code in (codes.OP_HIN, codes.OP_HOUT, codes.OP_SEND, codes.OP_RECV):
                    n = op[COUNT]
                    into = code in (codes.OP_HIN, codes.OP_RECV)
                    trap = codes.TRAP_MISALIGNED if n % codes.ALIGNMENT else 0
                    if trap == 0:
                        trap = _check_buffer(op, buffer_bytes, -1 if into else n, -1, n if into else -1, False)
                    if trap == 0 and code == codes.OP_HIN:
                        if host[d] < n:
                            trap = codes.TRAP_STARVED
                        else:
                            host[d] -= n
                    elif trap == 0 and code in (codes.OP_SEND, codes.OP_RECV):
                        peer = op[PEER]
                        if peer >= dimms or abs(peer - d) != 1:
                            trap = codes.TRAP_PEER
                        elif code == codes.OP_SEND:
                            side = 1 if peer > d else 0
                            sent[d, side, tail[d, side]] = n
                            tail[d, side] += 1
                        else:
                            side = 1 if d > peer else 0
                            if head[peer, side] == tail[peer, side]:
                                break
                            if sent[peer, side, head[peer, side]] != n:
                                trap = codes.TRAP_LENGTH
                            else:
                                head[peer, side] += 1
                else:
                    trap = _check_vector(op, buffer_bytes)
                if trap:
                    result[0], result[1], result[2], result[3] = ran, trap, d, at - starts[d]
                    return
                order[ran] = at
                ran += 1
                pc[d] += 1
                moved = True
    result[0] = ran
    for d in range(dimms):
        if not done[d]:
            result[1], result[2], result[3] = codes.TRAP_DEADLOCK, d, pc[d] - starts[d]
            return
