"""The clock of a set of DIMMs, as kernels: which instruction of which DIMM runs from when to when.

Each DIMM runs in order, one instruction at a time. DIMMs meet in the memory channel that they share (first come, first
served), in messages over DIMM-Link and in barriers. Time is int64 picoseconds; inside a rank it is clocks.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import decode
from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp.engine import run_stream
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.dram.ndp.mac_array import Array, holds_of
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.dram.ndp.rows import StreamRows
from ndpsim.isa import codes, facts
from ndpsim.jit import borrowing, inlined, merged
from ndpsim.kernels.held import Held

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
    """A machine as kernels take it; holds: what the function of this name returns; instructions: `isa/facts.py`."""

    clocks: Clocks
    timing: Timing
    map: MapArrays
    holds: Ints
    instructions: Ints


UPLOAD, FINISH, STREAM = range(3)
"""Rows of the times of a run, int64[3, DIMMs]: the end of the upload, the end of the DIMM, and its time in streams."""
_RUNS, _WAITS, _AT_BARRIER, _DONE = range(4)


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


@merged
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@inlined
def _stream(m: Model, state: RankState, dimm: int, op: Ints, fact: Ints, lists: NDArray[np.uint32], now: int,
            fast: bool, log: Any) -> int:  # fmt: skip
    """Run a matrix instruction on all ranks of a DIMM and return its end; loads and stores pass the MAC array by."""
    c, t = m.clocks, m.timing
    atoms = _ceil(op[decode.COLS] * codes.TYPE_BYTES[op[decode.TYPE]], codes.ATOM_BYTES)
    works, write = fact[facts.BATCHED] == 1, fact[facts.SRC] == facts.MATRIX
    masks = op[decode.MASKS] if works else -1
    rows = StreamRows(
        op[decode.BASE], op[decode.STRIDE], atoms, op[decode.LISTED], op[decode.FIRST], op[decode.LENGTH], masks
    )
    kind, sequences = (op[decode.TYPE], op[decode.BATCH]) if works else (TRANSFER, 0 if write else 1)
    array = Array(works and c.pass_bursts > 0, m.holds[kind], sequences)
    start = _ceil(now * t.ticks, t.tck)
    end = run_stream(t, m.map, state, dimm, c.ranks, write, rows, lists, start, array, fast, log)
    return max(now, end) + c.array_latency


@merged
def _vector(op: Ints, fact: Ints, lanes: int, dividers: int) -> int:
    """Core cycles of an element-wise instruction, without the latency."""
    vectors = max(op[decode.BATCH], 1)  # instructions without a batch have zero there
    elements = op[decode.COUNT] * vectors
    cycles = fact[facts.PASSES] * _ceil(elements, lanes)
    if fact[facts.DIVISIONS] == facts.PER_ELEMENT:
        cycles += _ceil(elements, dividers)
    elif fact[facts.DIVISIONS] == facts.PER_VECTOR:
        cycles += _ceil(vectors, dividers)
    return int(cycles)


@merged
def _transfer(size: int, subchannels: int, burst: int, latency: int, tck: int, ticks: int) -> int:
    """Picoseconds from the start of a transfer over the memory channel, all sub-channels at once, to its last byte."""
    if size == 0:
        return 0
    return _ceil((_ceil(_ceil(size, codes.ATOM_BYTES), subchannels) * burst + latency) * tck, ticks)


def room_to_run(instructions: int, dimms: int) -> int:
    """Return the size of the room that `run_all` needs besides."""
    return 9 * dimms + 2 * instructions


@borrowing
def run_all(held: Held[Model], ranks: Held[RankState], ops: Ints, starts: Ints, lists: NDArray[np.uint32],
            list_starts: Ints, start: int, times: Ints, spans: Ints, room: Ints, fast: bool,
            log: Any) -> int:  # fmt: skip
    """Run all DIMMs of a checked program, always the one that is furthest behind.

    ops, starts, lists: those of `Resolved`; list_starts: where the lists of each DIMM begin; times: see UPLOAD; spans:
    int64[n, 2], start and end of each instruction, -1 if it never ran; room: `room_to_run`; fast, log: those of
    `run_stream`. Returns -1, or the index of an instruction of a class that is not known here.
    """
    m, state = held.value, ranks.value
    c, t = m.clocks, m.timing
    dimms = len(starts) - 1
    upload, now = times[UPLOAD], times[FINISH]
    pc, status, channel_free = room[:dimms], room[dimms : 2 * dimms], room[2 * dimms : 3 * dimms]
    link_free, head, tail = room[3 * dimms : 5 * dimms], room[5 * dimms : 7 * dimms], room[7 * dimms : 9 * dimms]
    arrival = room[9 * dimms :]  # messages to the lower and to the upper neighbour
    room[: 9 * dimms] = 0
    for i in range(spans.shape[0]):
        spans[i, 0] = spans[i, 1] = -1
    at_barrier = 0
    for d in range(dimms):
        channel = d // c.dimms_per_channel
        size = 16 * (starts[d + 1] - starts[d]) + 4 * (list_starts[d + 1] - list_starts[d])
        sent = _transfer(size, c.subchannels, c.burst, c.write_latency, t.tck, t.ticks)
        channel_free[channel] = max(channel_free[channel], start) + sent
        now[d] = upload[d] = channel_free[channel]
        times[STREAM, d] = 0
        link_free[2 * d] = link_free[2 * d + 1] = start
        pc[d] = starts[d]
        head[2 * d] = tail[2 * d] = 2 * starts[d]
        head[2 * d + 1] = tail[2 * d + 1] = starts[d] + starts[d + 1]
    while True:
        d = -1  # the lowest number among equals
        for other in range(dimms):
            if status[other] == _RUNS and (d < 0 or now[other] < now[d]):
                d = other
        if d < 0:
            return -1
        at = pc[d]
        op = ops[at]
        code, peer, count = op[decode.OP], op[decode.PEER], op[decode.COUNT]
        fact = m.instructions[code]
        class_ = fact[facts.CLASS]
        begin = now[d]
        end = begin
        if class_ == facts.STREAM:
            end = _stream(m, state, d, op, fact, lists, begin, fast, log)
            times[STREAM, d] += end - begin
        elif class_ == facts.VECTOR:
            end += _vector(op, fact, c.lanes, c.dividers) * c.core + c.vector_latency
        elif class_ == facts.CHANNEL:
            channel = d // c.dimms_per_channel
            latency = c.write_latency if fact[facts.DST] == facts.BYTES else c.read_latency
            sent = _transfer(count, c.subchannels, c.burst, latency, t.tck, t.ticks)
            end = max(begin, channel_free[channel]) + sent
            channel_free[channel] = end if count > 0 else channel_free[channel]
        elif class_ == facts.LINK and fact[facts.SRC] == facts.BYTES:
            way = 2 * d + (1 if peer > d else 0)
            end = max(begin, link_free[way]) + count * c.link_byte
            link_free[way] = end
            arrival[tail[way]] = end + c.link_latency
            tail[way] += 1
            status[peer] = _RUNS if status[peer] == _WAITS else status[peer]
        elif class_ == facts.LINK:
            way = 2 * peer + (1 if d > peer else 0)
            if head[way] == tail[way]:
                status[d] = _WAITS
                continue
            end = max(begin, arrival[head[way]])
            head[way] += 1
        elif class_ == facts.BARRIER:
            status[d] = _AT_BARRIER
            at_barrier += 1
            if at_barrier < dimms:
                continue
            for other in range(dimms):
                end = max(end, now[other])
            end += c.barrier_latency
            for other in range(dimms):
                spans[pc[other], 0], spans[pc[other], 1] = now[other], end
                now[other] = end
                pc[other] += 1
                status[other] = _RUNS
            at_barrier = 0
            continue
        elif class_ == facts.CONTROL:
            end += c.core
            status[d] = _DONE if code == codes.OP_END else _RUNS
        else:
            return int(at)
        spans[at, 0], spans[at, 1] = begin, end
        now[d] = end
        pc[d] += 1
