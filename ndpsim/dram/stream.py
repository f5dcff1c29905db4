"""The NDP stream engine of one rank: trains of bursts to open rows, in closed form. STREAM_CONTROLLER.md is its specification.

Nothing here ticks. Trains are taken in order, and for each one the cycles of its precharges, activates and first burst
follow from a few "earliest" times; all its other bursts follow from a formula. Row commands are issued ahead, so they
must keep clear of bursts of earlier trains, which are kept as patterns: burst k of a train is issued at

    max(first + k * pace, ceil((paced + k * service) / tCK) - nCL - nBL)

where the second term is the pace of the MAC array once it has fallen behind by the length of the return queue.

Kernels count time in clocks of the rank (int64) and in picoseconds (int64) where the MAC array is concerned.
"""

from typing import Any, NamedTuple

from ndpsim.dram.address_map import BANK, BANK_GROUP, COLUMN, ROW, MapArrays
from ndpsim.dram.rank_state import (
    ACT,
    ACTS_SEEN,
    BURSTS,
    DUE,
    FIRST,
    LAST,
    LAST_ACT,
    LAST_COMMAND,
    LAST_PRE,
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
    ROW_OPENED,
    WR,
    Log,
    RankState,
    Timing,
)
from ndpsim.jit import inlined, njit


class Rows(NamedTuple):
    """The `length` matrix rows of one instruction: from lists[first] on (listed = 1), or first, first + 1, ..."""

    base: int
    stride: int
    atoms: int
    listed: int
    first: int
    length: int


@njit
def _write(
    log: Log, cycle: int, command: int, unit: int, ranks: int, group: int, bank: int, row: int, column: int
) -> None:
    at = log.used[0]
    if at < log.records.shape[0]:
        record = log.records[at]
        record[0] = cycle
        record[1] = command
        record[2] = unit // ranks
        record[3] = unit % ranks
        record[4] = group
        record[5] = bank
        record[6] = row
        record[7] = column
    log.used[0] = at + 1


