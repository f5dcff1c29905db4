"""The NDP stream engine of one rank: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies it.

Nothing here ticks. Trains are taken in order, and for each one the cycles of its precharges, activates and first burst
follow from a few "earliest" times; all its other bursts follow from a formula. Row commands are issued ahead, so they
must keep clear of bursts of earlier trains: see `command_bus.py`.

Kernels count time in clocks of the rank (int64) and, where the MAC array is concerned, in ticks (int64): the largest
unit in which both a picosecond and the clock period are whole.
"""

from typing import Any, NamedTuple

from ndpsim.dram.address_map import BANK, BANK_GROUP, COLUMN, ROW, MapArrays
from ndpsim.dram.command_bus import burst_cycle, off_acts, off_bursts
from ndpsim.dram.rank_state import (
    ACT,
    ACTS_SEEN,
    BURSTS,
    DUE,
    FIRST,
    FREE,
    LAST,
    LAST_ACT,
    LAST_PRE,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LAST_WRITE,
    MAC_FREE,
    N_ACT,
    N_PRE,
    N_PREA,
    N_RD,
    N_REF,
    N_TRAINS,
    N_WR,
    NEVER,
    PACE,
    PACED,
    PRE,
    PREA,
    RD,
    REF,
    ROW_READY,
    WR,
    Log,
    RankState,
    write_command,
)
from ndpsim.dram.stream_timing import Kind, Timing
from ndpsim.jit import inlined, njit


class Rows(NamedTuple):
    """The `length` matrix rows of one instruction: from lists[first] on (listed = 1), or first, first + 1, ..."""

    base: int
    stride: int
    atoms: int
    listed: int
    first: int
    length: int


@inlined
def _refresh(t: Timing, state: RankState, unit: int, ranks: int, log: Log) -> int:
    """Do the refresh that is due and return the cycle at which the row engine goes on."""
    s = state.scalars[unit]
    begin = max(s[DUE], s[FREE])
    any_open = False
    for b in range(state.open_row.shape[1]):
        any_open = any_open or state.open_row[unit, b] >= 0
        state.open_row[unit, b] = -1
    refresh = begin
    if any_open:
        precharge = begin
        for i in range(len(t.before_prea)):
            precharge = max(precharge, s[i] + t.before_prea[i])
        s[LAST_PREA] = precharge
        state.counters[unit, N_PREA] += 1
        write_command(log, precharge, PREA, unit, ranks, -1, -1, -1, -1)
        refresh = precharge + t.prea_clocks
    for i in range(len(t.before_ref)):
        refresh = max(refresh, s[i] + t.before_ref[i])
    s[LAST_REF] = refresh
    s[FREE] = refresh + t.ref_clocks
    s[DUE] += t.interval
    state.counters[unit, N_REF] += 1
    write_command(log, refresh, REF, unit, ranks, -1, -1, -1, -1)
    return refresh + t.ref_act


