"""The clock of a set of DIMMs, as kernels: which instruction of which DIMM runs from when to when.

Each DIMM runs in order, one instruction at a time. DIMMs meet in the memory channel that they share (first come, first
served), in messages over DIMM-Link and in barriers. Time is int64 picoseconds; inside a rank it is clocks.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.decode import BASE, BATCH, COLS, COUNT, FIRST, LENGTH, LISTED, MASKS, OP, PEER, STRIDE, TYPE
from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp.engine import run_stream
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.dram.ndp.mac_array import Array, holds_of
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.dram.ndp.rows import Rows
from ndpsim.isa import codes
from ndpsim.isa.spec import isa
from ndpsim.jit import inlined, njit

Ints = NDArray[np.int64]
TRANSFER = len(codes.TYPE_BYTES)  # the row of `holds` behind those of the types


class Clocks(NamedTuple):
    """The machine's parameters outside the ranks, as kernels take them; times in picoseconds.

    ranks: those with a unit, of all sub-channels. burst, read_latency, write_latency: DRAM clocks of a transfer over a
    sub-channel, of which there are `subchannels`. pass_bursts: those of a rank that the MAC array loads before it
    works, 0 where it does both at once. reduction: core cycles of the reduction tree behind products of a pass.
    """

    ranks: int
    subchannels: int
    burst: int
    read_latency: int
    write_latency: int
    core: int
    array_latency: int
    macs_16bit: int
    macs_8bit: int
    pass_bursts: int
    reduction: int
    lanes: int
    dividers: int
    vector_latency: int
    dimms_per_channel: int
    link_byte: int
    link_latency: int
    barrier_latency: int


class Model(NamedTuple):
    """A machine as kernels take it; holds and vector_costs are what the functions of these names return."""

    clocks: Clocks
    timing: Timing
    map: MapArrays
    holds: Ints
    vector_costs: Ints


class Times(NamedTuple):
    """int64[DIMMs]: bytes to upload, and as results the end of the upload and of the DIMM; spans int64[n, 2]."""

    uploads: Ints
    upload: Ints
    finish: Ints
    spans: Ints


@cache
def vector_costs() -> Ints:
    """Return int64[256, 2] by opcode: passes, and divisions (0 none, 1 an element, 2 a vector)."""
    costs = np.zeros((256, 2), np.int64)
    for instruction in isa().instructions.values():
        costs[instruction.opcode] = instruction.passes, ("none", "element", "vector").index(instruction.divisions)
    return costs


def holds(c: Clocks, t: Timing) -> Ints:
    """Return int64[17, 256, 2] by type and sequences: how long a rank's slice of the MAC array holds a burst.

    With alternating loads, a pass: one sequence after the other, the products, and then the reduction tree that adds
    them up. The last axis is that of `holds_of`. The row TRANSFER is that of the buffer port,
    for one burst: a core cycle.
    """
    sequences = np.arange(256)
    table = np.zeros((TRANSFER + 1, 256), np.int64)
    for code, size in enumerate(codes.TYPE_BYTES):
        if size > 0:
            values = codes.ATOM_BYTES // size * c.ranks  # a burst of each rank
            rate = c.macs_8bit if code == codes.T_I8 else c.macs_16bit
            if c.pass_bursts > 0:
                table[code] = sequences * (-(-c.pass_bursts * values // rate) + c.reduction)
            else:
                table[code] = np.maximum(-(-sequences * values // rate), 1)
    table[TRANSFER, 1] = 1
    return holds_of(t, table * c.core)


@njit
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@inlined
def _array(m: Model, op: Ints) -> Array:
    """Return what the MAC array does with the bursts of an instruction; loads and stores pass it by."""
    if op[OP] == codes.OP_DOT or op[OP] == codes.OP_AXPY:
        return Array(m.clocks.pass_bursts > 0, m.holds[op[TYPE]], op[BATCH])
    return Array(False, m.holds[TRANSFER], 1 if op[OP] == codes.OP_LD else 0)


@inlined
def _stream(
    m: Model, state: RankState, dimm: int, op: Ints, lists: NDArray[np.uint32], now: int, fast: bool, log: Any
) -> int:
    """Run a matrix instruction on all ranks of a DIMM and return its end."""
    c, t = m.clocks, m.timing
    atoms = _ceil(op[COLS] * codes.TYPE_BYTES[op[TYPE]], codes.ATOM_BYTES)
    works = op[OP] == codes.OP_DOT or op[OP] == codes.OP_AXPY
    rows = Rows(op[BASE], op[STRIDE], atoms, op[LISTED], op[FIRST], op[LENGTH], op[MASKS] if works else -1)
    start = _ceil(now * t.ticks, t.tck)
    end = run_stream(
        t, m.map, state, dimm, c.ranks, op[OP] == codes.OP_ST, rows, lists, start, _array(m, op), fast, log
    )
    return max(now, end) + c.array_latency


@inlined
def _vector(m: Model, op: Ints) -> int:
    """Picoseconds of an element-wise instruction."""
    c, costs = m.clocks, m.vector_costs
    vectors = max(op[BATCH], 1)  # instructions without a batch have zero there
    elements = op[COUNT] * vectors
    cycles = costs[op[OP], 0] * _ceil(elements, c.lanes)
    if costs[op[OP], 1] == 1:
        cycles += _ceil(elements, c.dividers)
    elif costs[op[OP], 1] == 2:
        cycles += _ceil(vectors, c.dividers)
    return cycles * c.core + c.vector_latency


@njit
def _transfer(c: Clocks, t: Timing, size: int, latency: int) -> int:
    """Picoseconds from the start of a transfer over the memory channel, all sub-channels at once, to its last byte."""
    if size == 0:
        return 0
    clocks = _ceil(_ceil(size, codes.ATOM_BYTES), c.subchannels) * c.burst + latency
    return _ceil(clocks * t.tck, t.ticks)


@inlined
def _next_dimm(now: Ints, blocked: NDArray[np.bool_], done: NDArray[np.bool_]) -> int:
    """Return the DIMM with the least time that can go on (the lowest number among equals), or -1."""
    best = -1
    for d in range(now.shape[0]):
        if not done[d] and not blocked[d] and (best < 0 or now[d] < now[best]):
            best = d
    return best


@njit
def run_all(
    ops: Ints,
    starts: Ints,
    lists: NDArray[np.uint32],
    m: Model,
    state: RankState,
    start: int,
    times: Times,
    fast: bool,
    log: Any,
) -> None:
    """Run all DIMMs of a checked program, always the one that is furthest behind."""
    c, t = m.clocks, m.timing
    uploads, upload, finish, spans = times
    dimms = starts.shape[0] - 1
    channels = _ceil(dimms, c.dimms_per_channel)
    channel_free = np.full(channels, start, np.int64)
    link_free = np.full((dimms, 2), start, np.int64)
    longest = 0
    for d in range(dimms):
        longest = max(longest, starts[d + 1] - starts[d])
    arrival = np.zeros((dimms, 2, longest), np.int64)  # messages to the lower and to the upper neighbour
    head = np.zeros((dimms, 2), np.int64)
    tail = np.zeros((dimms, 2), np.int64)
    now = np.zeros(dimms, np.int64)
    pc = starts[:-1].copy()
    blocked = np.zeros(dimms, np.bool_)
    done = np.zeros(dimms, np.bool_)
    at_barrier = np.zeros(dimms, np.bool_)
    for d in range(dimms):
        channel = d // c.dimms_per_channel
        now[d] = channel_free[channel] + _transfer(c, t, uploads[d], c.write_latency)
        channel_free[channel] = now[d]
        upload[d] = now[d]
    while True:
        d = _next_dimm(now, blocked, done)
        if d < 0:
            break
        at = pc[d]
        op = ops[at]
        code = op[OP]
        begin = now[d]
        end = begin
        if code in (codes.OP_DOT, codes.OP_AXPY, codes.OP_LD, codes.OP_ST):
            end = _stream(m, state, d, op, lists, begin, fast, log)
        elif code in (codes.OP_HIN, codes.OP_HOUT):
            channel = d // c.dimms_per_channel
            latency = c.write_latency if code == codes.OP_HIN else c.read_latency
            end = max(begin, channel_free[channel]) + _transfer(c, t, op[COUNT], latency)
            channel_free[channel] = end if op[COUNT] > 0 else channel_free[channel]
        elif code == codes.OP_SEND:
            side = 1 if op[PEER] > d else 0
            end = max(begin, link_free[d, side]) + op[COUNT] * c.link_byte
            link_free[d, side] = end
            arrival[d, side, tail[d, side]] = end + c.link_latency
            tail[d, side] += 1
            blocked[op[PEER]] = blocked[op[PEER]] and at_barrier[op[PEER]]
        elif code == codes.OP_RECV:
            side = 1 if d > op[PEER] else 0
            if head[op[PEER], side] == tail[op[PEER], side]:
                blocked[d] = True
                continue
            end = max(begin, arrival[op[PEER], side, head[op[PEER], side]])
            head[op[PEER], side] += 1
        elif code == codes.OP_BAR:
            at_barrier[d] = True
            if not at_barrier.all():
                blocked[d] = True
                continue
            end = now.max() + c.barrier_latency
            for other in range(dimms):
                spans[pc[other], 0] = now[other]
                spans[pc[other], 1] = end
                now[other] = end
                pc[other] += 1
                at_barrier[other] = False
                blocked[other] = False
            continue
        elif code in (codes.OP_END, codes.OP_MAT, codes.OP_LIST, codes.OP_RANGE, codes.OP_MASK):
            end = begin + c.core
            done[d] = code == codes.OP_END
        else:
            end = begin + _vector(m, op)
        spans[at, 0] = begin
        spans[at, 1] = end
        now[d] = end
        pc[d] += 1
    finish[:] = now
