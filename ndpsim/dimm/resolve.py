"""Decode a program and check all of it before anything runs.

No instruction branches and no check depends on data, so one pass over the program finds the first trap, the order
in which the DIMMs' instructions run, and every operand: each instruction becomes a row of plain numbers that the
executor and the timing kernel share.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import decode
from ndpsim.dimm.checks import check_buffer, check_matrix, check_stream, check_vector, set_masks
from ndpsim.dimm.decode import decode_words, encodings, new_ops
from ndpsim.errors import ProgramError
from ndpsim.isa import codes, facts
from ndpsim.isa.assembly import disassemble_word
from ndpsim.isa.encoding import array_to_words
from ndpsim.isa.facts import instruction_facts
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa
from ndpsim.jit import borrowing

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
    ops, order, result = new_ops(len(words)), np.empty(len(words), np.int64), np.empty(4, np.int64)
    host = np.array(host_bytes, np.int64) if host_bytes else np.full(len(program.regions), UNLIMITED)
    room = np.empty(room_to_check(len(words), len(program.regions)), np.int64)
    check_program(
        words, *encodings(), starts, lists, list_starts, *program.regions.table, host, instruction_facts(),
        buffer_bytes, ops, order, result, room,
    )  # fmt: skip
    ran, code, dimm, index = result.tolist()
    trap = _trap(program, code, dimm, index) if code else None
    return Resolved(ops, starts, order[:ran], lists, trap)


def room_to_check(instructions: int, dimms: int) -> int:
    """Return the size of the room that `check_program` needs besides."""
    return (16 * (_MATRIX + _ENTRY) + 7) * dimms + 2 * instructions


def _trap(program: Program, code: int, dimm: int, index: int) -> Trap:
    words = program.dimms[dimm].words
    text = disassemble_word(array_to_words(words[index : index + 1])[0]) if index < len(words) else "end of the stream"
    return Trap(dimm, index, isa().trap_name(code), text)


@borrowing
def check_program(
    words: NDArray[np.uint64], columns: Ints, masks: NDArray[np.uint64], types: Ints, starts: Ints,
    lists: NDArray[np.uint32], list_starts: Ints, region_starts: Ints, regions: Ints, host: Ints, instructions: Ints,
    buffer_bytes: int, ops: Ints, order: Ints, result: Ints, room: Ints,
) -> None:  # fmt: skip
    """Decode a program and check it; columns, masks, types: the encodings; the rest as in `check_ops`."""
    decode_words(words, columns, masks, types, ops)
    tables = Tables(lists, list_starts, region_starts, regions, host)
    check_ops(ops, starts, tables, instructions, buffer_bytes, order, result, room)


_MATRIX, _ENTRY = 7, 5
"""Words of a matrix register (type, base, rows, columns, stride, region, offset; type -1: unset) and of a list register
(listed, first, length, masks or -1, and all masks in one; listed -1: unset)."""


@borrowing
def check_ops(
    ops: Ints,
    starts: Ints,
    tables: Tables,
    instructions: Ints,
    buffer_bytes: int,
    order: Ints,
    result: Ints,
    room: Ints,
) -> None:
    """Run all DIMMs in turns without data; see `state` in ndp.toml for the turns.

    ops, starts, order: those of `Resolved`; instructions: what `isa/facts.py` says of them; result: int64[4], the
    number of instructions that run, and if there is a trap its code (else 0), DIMM and index; room: what it needs
    besides, see `room_to_check`.
    """
    lists, list_starts, region_starts, regions, host = tables
    dimms = len(starts) - 1
    matrices, rest = room[: dimms * 16 * _MATRIX], room[dimms * 16 * _MATRIX :]
    registers, rest = rest[: dimms * 16 * _ENTRY], rest[dimms * 16 * _ENTRY :]
    pc, done, arrived = rest[:dimms], rest[dimms : 2 * dimms], rest[2 * dimms : 3 * dimms]
    head, tail = rest[3 * dimms : 5 * dimms], rest[5 * dimms : 7 * dimms]
    sent = rest[7 * dimms :]  # lengths of messages to the lower and to the upper neighbour
    for i in range(dimms * 16):
        matrices[i * _MATRIX] = -1
        registers[i * _ENTRY] = -1
    barrier = waiting = ran = 0
    for d in range(dimms):
        pc[d], done[d], arrived[d] = starts[d], 0, -1  # the barrier at which a DIMM waits, if it does
        head[2 * d] = tail[2 * d] = 2 * starts[d]
        head[2 * d + 1] = tail[2 * d + 1] = starts[d] + starts[d + 1]
    moved = True
    while moved:
        moved = False
        for d in range(dimms):
            while done[d] == 0:
                trap = 0
                at = pc[d]
                if at == starts[d + 1]:
                    result[0], result[1], result[2], result[3] = ran, codes.TRAP_NO_END, d, at - starts[d]
                    return
                op = ops[at]
                code = op[decode.OP]
                fact = instructions[code]
                class_ = fact[facts.CLASS]
                matrix, entry = (d * 16 + op[decode.MAT]) * _MATRIX, (d * 16 + op[decode.LIST]) * _ENTRY
                if op[decode.LEGAL] == 0:
                    trap = codes.TRAP_ILLEGAL
                elif code == codes.OP_END:
                    done[d] = 1
                elif class_ == facts.BARRIER:
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
                        matrices[matrix], matrices[matrix + 1], matrices[matrix + 2] = (
                            op[decode.TYPE],
                            op[decode.BASE],
                            op[decode.ROWS],
                        )
                        matrices[matrix + 3], matrices[matrix + 4] = op[decode.COLS], op[decode.STRIDE]
                        matrices[matrix + 5], matrices[matrix + 6] = op[decode.REGION], op[decode.OFFSET]
                elif code == codes.OP_LIST or code == codes.OP_RANGE:
                    first = op[decode.FIRST]
                    if code == codes.OP_LIST:
                        first += list_starts[d]
                        trap = codes.TRAP_LIST if first + op[decode.COUNT] > list_starts[d + 1] else 0
                    if trap == 0:
                        registers[entry], registers[entry + 1] = 1 if code == codes.OP_LIST else 0, first
                        registers[entry + 2], registers[entry + 3] = op[decode.COUNT], -1
                elif code == codes.OP_MASK:
                    trap = set_masks(registers, entry, list_starts[d] + op[decode.FIRST], list_starts[d + 1], lists)
                elif class_ == facts.STREAM:
                    trap = check_stream(
                        op, fact, matrices, matrix, registers, entry, lists, regions, region_starts[d], buffer_bytes
                    )
                elif class_ == facts.VECTOR:
                    trap = check_vector(op, fact, buffer_bytes)
                elif class_ == facts.CHANNEL or class_ == facts.LINK:
                    n, into = op[decode.COUNT], fact[facts.DST] == facts.BYTES
                    trap = codes.TRAP_MISALIGNED if n % codes.ALIGNMENT else check_buffer(op, fact, buffer_bytes)
                    if trap == 0 and class_ == facts.LINK:
                        peer = op[decode.PEER]
                        if peer >= dimms or abs(peer - d) != 1:
                            trap = codes.TRAP_PEER
                        elif not into:
                            way = 2 * d + (1 if peer > d else 0)
                            sent[tail[way]] = n
                            tail[way] += 1
                        else:
                            way = 2 * peer + (1 if d > peer else 0)
                            if head[way] == tail[way]:
                                break
                            if sent[head[way]] != n:
                                trap = codes.TRAP_LENGTH
                            else:
                                head[way] += 1
                    elif trap == 0 and into:
                        if host[d] < n:
                            trap = codes.TRAP_STARVED
                        else:
                            host[d] -= n
                else:
                    trap = codes.TRAP_ILLEGAL
                if trap:
                    result[0], result[1], result[2], result[3] = ran, trap, d, at - starts[d]
                    return
                order[ran] = at
                ran += 1
                pc[d] += 1
                moved = True
    result[0], result[1] = ran, 0
    for d in range(dimms):
        if done[d] == 0:
            result[1], result[2], result[3] = codes.TRAP_DEADLOCK, d, pc[d] - starts[d]
            return
