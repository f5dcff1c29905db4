"""When every instruction of a program runs: DRAM streams by the stream engine, the rest by the classes of ndp.toml.

Each DIMM runs in order, one instruction at a time. DIMMs meet in the memory channel that they share (first come, first
served), in messages over DIMM-Link and in barriers. Time is int64 picoseconds; inside a rank it is clocks.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import Machine
from ndpsim.dimm.resolve import (
    BASE,
    BATCH,
    COLS,
    COUNT,
    FIRST,
    LENGTH,
    LISTED,
    OP,
    PEER,
    STRIDE,
    TYPE,
    Resolved,
    resolve,
)  # fmt: skip
from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.log import CommandLog
from ndpsim.dram.stream import (
    COUNTERS,
    LOG_COLUMNS,
    N_RD,
    N_WR,
    Log,
    RankState,
    Rows,
    Timing,
    new_state,
    no_log,
    run_stream,
    timing_of,
)  # fmt: skip
from ndpsim.errors import InputError
from ndpsim.isa.constants import (
    ATOM_BYTES,
    OP_AXPY,
    OP_BAR,
    OP_DOT,
    OP_END,
    OP_HIN,
    OP_HOUT,
    OP_LD,
    OP_LIST,
    OP_MAT,
    OP_RANGE,
    OP_RECV,
    OP_SEND,
    OP_ST,
    T_I8,
    TYPE_BYTES,
)  # fmt: skip
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa
from ndpsim.jit import njit


class Clocks(NamedTuple):
    """The machine's parameters outside the DRAM, as kernels take them; times in picoseconds."""

    ranks: int
    core: int
    array_latency: int
    macs_16bit: int
    macs_8bit: int
    lanes: int
    dividers: int
    vector_latency: int
    dimms_per_channel: int
    link_byte: int
    link_latency: int
    barrier_latency: int


@dataclass(frozen=True)
class RunTime:
    """When a program ran.

    start_ps: when the host began to send it; total_ps: from there to the end of the last DIMM; finish_ps,
    upload_ps: int64[DIMMs], when each DIMM ended, and when it had received its program; spans: int64[instructions,
    2], start and end of each instruction (-1 if it never ran); counters: int64[DIMMs, ranks, 7] (`COUNTERS`); log:
    the DRAM commands, if asked for.
    """

    machine: Machine
    resolved: Resolved
    start_ps: int
    total_ps: int
    finish_ps: NDArray[np.int64]
    upload_ps: NDArray[np.int64]
    spans: NDArray[np.int64]
    counters: NDArray[np.int64]
    log: CommandLog | None

    @property
    def dram_bytes(self) -> int:
        """Bytes moved between DRAM and units, whole bursts."""
        return int(self.counters[:, :, [N_RD, N_WR]].sum()) * ATOM_BYTES

    @property
    def row_hit_rate(self) -> float:
        """Share of bursts that needed no activate."""
        bursts = int(self.counters[:, :, [N_RD, N_WR]].sum())
        return 1.0 - int(self.counters[:, :, COUNTERS.index("ACT")].sum()) / bursts if bursts else 0.0

    def class_ps(self) -> dict[str, int]:
        """Return the busy time by timing class, summed over all DIMMs."""
        by_opcode = isa().by_opcode
        ran = self.spans[:, 0] >= 0
        took = self.spans[:, 1] - self.spans[:, 0]
        totals = {"upload": int((self.upload_ps - self.start_ps).sum())}
        for code in np.unique(self.resolved.ops[ran, OP]):
            name = by_opcode[int(code)].timing
            totals[name] = totals.get(name, 0) + int(took[ran & (self.resolved.ops[:, OP] == code)].sum())
        return totals

    def _stream_spans(self) -> NDArray[np.bool_]:
        streams = np.isin(self.resolved.ops[:, OP], (OP_DOT, OP_AXPY, OP_LD, OP_ST))
        return streams & (self.spans[:, 0] >= 0)

    def stream_ps(self) -> int:
        """Return the time in which at least one DIMM moved matrix rows (the union of all stream instructions)."""
        spans = self.spans[self._stream_spans()]
        if not len(spans):
            return 0
        spans = spans[np.argsort(spans[:, 0], kind="stable")]
        reach = np.maximum.accumulate(spans[:, 1])
        gaps = np.maximum(spans[1:, 0] - reach[:-1], 0).sum()
        return int(reach[-1] - spans[0, 0] - gaps)

    def stream_ps_by_dimm(self) -> NDArray[np.int64]:
        """Return for each DIMM the time in its stream instructions, int64[DIMMs]."""
        took = np.where(self._stream_spans(), self.spans[:, 1] - self.spans[:, 0], 0)
        return np.array([part.sum() for part in np.split(took, self.resolved.starts[1:-1])], np.int64)

    def summary(self) -> dict[str, object]:
        """Return the figures that a report prints: times in seconds, bytes, and command counts."""
        seconds = self.total_ps * 1e-12
        stream = self.stream_ps() * 1e-12
        return {
            "simulated_s": seconds,
            "dram_bytes": self.dram_bytes,
            "stream_s": stream,
            "stream_gb_per_s": self.dram_bytes / stream / 1e9 if stream else 0.0,
            "row_hit_rate": self.row_hit_rate,
            "commands": {
                name: int(self.counters[:, :, i].sum()) for i, name in enumerate(COUNTERS) if name != "trains"
            },
            "dimm_bytes": [int(b) for b in self.counters[:, :, [N_RD, N_WR]].sum((1, 2)) * ATOM_BYTES],
        }


