"""Decode a program and check all of it before anything runs.

No instruction branches and no check depends on data, so one pass over the program finds the first trap, the order
in which the DIMMs' instructions run, and every operand: each instruction becomes a row of plain numbers that the
executor and the timing kernel share.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.checks import check_buffer, check_matrix, check_stream, check_vector, set_masks
from ndpsim.dimm.decode import (
    BASE,
    COLS,
    COUNT,
    FIRST,
    LEGAL,
    LIST,
    MAT,
    OFFSET,
    OP,
    PEER,
    REGION,
    ROWS,
    STRIDE,
    TYPE,
    decode_fields,
)
from ndpsim.errors import ProgramError
from ndpsim.isa import codes
from ndpsim.isa.assembly import disassemble_word
from ndpsim.isa.encoding import array_to_words
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa
from ndpsim.jit import njit

Ints = NDArray[np.int64]
UNLIMITED = 1 << 62  # host stream of unknown length: nothing can starve


class Tables(NamedTuple):
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
    result = np.zeros(4, np.int64)
    host = np.array(host_bytes, np.int64) if host_bytes else np.full(len(program.regions), UNLIMITED)
    tables = Tables(lists, list_starts, *program.regions.table, host)
    check_ops(ops, starts, tables, buffer_bytes, order, result)
    ran, code, dimm, index = result.tolist()
    return Resolved(ops, starts, order[:ran], lists, _trap(program, code, dimm, index) if code else None)


def _trap(program: Program, code: int, dimm: int, index: int) -> Trap:
    words = program.dimms[dimm].words
    text = disassemble_word(array_to_words(words[index : index + 1])[0]) if index < len(words) else "end of the stream"
    return Trap(dimm, index, isa().trap_name(code), text)


@njit
def check_ops(ops: Ints, starts: Ints, tables: Tables, buffer_bytes: int, order: Ints, result: Ints) -> None:
    """Run all DIMMs in turns without data; see `state` in ndp.toml for the turns.

    ops, starts, order: those of `Resolved`; result: int64[4], the number of instructions that run, and if there is a
    trap its code (else 0), DIMM and index.
    """
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
                    trap = check_matrix(op, region_starts[d], region_starts[d + 1], regions)
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
                    trap = set_masks(registers[d, op[LIST]], list_starts[d] + op[FIRST], list_starts[d + 1], lists)
                elif code in (codes.OP_DOT, codes.OP_AXPY, codes.OP_LD, codes.OP_ST):
                    trap = check_stream(op, matrices[d], registers[d], lists, regions, region_starts[d], buffer_bytes)
                elif code in (codes.OP_HIN, codes.OP_HOUT, codes.OP_SEND, codes.OP_RECV):
                    n = op[COUNT]
                    into = code in (codes.OP_HIN, codes.OP_RECV)
                    trap = codes.TRAP_MISALIGNED if n % codes.ALIGNMENT else 0
                    if trap == 0:
                        trap = check_buffer(op, buffer_bytes, -1 if into else n, -1, n if into else -1, False)
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
                    trap = check_vector(op, buffer_bytes)
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
