"""The engine of bank-level streams, in closed form; STREAM_CONTROLLER.md, "Bank-level streams", specifies it.

As in `ndp/engine.py`, nothing ticks: a train is one row in every bank, and the cycles of its commands follow from a few
"earliest" times.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp import gaps, rank_state
from ndpsim.dram.ndp.command_bus import Beat, burst_cycle
from ndpsim.dram.ndp.gaps import Kind, Timing, between, place
from ndpsim.dram.ndp.mac_array import overlapped
from ndpsim.dram.ndp.rank_state import write_command
from ndpsim.jit import inlined, njit

RDAB, WRAB = COMMANDS.index("RDab"), COMMANDS.index("WRab")
COUNTERS = ("ACT", "PREA", "RDab", "WRab", "REF", "trains")
N_ACT, N_PREA, N_RDAB, N_WRAB, N_REF, N_TRAINS = range(6)
_WINDOW = 4  # of tFAW, where a standard has no such rule
OPEN_ROW = rank_state.ACTS_SEEN + 1  # behind the first places of a rank's record, which serve here too


class Power(NamedTuple):
    """How fast activates may follow one another in a rank: gaps in clocks; the `window`-th latest counts, 0: none."""

    rank: int
    group: int
    window: int
    gap: int


class BanksState(NamedTuple):
    """A rank of banks in lockstep: scalars [11] (as in a rank's record, and OPEN_ROW, -1 if closed), counters [6];
    latest ACT of each bank (group, bank) and group; ring of activates. All int64.
    """

    scalars: NDArray[np.int64]
    counters: NDArray[np.int64]
    act: NDArray[np.int64]
    group_act: NDArray[np.int64]
    recent_acts: NDArray[np.int64]


def power_of(t: Timing, activates: int | None) -> Power:
    """Return the gaps between activates if `activates` of them may fall into a tFAW window."""
    rank, group = (int(t.table[place(gaps.ACT, gaps.ACT, scope)]) for scope in (gaps.RANK, gaps.BANK_GROUP))
    own = t.window or _WINDOW
    if activates is None or activates == own:
        return Power(rank, group, t.window, t.window_gap)
    if activates == 0:
        return Power(t.act_clocks, 0, 0, 0)
    if activates > own:
        rank, group = (-(-gap * own // activates) for gap in (rank, group))
    return Power(max(rank, t.act_clocks), group, activates, t.window_gap)


def new_banks(t: Timing, power: Power, first_due: int) -> BanksState:
    """Return the state of an idle rank with all banks closed, whose first refresh is due in clock `first_due`."""
    scalars = np.full(OPEN_ROW + 1, rank_state.NEVER, np.int64)
    scalars[[rank_state.FREE, rank_state.DUE, rank_state.ACTS_SEEN, OPEN_ROW]] = 0, first_due, 0, -1

    def never(*shape: int) -> NDArray[np.int64]:
        return np.full(shape, rank_state.NEVER, np.int64)

    counters = np.zeros(len(COUNTERS), np.int64)
    return BanksState(
        scalars, counters, never(t.bank_groups, t.banks), never(t.bank_groups), never(max(power.window, 1))
    )


@inlined
def _close(t: Timing, state: BanksState, begin: int, log: Any) -> None:
    s = state.scalars
    precharge = gaps.after(s, t.table, gaps.PREA, begin)
    s[rank_state.LAST_PREA] = precharge
    s[rank_state.FREE] = precharge + t.prea_clocks
    s[OPEN_ROW] = -1
    state.counters[N_PREA] += 1
    if log is not None:
        write_command(log, precharge, rank_state.PREA, 0, 1, -1, -1, -1, -1)


@inlined
def _refresh(t: Timing, state: BanksState, log: Any) -> int:
    """Do the refresh that is due and return the cycle at which the rank goes on."""
    s = state.scalars
    drained = max(s[rank_state.DUE], s[rank_state.FREE])
    refresh = drained
    if s[OPEN_ROW] >= 0:
        _close(t, state, drained, log)
        refresh = s[rank_state.FREE]
    refresh = gaps.after(s, t.table, gaps.REF, refresh)
    s[rank_state.LAST_REF] = refresh
    s[rank_state.FREE] = refresh + t.ref_clocks
    s[rank_state.DUE] += t.interval
    state.counters[N_REF] += 1
    if log is not None:
        write_command(log, refresh, rank_state.REF, 0, 1, -1, -1, -1, -1)
    return refresh + between(t.table, gaps.REF, gaps.ACT, gaps.RANK)


@inlined
def _open(t: Timing, power: Power, state: BanksState, row: int, begin: int, log: Any) -> None:
    """Activate the row in every bank."""
    s, table = state.scalars, t.table
    begin = max(begin, s[rank_state.LAST_PREA] + between(table, gaps.PREA, gaps.ACT, gaps.RANK))
    begin = max(begin, s[rank_state.LAST_REF] + between(table, gaps.REF, gaps.ACT, gaps.RANK))
    in_bank = between(table, gaps.ACT, gaps.ACT, gaps.BANK)
    for bank in range(t.banks):
        for group in range(t.bank_groups):
            cycle = max(begin, s[rank_state.FREE], s[rank_state.LAST_ACT] + power.rank)
            cycle = max(cycle, state.act[group, bank] + in_bank, state.group_act[group] + power.group)
            slot = s[rank_state.ACTS_SEEN] % state.recent_acts.shape[0]
            if power.window > 0:
                cycle = max(cycle, state.recent_acts[slot] + power.gap)
            state.recent_acts[slot] = state.act[group, bank] = state.group_act[group] = cycle
            s[rank_state.LAST_ACT] = cycle
            s[rank_state.ACTS_SEEN] += 1
            s[rank_state.FREE] = cycle + t.act_clocks
            if log is not None:
                write_command(log, cycle, rank_state.ACT, 0, 1, group, bank, row, -1)
    state.counters[N_ACT] += t.banks * t.bank_groups
    s[OPEN_ROW] = row


@inlined
def _columns(
    t: Timing, state: BanksState, row: int, bursts: int, kind: Kind, begin: int, service: int, log: Any
) -> None:
    """Issue the column commands of one train, from `begin` on; they follow the pattern of `command_bus.py`."""
    s, table, column = state.scalars, t.table, kind.command
    write = column == gaps.WR
    beat = Beat(kind.clocks, kind.latency, kind.far, kind.far, t.tck, 0)
    first = max(begin, s[rank_state.FREE], s[rank_state.LAST_ACT] + between(table, gaps.ACT, column, gaps.BANK))
    for scope in (gaps.RANK, gaps.BANK_GROUP):
        first = max(first, s[rank_state.LAST_READ] + between(table, gaps.RD, column, scope))
        first = max(first, s[rank_state.LAST_WRITE] + between(table, gaps.WR, column, scope))
    paced = rank_state.NEVER
    last = first + (bursts - 1) * beat.pace
    if not write:
        free = s[rank_state.MAC_FREE]
        first, last, paced, free = overlapped(beat, t.queue, service, bursts, True, first, free)
        s[rank_state.MAC_FREE] = free
    if log is not None:
        for k in range(bursts):
            cycle = burst_cycle(first, paced, service, beat, k)
            write_command(log, cycle, WRAB if write else RDAB, 0, 1, -1, -1, row, k)
    s[rank_state.LAST_WRITE if write else rank_state.LAST_READ] = last
    s[rank_state.FREE] = last + kind.clocks
    state.counters[N_WRAB if write else N_RDAB] += bursts
    state.counters[N_TRAINS] += 1


@njit
def run_banks(t: Timing, power: Power, state: BanksState, trains: NDArray[np.int64], kind: Kind, start: int,
              service: int, log: Any) -> int:  # fmt: skip
    """Run trains int64[n, 2] of (row, bursts) from clock `start` on; return the end in ticks, as service is.

    log: a `Log`, or None.
    """
    s = state.scalars
    begin = start
    for i in range(trains.shape[0]):
        row = trains[i, 0]
        while t.interval > 0 and s[rank_state.DUE] <= begin:
            begin = max(begin, _refresh(t, state, log))
        if s[OPEN_ROW] != row:
            if s[OPEN_ROW] >= 0:
                _close(t, state, begin, log)
            _open(t, power, state, row, begin, log)
        _columns(t, state, row, trains[i, 1], kind, begin, service, log)
        begin = s[rank_state.FREE]
    if trains.shape[0] == 0:
        return start * t.tck
    if kind.command == gaps.WR:
        return (s[rank_state.LAST_WRITE] + kind.latency) * t.tck
    return s[rank_state.MAC_FREE]