def time_program(program: Program, machine: Machine, *, log: bool = False) -> RunTime:
    """Time a program on an idle machine, without its data.

    Raises ProgramError if the program traps.
    """
    resolved = resolve(program, machine.buffer_bytes).require_clean()
    return Timer(machine).run(program, resolved, log=log)


class Timer:
    """The clocks of a machine's DIMMs, which go on from program to program: open rows, refreshes and all.

    `now_ps` is when the next program starts to be sent; it may be moved forward between programs.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now_ps = 0
        self._clocks, self._timing, self._map = _machine_arrays(machine)
        refresh, ranks = self._timing.nREFI, self._clocks.ranks
        first_due = [
            refresh * (rank + 1) // ranks for rank in range(ranks)
        ]  # staggered, for the current that a REF draws
        self._state = new_state(self._timing, first_due * machine.dimms)

    def run(self, program: Program, resolved: Resolved, *, log: bool = False) -> RunTime:
        """Time a program that has been checked, and advance to its end.

        With `log`, it is run twice: once to count its commands, once to write them.
        """
        if len(program.dimms) != self.machine.dimms:
            raise InputError(
                f"program: expected {self.machine.dimms} DIMMs as in its machine, found {len(program.dimms)}"
            )
        before = self._state.counters.copy()
        records = np.empty((0, len(LOG_COLUMNS)), np.int64)
        if log:
            trial = RankState(*(array.copy() for array in self._state))
            self._advance(program, resolved, trial, no_log())
            commands = int((trial.counters - before)[:, : COUNTERS.index("trains")].sum())
            records = np.empty((max(commands, 1), len(LOG_COLUMNS)), np.int64)
        used = np.zeros(1, np.int64)
        start = self.now_ps
        finish, upload, spans = self._advance(program, resolved, self._state, Log(records, used))
        self.now_ps = int(finish.max())
        counters = (self._state.counters - before).reshape(self.machine.dimms, self._clocks.ranks, -1)
        commands_log = _command_log(records[: used[0]], self.machine) if log else None
        return RunTime(
            self.machine, resolved, start, self.now_ps - start, finish, upload, spans, counters, commands_log
        )

    def _advance(
        self, program: Program, resolved: Resolved, state: RankState, log: Log
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        uploads = np.array([dimm.upload_bytes for dimm in program.dimms], np.int64)
        spans = np.full((len(resolved.ops), 2), -1, np.int64)
        finish, upload = np.zeros_like(uploads), np.zeros_like(uploads)
        checked = (resolved.ops, resolved.starts, resolved.lists)
        _time(*checked, _vector_costs(), self._clocks, self._timing, self._map, state, self.now_ps, uploads, upload, finish, spans, log)  # fmt: skip
        return finish, upload, spans


def _machine_arrays(machine: Machine) -> tuple[Clocks, Timing, MapArrays]:
    config = machine.config
    unit = config.unit
    clocks = Clocks(
        ranks=machine.standard.organization.ranks,
        core=machine.core_ps,
        array_latency=unit.array_latency.value * machine.core_ps,
        macs_16bit=unit.macs_per_cycle_16bit.value,
        macs_8bit=unit.macs_per_cycle_8bit.value,
        lanes=config.vector.lanes.value,
        dividers=config.vector.dividers.value,
        vector_latency=config.vector.latency.value * machine.core_ps,
        dimms_per_channel=config.channel.dimms_per_channel.value,
        link_byte=config.link.picoseconds_per_byte.value,
        link_latency=config.link.latency_ps.value,
        barrier_latency=config.barrier.latency_ps.value,
    )
    timing = timing_of(machine.standard, unit.activate_ahead.value, unit.return_queue.value)
    return clocks, timing, machine.address_map.arrays()


@cache
def _vector_costs() -> NDArray[np.int64]:
    """Return int64[256, 2] by opcode: passes, and divisions (0 none, 1 an element, 2 a vector)."""
    costs = np.zeros((256, 2), np.int64)
    for instruction in isa().instructions.values():
        costs[instruction.opcode] = instruction.passes, ("none", "element", "vector").index(instruction.divisions)
    return costs


def _command_log(records: NDArray[np.int64], machine: Machine) -> CommandLog:
    """Sort the records by cycle, DIMM and rank: no two commands of one rank share a cycle."""
    column = dict(zip(LOG_COLUMNS, records.T, strict=True))
    order = np.lexsort((column["rank"], column["dimm"], column["cycle"]))
    return CommandLog(
        cycle=column["cycle"][order],
        command=column["command"][order].astype(np.uint8),
        dimm=column["dimm"][order].astype(np.int16),
        rank=column["rank"][order].astype(np.int16),
        bank_group=column["bank_group"][order].astype(np.int16),
        bank=column["bank"][order].astype(np.int16),
        row=column["row"][order].astype(np.int32),
        column=column["column"][order].astype(np.int32),
        standard=machine.standard.name,
        bus="rank",
    )


@njit
def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@njit
def _service(c: Clocks, op) -> int:  # type: ignore[no-untyped-def]
    """Picoseconds for which a rank's slice of the MAC array (or of the buffer port) holds one burst."""
    if op[OP] == OP_ST:
        return 0
    if op[OP] == OP_LD:
        return c.core
    macs = ATOM_BYTES // TYPE_BYTES[op[TYPE]] * op[BATCH]
    rate = c.macs_8bit if op[TYPE] == T_I8 else c.macs_16bit
    return max(_ceil(macs * c.ranks, rate), 1) * c.core


