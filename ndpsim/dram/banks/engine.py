"""The engine of bank-level streams, in closed form; STREAM_CONTROLLER.md, "Bank-level streams", specifies it.

As in `stream.py`, nothing ticks: a train is one row in every bank, and the cycles of its commands follow from a few
"earliest" times.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp.gaps import Kind, Timing
from ndpsim.dram.ndp.rank_state import (
    ACT,
    ACTS_SEEN,
    DUE,
    FREE,
    LAST_ACT,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LAST_WRITE,
    MAC_FREE,
    NEVER,
    PREA,
    REF,
    Log,
    write_command,
)
from ndpsim.jit import inlined, njit

RDAB, WRAB = COMMANDS.index("RDab"), COMMANDS.index("WRab")
COUNTERS = ("ACT", "PREA", "RDab", "WRab", "REF", "trains")
N_ACT, N_PREA, N_RDAB, N_WRAB, N_REF, N_TRAINS = range(6)
_WINDOW = 4  # of tFAW, where a standard has no such rule
OPEN_ROW = ACTS_SEEN + 1  # behind the first places of a rank's record, which serve here too


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
    own = t.window or _WINDOW
    if activates is None or activates == own:
        return Power(t.act_act_rank, t.act_act_group, t.window, t.act_act_window)
    if activates == 0:
        return Power(t.act_clocks, 0, 0, 0)
    if activates < own:
        return Power(t.act_act_rank, t.act_act_group, activates, t.act_act_window)
    rank, group = (-(-gap * own // activates) for gap in (t.act_act_rank, t.act_act_group))
    return Power(max(rank, t.act_clocks), group, activates, t.act_act_window)


def new_banks(t: Timing, power: Power, first_due: int) -> BanksState:
    """Return the state of an idle rank with all banks closed, whose first refresh is due in clock `first_due`."""
    scalars = np.full(OPEN_ROW + 1, NEVER, np.int64)
    scalars[[FREE, DUE, ACTS_SEEN, OPEN_ROW]] = 0, first_due, 0, -1

    def never(*shape: int) -> NDArray[np.int64]:
        return np.full(shape, NEVER, np.int64)

    counters = np.zeros(len(COUNTERS), np.int64)
    return BanksState(
        scalars, counters, never(t.bank_groups, t.banks), never(t.bank_groups), never(max(power.window, 1))
    )


@inlined
def _close(t: Timing, state: BanksState, begin: int, log: Log) -> None:
    s = state.scalars
    precharge = begin
    for i in range(len(t.before_prea)):
        precharge = max(precharge, s[i] + t.before_prea[i])
    s[LAST_PREA] = precharge
    s[FREE] = precharge + t.prea_clocks
    s[OPEN_ROW] = -1
    state.counters[N_PREA] += 1
    write_command(log, precharge, PREA, 0, 1, -1, -1, -1, -1)


@inlined
def _refresh(t: Timing, state: BanksState, log: Log) -> int:
    """Do the refresh that is due and return the cycle at which the rank goes on."""
    s = state.scalars
    drained = max(s[DUE], s[FREE])
    refresh = drained
    if s[OPEN_ROW] >= 0:
        _close(t, state, drained, log)
        refresh = s[FREE]
    for i in range(len(t.before_ref)):
        refresh = max(refresh, s[i] + t.before_ref[i])
    s[LAST_REF] = refresh
    s[FREE] = refresh + t.ref_clocks
    s[DUE] += t.interval
    state.counters[N_REF] += 1
    write_command(log, refresh, REF, 0, 1, -1, -1, -1, -1)
    return refresh + t.ref_act


@inlined
def _open(t: Timing, power: Power, state: BanksState, row: int, begin: int, log: Log) -> None:
    """Activate the row in every bank."""
    s = state.scalars
    for bank in range(t.banks):
        for group in range(t.bank_groups):
            cycle = max(begin, s[FREE], state.act[group, bank] + t.act_act_bank, s[LAST_ACT] + power.rank)
            cycle = max(cycle, state.group_act[group] + power.group, s[LAST_PREA] + t.prea_act, s[LAST_REF] + t.ref_act)
            slot = s[ACTS_SEEN] % state.recent_acts.shape[0]
            if power.window > 0:
                cycle = max(cycle, state.recent_acts[slot] + power.gap)
            state.recent_acts[slot] = state.act[group, bank] = state.group_act[group] = s[LAST_ACT] = cycle
            s[ACTS_SEEN] += 1
            s[FREE] = cycle + t.act_clocks
            write_command(log, cycle, ACT, 0, 1, group, bank, row, -1)
    state.counters[N_ACT] += t.banks * t.bank_groups
    s[OPEN_ROW] = row


@inlined
def _columns(
    t: Timing, state: BanksState, row: int, bursts: int, kind: Kind, begin: int, service: int, log: Log
) -> None:
    """Issue the column commands of one train, from `begin` on; they follow the pattern of stream.py."""
    s = state.scalars
    latency, pace = kind.latency, kind.far
    after_read = max(kind.after_read, kind.after_read_in_group)
    after_write = max(kind.after_write, kind.after_write_in_group)
    first = max(
        begin, s[FREE], s[LAST_ACT] + kind.after_act_in_bank, s[LAST_READ] + after_read, s[LAST_WRITE] + after_write
    )
    paced = NEVER
    last = first + (bursts - 1) * pace
    if not kind.write:
        first = max(first, -(-(s[MAC_FREE] - (t.queue - 1) * service) // t.tck) - latency)
        last = first + (bursts - 1) * pace
        finished = max((first + latency) * t.tck, s[MAC_FREE]) + service
        if service > pace * t.tck:
            paced = finished - t.queue * service
            if bursts > 1:
                last = max(last, -(-(paced + (bursts - 1) * service) // t.tck) - latency)
        s[MAC_FREE] = max(finished + (bursts - 1) * service, (last + latency) * t.tck + service)
    if log.records.shape[0] > 0:
        for k in range(bursts):
            cycle = first + k * pace
            if k > 0 and paced > NEVER:
                cycle = max(cycle, -(-(paced + k * service) // t.tck) - latency)
            write_command(log, cycle, WRAB if kind.write else RDAB, 0, 1, -1, -1, row, k)
    s[LAST_WRITE if kind.write else LAST_READ] = last
    s[FREE] = last + kind.clocks
    state.counters[N_WRAB if kind.write else N_RDAB] += bursts
    state.counters[N_TRAINS] += 1


@njit
def run_banks(t: Timing, power: Power, state: BanksState, trains: NDArray[np.int64], kind: Kind, start: int,
              service: int, log: Log) -> int:  # fmt: skip
    """Run trains int64[n, 2] of (row, bursts) from clock `start` on; return the end in ticks, as service is."""
    s = state.scalars
    begin = start
    for i in range(trains.shape[0]):
        row = trains[i, 0]
        while t.interval > 0 and s[DUE] <= begin:
            begin = max(begin, _refresh(t, state, log))
        if s[OPEN_ROW] != row:
            if s[OPEN_ROW] >= 0:
                _close(t, state, begin, log)
            _open(t, power, state, row, begin, log)
        _columns(t, state, row, trains[i, 1], kind, begin, service, log)
        begin = s[FREE]
    if trains.shape[0] == 0:
        return start * t.tck
    if kind.write:
        return (s[LAST_WRITE] + kind.latency) * t.tck
    return s[MAC_FREE]