@inlined
def _open(t: Timing, state: RankState, unit: int, ranks: int, kind: Kind, group: int, bank: int, row: int, begin: int,
          service: int, log: Log) -> None:  # fmt: skip
    """Precharge a bank if another row is open in it, and activate the row; both no earlier than `begin`."""
    s = state.scalars[unit]
    b = group * t.banks + bank
    acts, patterns = state.recent_acts[unit], state.patterns[unit]
    if state.open_row[unit, b] >= 0:
        cycle = max(begin, s[LAST_PRE] + t.pre_pre, s[LAST_PREA] + t.prea_pre, state.act[unit, b] + t.act_pre)
        cycle = max(cycle, state.read[unit, b] + t.read_pre, state.write[unit, b] + t.write_pre)
        last = begin - 1
        while cycle > last:
            last = off_bursts(t, patterns, kind, service, cycle, 1)
            cycle = off_acts(acts, s[ACTS_SEEN], t.act_clocks, last)
        state.pre[unit, b] = cycle
        s[LAST_PRE] = cycle
        s[FREE] = max(s[FREE], cycle + 1)
        state.counters[unit, N_PRE] += 1
        write_command(log, cycle, PRE, unit, ranks, group, bank, -1, -1)
    seen = s[ACTS_SEEN]
    cycle = max(begin, state.act[unit, b] + t.act_act_bank, state.pre[unit, b] + t.pre_act)
    cycle = max(cycle, s[LAST_ACT] + t.act_act_rank, state.group_act[unit, group] + t.act_act_group)
    cycle = max(cycle, s[LAST_PREA] + t.prea_act, s[LAST_REF] + t.ref_act)
    if seen >= t.window > 0:
        cycle = max(cycle, acts[(seen - t.window) % acts.shape[0]] + t.act_act_window)
    cycle = off_bursts(t, patterns, kind, service, cycle, t.act_clocks)
    acts[seen % acts.shape[0]] = cycle
    s[ACTS_SEEN] = seen + 1
    s[LAST_ACT] = cycle
    s[ROW_READY] = cycle + t.act_clocks
    s[FREE] = max(s[FREE], s[ROW_READY])
    state.act[unit, b] = cycle
    state.group_act[unit, group] = cycle
    state.open_row[unit, b] = row
    state.counters[unit, N_ACT] += 1
    write_command(log, cycle, ACT, unit, ranks, group, bank, row, -1)