@njit
def _burst(t: Timing, pattern: Any, service: int, k: int) -> int:
    """Cycle of burst k of a pattern."""
    cycle = pattern[FIRST] + k * pattern[PACE]
    if k > 0 and pattern[PACED] > NEVER:
        paced = -(-(pattern[PACED] + k * service) // t.tCK_ps) - t.nCL - t.nBL
        cycle = max(cycle, paced)
    return cycle


@njit
def _bus_busy(t: Timing, state: RankState, unit: int, service: int, cycle: int) -> bool:
    """Tell whether a burst of a recent train occupies the command bus in this cycle."""
    patterns = state.patterns[unit]
    for i in range(patterns.shape[0]):
        pattern = patterns[i]
        if pattern[FIRST] <= cycle <= pattern[LAST]:
            k = (cycle - pattern[FIRST]) // pattern[PACE]
            if pattern[PACED] > NEVER:
                k = min(k, ((cycle + t.nCL + t.nBL) * t.tCK_ps - pattern[PACED]) // service)
            k = min(max(k, 0), pattern[BURSTS] - 1)
            return _burst(t, pattern, service, k) == cycle
    return False


@njit
def _act_at(state: RankState, unit: int, cycle: int) -> bool:
    acts = state.recent_acts[unit]
    for i in range(acts.shape[0]):  # noqa: SIM110 (Numba compiles no generator expressions)
        if acts[i] == cycle:
            return True
    return False


@njit
def _precharge_ready(t: Timing, state: RankState, unit: int, b: int) -> int:
    """Earliest PRE that an open bank allows."""
    ready = max(state.act[unit, b] + t.nRAS, state.read[unit, b] + t.nRTP)
    return max(ready, state.write[unit, b] + t.nCWL + t.nBL + t.nWR)


@inlined
def _refresh(t: Timing, state: RankState, unit: int, ranks: int, log: Log) -> int:
    """Do the refresh that is due and return the cycle at which the row engine goes on."""
    s = state.scalars[unit]
    begin = max(s[DUE], s[LAST_COMMAND] + 1)
    banks = state.open_row.shape[1]
    precharge = NEVER
    for b in range(banks):
        if state.open_row[unit, b] >= 0:
            precharge = max(precharge, begin, _precharge_ready(t, state, unit, b))
    refresh = max(begin, s[LAST_REF] + t.nRFC)
    if precharge > NEVER:
        for b in range(banks):
            if state.open_row[unit, b] >= 0:
                state.open_row[unit, b] = -1
                state.pre[unit, b] = precharge
        s[LAST_PRE] = precharge
        state.counters[unit, N_PREA] += 1
        _write(log, precharge, PREA, unit, ranks, -1, -1, -1, -1)
        refresh = max(refresh, precharge + 1)
    for b in range(banks):
        refresh = max(refresh, state.pre[unit, b] + t.nRP)
    s[LAST_REF] = refresh
    s[LAST_COMMAND] = refresh
    s[DUE] += t.nREFI
    state.counters[unit, N_REF] += 1
    _write(log, refresh, REF, unit, ranks, -1, -1, -1, -1)
    return refresh + t.nRFC


@inlined
def _open(t: Timing, state: RankState, unit: int, ranks: int, group: int, bank: int, row: int, begin: int, service: int,
          log: Log) -> None:  # fmt: skip
    """Precharge a bank if another row is open in it, and activate the row; both no earlier than `begin`."""
    s = state.scalars[unit]
    b = group * t.banks + bank
    if state.open_row[unit, b] >= 0:
        cycle = max(begin, s[LAST_PRE] + 1, _precharge_ready(t, state, unit, b))
        while _bus_busy(t, state, unit, service, cycle) or _act_at(state, unit, cycle):
            cycle += 1
        state.pre[unit, b] = cycle
        s[LAST_PRE] = cycle
        s[LAST_COMMAND] = max(s[LAST_COMMAND], cycle)
        state.counters[unit, N_PRE] += 1
        _write(log, cycle, PRE, unit, ranks, group, bank, -1, -1)
    acts = state.recent_acts[unit]
    seen = s[ACTS_SEEN]
    cycle = max(begin, state.act[unit, b] + t.nRC, state.pre[unit, b] + t.nRP)
    cycle = max(cycle, s[LAST_ACT] + t.nRRD_S, state.group_act[unit, group] + t.nRRD_L)
    cycle = max(cycle, s[LAST_REF] + t.nRFC)
    if seen >= 4:
        cycle = max(cycle, acts[(seen - 4) % acts.shape[0]] + t.nFAW)
    while _bus_busy(t, state, unit, service, cycle):
        cycle += 1
    acts[seen % acts.shape[0]] = cycle
    s[ACTS_SEEN] = seen + 1
    s[LAST_ACT] = cycle
    s[LAST_COMMAND] = max(s[LAST_COMMAND], cycle)
    s[ROW_OPENED] = max(s[ROW_OPENED], cycle)
    state.act[unit, b] = cycle
    state.group_act[unit, group] = cycle
    state.open_row[unit, b] = row
    state.counters[unit, N_ACT] += 1
    _write(log, cycle, ACT, unit, ranks, group, bank, row, -1)


@inlined
def _first_burst(t: Timing, state: RankState, unit: int, write: bool, start: int, group: int, bank: int, touched: int,
                 pace: int, service: int) -> int:  # fmt: skip
    """Earliest cycle of burst 0, such that DRAM timing never stops the train again."""
    s = state.scalars[unit]
    if write:
        first = max(start, s[LAST_WRITE] + t.nCCD_S, s[LAST_READ] + t.nCL + t.nBL + 2 - t.nCWL)
    else:
        first = max(start, s[LAST_READ] + t.nCCD_S, s[LAST_WRITE] + t.nCWL + t.nBL + t.nWTR_S)
        if service > 0:
            arrival = s[MAC_FREE] - (t.queue - 1) * service
            first = max(first, -(-arrival // t.tCK_ps) - t.nCL - t.nBL)
    first = max(first, s[ROW_OPENED] + 1)
    for k in range(touched):
        g = (group + k) % t.bank_groups
        ready = state.act[unit, g * t.banks + bank] + t.nRCD
        if write:
            ready = max(ready, state.group_write[unit, g] + t.nCCD_L)
        else:
            ready = max(ready, state.group_read[unit, g] + t.nCCD_L)
            ready = max(ready, state.group_write[unit, g] + t.nCWL + t.nBL + t.nWTR_L)
        first = max(first, ready - k * pace)
    return first


@inlined
def _train(t: Timing, amap: MapArrays, state: RankState, unit: int, ranks: int, write: bool, start: int, begin: int,
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
    rotates = amap.rotating == 1 and t.nCCD_S * t.bank_groups >= t.nCCD_L
    pace = t.nCCD_S if rotates else t.nCCD_L
    touched = min(bursts, t.bank_groups) if rotates else 1
    s = state.scalars[unit]
    s[ROW_OPENED] = NEVER
    for k in range(touched):
        g = (group + k) % t.bank_groups
        if state.open_row[unit, g * t.banks + bank] != row:
            _open(t, state, unit, ranks, g, bank, row, begin, service, log)
    first = _first_burst(t, state, unit, write, start, group, bank, touched, pace, service)

    pattern = state.patterns[unit, slot]
    pattern[FIRST] = first
    pattern[BURSTS] = bursts
    pattern[PACE] = pace
    pattern[PACED] = NEVER
    last = first + (bursts - 1) * pace
    if service > 0:
        finished = max((first + t.nCL + t.nBL) * t.tCK_ps, s[MAC_FREE]) + service
        if service > pace * t.tCK_ps:
            pattern[PACED] = finished - t.queue * service
            last = _burst(t, pattern, service, bursts - 1)
        s[MAC_FREE] = max(finished + (bursts - 1) * service, (last + t.nCL + t.nBL) * t.tCK_ps + service)
    pattern[LAST] = last

    for k in range(max(bursts - touched, 0), bursts):
        cycle = _burst(t, pattern, service, k)
        g = (group + k) % t.bank_groups if rotates else group
        if write:
            state.write[unit, g * t.banks + bank] = cycle
            state.group_write[unit, g] = cycle
        else:
            state.read[unit, g * t.banks + bank] = cycle
            state.group_read[unit, g] = cycle
    s[LAST_WRITE if write else LAST_READ] = last
    s[LAST_COMMAND] = max(s[LAST_COMMAND], last)
    state.counters[unit, N_WR if write else N_RD] += bursts
    state.counters[unit, N_TRAINS] += 1
    if log.records.shape[0] > 0:
        _log_bursts(t, amap, unit, ranks, write, local, pattern, service, bank, row, log)


@inlined
def _log_bursts(t: Timing, amap: MapArrays, unit: int, ranks: int, write: bool, local: int, pattern: Any, service: int,
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
        _write(log, _burst(t, pattern, service, k), WR if write else RD, unit, ranks, group, bank, row, column)


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
               start: int, service: int, log: Log) -> int:  # fmt: skip
    """Run the part of an instruction that lies in one rank, and return when it is done, in picoseconds.

    unit = dimm * ranks + rank; start in clocks; service: picoseconds that the MAC slice needs for a burst (0 for
    writes).
    """
    rank = unit % ranks
    s = state.scalars[unit]
    run = 1 << amap.run_bits
    if amap.rotating == 1 and t.nCCD_S * t.bank_groups < t.nCCD_L:
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
            while t.nREFI > 0 and s[DUE] <= begin:
                begin = max(begin, _refresh(t, state, unit, ranks, log))
            _train(t, amap, state, unit, ranks, write, start, begin, trains % depth, local, stop - local, service, log)
            trains += 1
            local = stop
    if trains == 0:
        return start * t.tCK_ps
    if write:
        return (s[LAST_WRITE] + t.nCWL + t.nBL) * t.tCK_ps
    return s[MAC_FREE]