@njit
def _stream(c: Clocks, t: Timing, amap: MapArrays, state: RankState, dimm: int, op, lists, now: int, log: Log) -> int:  # type: ignore[no-untyped-def]
    atoms = _ceil(op[COLS] * TYPE_BYTES[op[TYPE]], ATOM_BYTES)
    rows = Rows(op[BASE], op[STRIDE], atoms, op[LISTED], op[FIRST], op[LENGTH])
    start = _ceil(now, t.tCK_ps)
    service = _service(c, op)
    end = now
    for rank in range(c.ranks):
        unit = dimm * c.ranks + rank
        end = max(end, run_stream(t, amap, state, unit, c.ranks, op[OP] == OP_ST, rows, lists, start, service, log))
    return end + c.array_latency


@njit
def _vector(c: Clocks, costs, op) -> int:  # type: ignore[no-untyped-def]
    """Picoseconds of an element-wise instruction."""
    vectors = max(op[BATCH], 1)  # instructions without a batch have zero there
    elements = op[COUNT] * vectors
    cycles = costs[op[OP], 0] * _ceil(elements, c.lanes)
    if costs[op[OP], 1] == 1:
        cycles += _ceil(elements, c.dividers)
    elif costs[op[OP], 1] == 2:
        cycles += _ceil(vectors, c.dividers)
    return cycles * c.core + c.vector_latency


@njit
def _transfer(t: Timing, size: int, latency_clocks: int) -> int:
    """Picoseconds from the start of a transfer over the memory channel to its last byte."""
    return (_ceil(size, ATOM_BYTES) * t.nBL + latency_clocks) * t.tCK_ps if size > 0 else 0


@njit
def _next_dimm(now, blocked, done) -> int:  # type: ignore[no-untyped-def]
    """Return the DIMM with the least time that can go on (the lowest number among equals), or -1."""
    best = -1
    for d in range(now.shape[0]):
        if not done[d] and not blocked[d] and (best < 0 or now[d] < now[best]):
            best = d
    return best


@njit
def _time(ops, starts, lists, costs, c, t, amap, state, start, uploads, upload, finish, spans, log):  # type: ignore[no-untyped-def]
    """Run all DIMMs of a checked program, always the one that is furthest behind."""
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
        now[d] = channel_free[channel] + _transfer(t, uploads[d], t.nCWL)
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
        if code in (OP_DOT, OP_AXPY, OP_LD, OP_ST):
            end = _stream(c, t, amap, state, d, op, lists, begin, log)
        elif code in (OP_HIN, OP_HOUT):
            channel = d // c.dimms_per_channel
            end = max(begin, channel_free[channel]) + _transfer(t, op[COUNT], t.nCWL if code == OP_HIN else t.nCL)
            channel_free[channel] = end if op[COUNT] > 0 else channel_free[channel]
        elif code == OP_SEND:
            side = 1 if op[PEER] > d else 0
            end = max(begin, link_free[d, side]) + op[COUNT] * c.link_byte
            link_free[d, side] = end
            arrival[d, side, tail[d, side]] = end + c.link_latency
            tail[d, side] += 1
            blocked[op[PEER]] = blocked[op[PEER]] and at_barrier[op[PEER]]
        elif code == OP_RECV:
            side = 1 if d > op[PEER] else 0
            if head[op[PEER], side] == tail[op[PEER], side]:
                blocked[d] = True
                continue
            end = max(begin, arrival[op[PEER], side, head[op[PEER], side]])
            head[op[PEER], side] += 1
        elif code == OP_BAR:
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
        elif code in (OP_END, OP_MAT, OP_LIST, OP_RANGE):
            end = begin + c.core
            done[d] = code == OP_END
        else:
            end = begin + _vector(c, costs, op)
        spans[at, 0] = begin
        spans[at, 1] = end
        now[d] = end
        pc[d] += 1
    finish[:] = now