@inlined
def _first_burst(t: Timing, state: RankState, unit: int, kind: Kind, start: int, group: int, bank: int, touched: int,
                 pace: int, service: int) -> int:  # fmt: skip
    """Earliest cycle of burst 0, such that DRAM timing never stops the train again."""
    s = state.scalars[unit]
    first = max(start, s[LAST_READ] + kind.after_read, s[LAST_WRITE] + kind.after_write)
    if service > 0:
        arrival = s[MAC_FREE] - (t.queue - 1) * service
        first = max(first, -(-arrival // t.tck) - kind.latency)
    first = max(first, s[ROW_READY])
    for k in range(touched):
        g = (group + k) % t.bank_groups
        ready = state.act[unit, g * t.banks + bank] + kind.after_act_in_bank
        ready = max(ready, state.group_read[unit, g] + kind.after_read_in_group)
        ready = max(ready, state.group_write[unit, g] + kind.after_write_in_group)
        first = max(first, ready - k * pace)
    return first


@inlined
def _train(t: Timing, amap: MapArrays, state: RankState, unit: int, ranks: int, kind: Kind, start: int, begin: int,
           slot: int, local: int, bursts: int, service: int, log: Log) -> None:  # fmt: skip
    """Run one train of `bursts` bursts from local address `local` on; `begin` is the cycle of its take-up."""
    group = bank = row = 0
    for i in range(amap.digits.shape[0]):
        digit = amap.digits[i]
        part = (local >> digit[0] & digit[1]) << digit[3]
        if digit[2] == BANK_GROUP:
            group |= part
        elif digit[2] == BANK:
            bank |= part
        elif digit[2] == ROW:
            row |= part
    rotates = amap.rotating == 1 and kind.near * t.bank_groups >= kind.far
    pace = kind.near if rotates else kind.far
    latency = kind.latency
    touched = min(bursts, t.bank_groups) if rotates else 1
    s = state.scalars[unit]
    s[ROW_READY] = NEVER
    for k in range(touched):
        g = (group + k) % t.bank_groups
        if state.open_row[unit, g * t.banks + bank] != row:
            _open(t, state, unit, ranks, kind, g, bank, row, begin, service, log)
    first = _first_burst(t, state, unit, kind, start, group, bank, touched, pace, service)

    pattern = state.patterns[unit, slot]
    pattern[FIRST] = first
    pattern[BURSTS] = bursts
    pattern[PACE] = pace
    pattern[PACED] = NEVER
    last = first + (bursts - 1) * pace
    if service > 0:
        finished = max((first + latency) * t.tck, s[MAC_FREE]) + service
        if service > pace * t.tck:
            pattern[PACED] = finished - t.queue * service
            last = burst_cycle(pattern, t.tck, latency, service, bursts - 1)
        s[MAC_FREE] = max(finished + (bursts - 1) * service, (last + latency) * t.tck + service)
    pattern[LAST] = last

    for k in range(max(bursts - touched, 0), bursts):
        cycle = burst_cycle(pattern, t.tck, latency, service, k)
        g = (group + k) % t.bank_groups if rotates else group
        if kind.write:
            state.write[unit, g * t.banks + bank] = cycle
            state.group_write[unit, g] = cycle
        else:
            state.read[unit, g * t.banks + bank] = cycle
            state.group_read[unit, g] = cycle
    s[LAST_WRITE if kind.write else LAST_READ] = last
    s[FREE] = max(s[FREE], last + kind.clocks)
    state.counters[unit, N_WR if kind.write else N_RD] += bursts
    state.counters[unit, N_TRAINS] += 1
    if log.records.shape[0] > 0:
        _log_bursts(t, amap, unit, ranks, kind, local, pattern, service, bank, row, log)


@inlined
def _log_bursts(t: Timing, amap: MapArrays, unit: int, ranks: int, kind: Kind, local: int, pattern: Any, service: int,
                bank: int, row: int, log: Log) -> None:  # fmt: skip
    for k in range(pattern[BURSTS]):
        group = column = 0
        for i in range(amap.digits.shape[0]):
            digit = amap.digits[i]
            part = (local + k >> digit[0] & digit[1]) << digit[3]
            if digit[2] == BANK_GROUP:
                group |= part
            elif digit[2] == COLUMN:
                column |= part
        cycle = burst_cycle(pattern, t.tck, kind.latency, service, k)
        write_command(log, cycle, WR if kind.write else RD, unit, ranks, group, bank, row, column)


@njit
def _below(amap: MapArrays, rank: int, atom: int) -> int:
    """Count the atoms of a rank whose linear address is below `atom`."""
    high = atom >> (amap.rank_lo + amap.rank_width)
    digit = atom >> amap.rank_lo & ((1 << amap.rank_width) - 1)
    local = high << amap.rank_lo
    if rank < digit:
        return local + (1 << amap.rank_lo)
    if rank == digit:
        return local + (atom & ((1 << amap.rank_lo) - 1))
    return local


@njit
def run_stream(t: Timing, amap: MapArrays, state: RankState, unit: int, ranks: int, write: bool, rows: Rows, lists: Any,
               start: int, service_ps: int, log: Log) -> int:  # fmt: skip
    """Run the part of an instruction that lies in one rank, and return when it is done, in picoseconds.

    unit = dimm * ranks + rank; start in clocks; service_ps: picoseconds that the MAC slice needs for a burst (0 for
    writes).
    """
    rank = unit % ranks
    s = state.scalars[unit]
    kind = t.writes if write else t.reads
    service = service_ps * t.ticks
    run = 1 << amap.run_bits
    if amap.rotating == 1 and kind.near * t.bank_groups < kind.far:
        run = 1
    depth = state.patterns.shape[1]
    trains = 0
    begin = start
    for i in range(rows.length):
        row = int(lists[rows.first + i]) if rows.listed == 1 else rows.first + i
        atom = rows.base + row * rows.stride
        local = _below(amap, rank, atom)
        end = _below(amap, rank, atom + rows.atoms)
        while local < end:
            stop = min(end, (local | (run - 1)) + 1)
            if trains >= t.ahead:
                begin = max(begin, state.patterns[unit, (trains - t.ahead) % depth, FIRST] + 1)
            while t.interval > 0 and s[DUE] <= begin:
                begin = max(begin, _refresh(t, state, unit, ranks, log))
            _train(t, amap, state, unit, ranks, kind, start, begin, trains % depth, local, stop - local, service, log)
            trains += 1
            local = stop
    done = s[MAC_FREE]
    if trains == 0:
        done = start * t.tck
    elif write:
        done = (s[LAST_WRITE] + kind.latency) * t.tck
    return -(-done // t.ticks)
