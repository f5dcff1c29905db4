"""Streams of a rank whose banks all work at once, each with a small unit of its own: bank-level near-data processing.

STREAM_CONTROLLER.md, "Bank-level streams", is the specification, and says what is not modelled. As in `stream.py`,
nothing ticks: a train is one row in every bank, and the cycles of its commands follow from a few "earliest" times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ndpsim.dram.log import COMMANDS, FIELDS, CommandLog
from ndpsim.dram.rank_state import (
    ACT,
    ACTS_SEEN,
    DUE,
    FREE,
    LAST_ACT,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LAST_WRITE,
    LOG_COLUMNS,
    MAC_FREE,
    NEVER,
    PREA,
    REF,
    Log,
    no_log,
    write_command,
)
from ndpsim.dram.standard import Standard
from ndpsim.dram.stream_timing import READ, WRITE, Timing, timing_of
from ndpsim.errors import InputError
from ndpsim.jit import inlined, njit

RDAB, WRAB = COMMANDS.index("RDab"), COMMANDS.index("WRab")
COUNTERS = ("ACT", "PREA", "RDab", "WRab", "REF", "trains")
N_ACT, N_PREA, N_RDAB, N_WRAB, N_REF, N_TRAINS = range(6)
OPEN_ROW = ACTS_SEEN + 1  # behind the columns of RankState.scalars that serve here too
_MAX_CLOCKS = 1 << 40


class Power(NamedTuple):
    """How fast activates may follow one another in a rank: gaps in clocks; the `window`-th latest counts, 0: none."""

    rank: int
    group: int
    window: int
    gap: int


class BanksState(NamedTuple):
    """A rank of banks in lockstep: scalars [11] (as RankState's, and OPEN_ROW, -1 if closed), counters [6]; latest ACT
    of each bank (group, bank) and group; ring of activates. All int64.
    """

    scalars: NDArray[np.int64]
    counters: NDArray[np.int64]
    act: NDArray[np.int64]
    group_act: NDArray[np.int64]
    recent_acts: NDArray[np.int64]


@dataclass(frozen=True)
class BankRun:
    """One stream: clocks from start to end, its end in picoseconds (both rounded up), counts of commands, the log."""

    cycles: int
    end_ps: int
    counters: dict[str, int]
    log: CommandLog | None


class LockstepBanks:
    """The banks of one rank, which go on from stream to stream: open rows, refreshes and all.

    activates: how many ACTs may fall into a tFAW window; None as in the standard (4), 0 for as many as the command bus
    carries; a larger number than the standard's also shortens tRRD, in proportion. queue: bursts that a bank's unit can
    hold. first_due: clock of the first refresh (after one interval if None). `now` is the clock from which the next
    stream may start. Raises InputError on a number that cannot be, or a standard whose rules are not kept.
    """

    def __init__(
        self, standard: Standard, *, activates: int | None = None, queue: int = 16, first_due: int | None = None
    ) -> None:
        _require("activates", activates, 0, 4096)
        _require("queue", queue, 2, 4096)
        _require("first_due", first_due, 0, _MAX_CLOCKS)
        self.standard = standard
        self.now = 0
        self._timing = timing_of(standard, 1, queue)
        self._power = _power(self._timing, activates)
        self._state = _new_state(self._timing, self._power, self._timing.interval if first_due is None else first_due)

    def run(
        self,
        rows: Sequence[int] | NDArray[np.integer],
        columns: int | npt.ArrayLike,
        *,
        write: bool = False,
        service_ps: int = 0,
        start: int | None = None,
        log: bool = False,
    ) -> BankRun:
        """Run a stream that visits these rows, in order, in every bank.

        rows: int[trains], rows of a bank; columns: bursts in each visit, one number or int[trains], from column 0 on;
        service_ps: picoseconds that a bank's unit needs for a burst that it reads, 0 if it always keeps up; start: in
        clocks, `now` or later. Raises InputError if one of these is out of range.
        """
        trains = self._trains(rows, columns)
        start = self.now if start is None else start
        _require("service_ps", service_ps, 0, 1 << 30)
        _require("start", start, self.now, _MAX_CLOCKS)
        before = self._state.counters.copy()
        records = no_log()
        if log:  # once to count the commands, once to write them
            trial = BanksState(*(array.copy() for array in self._state))
            self._advance(trial, trains, write, start, service_ps, records)
            commands = int((trial.counters - before)[:N_TRAINS].sum())
            records = Log(np.empty((max(commands, 1), len(LOG_COLUMNS)), np.int64), np.zeros(1, np.int64))
        ticks = self._advance(self._state, trains, write, start, service_ps, records)
        t = self._timing
        self.now = max(-(-ticks // t.tck), int(self._state.scalars[FREE]))
        counters = dict(zip(COUNTERS, (self._state.counters - before).tolist(), strict=True))
        commands_log = _command_log(records, self.standard) if log else None
        return BankRun(-(-ticks // t.tck) - start, -(-ticks // t.ticks), counters, commands_log)

    def _trains(self, rows: Sequence[int] | NDArray[np.integer], columns: int | npt.ArrayLike) -> NDArray[np.int64]:
        """Return int64[trains, 2]: row, and number of columns."""
        organization = self.standard.organization
        row, column = (values if values.size else values.astype(int) for values in map(np.asarray, (rows, columns)))
        for name, values, least, most in (
            ("rows", row, 0, organization.rows - 1),
            ("columns", column, 1, organization.columns),
        ):
            if values.dtype.kind not in "iu" or (values.size and not least <= values.min() <= values.max() <= most):
                raise InputError(f"{name}: expected integers from {least} to {most}, found others")
        if row.ndim != 1 or column.shape not in ((), row.shape):
            raise InputError(f"rows, columns: expected lists of one length, found {row.shape} and {column.shape}")
        trains = np.empty((len(row), 2), np.int64)
        trains[:, 0], trains[:, 1] = row, column
        return trains

    def _advance(
        self, state: BanksState, trains: NDArray[np.int64], write: bool, start: int, service_ps: int, log: Log
    ) -> int:
        t = self._timing
        service = 0 if write else service_ps * t.ticks
        return int(_run(t, self._power, state, trains, WRITE if write else READ, start, service, log))


def bank_stream(
    standard: Standard,
    rows: Sequence[int] | NDArray[np.integer],
    columns: int | npt.ArrayLike,
    *,
    write: bool = False,
    service_ps: int = 0,
    activates: int | None = None,
    queue: int = 16,
    first_due: int | None = None,
    log: bool = False,
) -> BankRun:
    """Time one stream in all banks of an idle rank; the arguments are those of `LockstepBanks` and of its `run`.

    `bank_stream(load_standard("HBM3-6400"), range(64), 32, service_ps=2500).cycles` is how long all banks of a
    pseudo-channel take to read 64 whole rows each, one burst in 2.5 ns at every bank.
    """
    banks = LockstepBanks(standard, activates=activates, queue=queue, first_due=first_due)
    return banks.run(rows, columns, write=write, service_ps=service_ps, log=log)


def _require(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise InputError(f"{name}: expected an integer from {least} to {most}, found {value!r}")


def _power(t: Timing, activates: int | None) -> Power:
    if activates is None or activates == t.window:
        return Power(t.act_act_rank, t.act_act_group, t.window, t.act_act_window)
    if activates == 0:
        return Power(t.act_clocks, 0, 0, 0)
    if activates < t.window:
        return Power(t.act_act_rank, t.act_act_group, activates, t.act_act_window)
    rank, group = (-(-gap * t.window // activates) for gap in (t.act_act_rank, t.act_act_group))
    return Power(max(rank, t.act_clocks), group, activates, t.act_act_window)


def _new_state(t: Timing, power: Power, first_due: int) -> BanksState:
    scalars = np.full(OPEN_ROW + 1, NEVER, np.int64)
    scalars[[FREE, DUE, ACTS_SEEN, OPEN_ROW]] = 0, first_due, 0, -1

    def never(*shape: int) -> NDArray[np.int64]:
        return np.full(shape, NEVER, np.int64)

    counters = np.zeros(len(COUNTERS), np.int64)
    return BanksState(
        scalars, counters, never(t.bank_groups, t.banks), never(t.bank_groups), never(max(power.window, 1))
    )


def _command_log(log: Log, standard: Standard) -> CommandLog:
    fields = dict(zip(LOG_COLUMNS, log.records[: log.used[0]].T, strict=True))
    columns = {name: values.astype(FIELDS[name]) for name, values in fields.items()}
    return CommandLog.of(standard.name, "rank", **columns)


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
    t: Timing, state: BanksState, row: int, bursts: int, kind: int, begin: int, service: int, log: Log
) -> None:
    """Issue the column commands of one train, from `begin` on; they follow the pattern of stream.py."""
    s = state.scalars
    latency, pace = t.latency[kind], t.far[kind]
    after_read = max(t.read_column_rank[kind], t.read_column_group[kind])
    after_write = max(t.write_column_rank[kind], t.write_column_group[kind])
    first = max(
        begin, s[FREE], s[LAST_ACT] + t.act_column[kind], s[LAST_READ] + after_read, s[LAST_WRITE] + after_write
    )
    paced = NEVER
    last = first + (bursts - 1) * pace
    if kind == READ:
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
            write_command(log, cycle, RDAB if kind == READ else WRAB, 0, 1, -1, -1, row, k)
    s[LAST_READ if kind == READ else LAST_WRITE] = last
    s[FREE] = last + t.column_clocks[kind]
    state.counters[N_RDAB if kind == READ else N_WRAB] += bursts
    state.counters[N_TRAINS] += 1


@njit
def _run(t: Timing, power: Power, state: BanksState, trains: NDArray[np.int64], kind: int, start: int, service: int,
         log: Log) -> int:  # fmt: skip
    """Run a stream and return when it is done, in ticks; service in ticks."""
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
    if kind == WRITE:
        return (s[LAST_WRITE] + t.latency[WRITE]) * t.tck
    return s[MAC_FREE]
