"""Per-cycle reference of the stream controller of one rank, written from ndpsim/dram/ndp/STREAM_CONTROLLER.md alone.

It asks in every clock what each bus may carry. Of the past it remembers only when each command was last issued in each
bank, bank group and rank.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from ndpsim.dram.standard.standard import Standard
from oracles.rank_trains import BankId, Kind, Train, bank_of, gap_of

LogEntry = tuple[int, str, int, int, int, int]  # cycle, command, bank group, bank, row, column

NEVER = -(10**15)
CLOSED = -1
ALL_SIX = ("ACT", "PRE", "PREA", "RD", "WR", "REF")
_COLUMN = (("ACT", "bank"), ("RD", "bank_group"), ("WR", "bank_group"), ("RD", "rank"), ("WR", "rank"))
AFTER = {  # of each command: the gaps that it keeps, as (earlier command, scope)
    "RD": _COLUMN,
    "WR": _COLUMN,
    "ACT": (
        ("ACT", "bank"), ("PRE", "bank"), ("ACT", "bank_group"), ("ACT", "rank"), ("PREA", "rank"), ("REF", "rank"),
    ),
    "PRE": (("ACT", "bank"), ("RD", "bank"), ("WR", "bank"), ("PRE", "rank"), ("PREA", "rank")),
    "PREA": tuple((command, "rank") for command in ALL_SIX),
    "REF": tuple((command, "rank") for command in ALL_SIX),
}  # fmt: skip


class RowCommand(NamedTuple):
    """An ACT or a PRE in its queue, and the train that asked for it."""

    train: int
    bank: BankId
    row: int


@dataclass
class Stream:
    """How far the stream at work has come."""

    trains: Sequence[Train]
    kind: Kind
    start: int
    hold_ps: Mapping[int, int | Fraction]  # of a burst or, with alternating loads, of a pass, by sequences
    alternating: bool
    taken_up: int = 0  # trains 0 .. taken_up - 1 have been taken up
    train: int = 0  # the column engine's train,
    burst: int = 0  # and its next burst there
    row_commands_end: dict[int, int] = field(default_factory=dict)  # of a train: the clock after those issued for it
    last_burst: int = NEVER
    finished_ps: Fraction | None = None  # f of the last burst issued; of a pass as if it ended there
    loaded: int = 0  # which burst of its pass the last one issued was, from 1

    @property
    def started(self) -> int:
        """How many trains have had their burst 0."""
        return self.train + (self.burst > 0)

    @property
    def issued(self) -> bool:
        return self.train == len(self.trains)

    @property
    def sequences_change(self) -> bool:
        """Whether the next burst is the first one for another number of sequences."""
        if self.burst > 0 or self.train == 0:
            return False
        return self.trains[self.train].sequences != self.trains[self.train - 1].sequences


class RankController:
    """One rank with busses of its own, ticked clock by clock; its state lasts from stream to stream."""

    def __init__(self, standard: Standard, ahead: int, depth: int, first_due: int) -> None:
        if ahead < 1 or depth < 2:
            raise ValueError(f"expected ahead >= 1 and depth >= 2, found {ahead} and {depth}")
        self.standard = standard
        self.gaps = {
            (earlier, later, scope): gap_of(standard, earlier, later, scope)
            for later, kept in AFTER.items()
            for earlier, scope in kept
        }
        windows = _checked_windows(standard)
        self.window, self.window_gap = windows[0] if windows else (1, 0)
        refresh = standard.refresh.get("all_bank")
        self.interval = refresh.interval if refresh else None
        if self.interval is not None and self.interval <= self.gaps["REF", "REF", "rank"]:
            raise ValueError("expected an interval above tRFC: the rank would refresh for ever")
        self.tck = Fraction(standard.tck_ps)
        self.latency = {
            "RD": standard.read_latency + standard.timing["nBL"],
            "WR": standard.write_latency + standard.timing["nBL"],
        }
        self.ahead = ahead
        self.depth = depth
        self.due = first_due
        self.now = 0
        self.log: list[LogEntry] = []
        self.bus_free = dict.fromkeys(standard.busses, 0)  # the first clock after the last command on each bus
        self.latest: dict[tuple[str, str, object], int] = {}  # cycle by command, scope and place
        self.acts = [NEVER] * self.window
        groups = range(standard.organization.bank_groups)
        banks = [BankId(group, bank) for group in groups for bank in range(standard.organization.banks)]
        self.open_row = dict.fromkeys(banks, CLOSED)
        self.row_to_be = dict.fromkeys(banks, CLOSED)  # the open rows, once both queues have run empty
        self.activates: list[RowCommand] = []
        self.precharges: list[RowCommand] = []
        self.row_engine_from = 0  # the end of the last refresh

    def run_stream(
        self,
        trains: Sequence[Train],
        kind: Kind,
        start_cycle: int,
        service_ps: int | Fraction | Mapping[int, int] = 0,
        alternating: bool = False,
    ) -> int:
        """Tick through the gap up to the stream and through the stream; return when it is done, in picoseconds.

        service_ps: for which the MAC array holds a burst, or a pass if loads and work alternate; one number, or one for
        each number of sequences.
        """
        if start_cycle < max(self.now, self.bus_free[self._bus(kind)]):
            raise ValueError(f"a stream starts at {start_cycle}, but the rank is beyond that already")
        hold_ps = service_ps if isinstance(service_ps, Mapping) else defaultdict(lambda: service_ps)
        shortest = min((hold_ps[train.sequences] for train in trains), default=self.tck)
        if kind == "RD" and shortest < self.tck:
            raise ValueError(f"expected a service time of a clock or more, found {shortest} ps")
        if not trains:  # touches nothing
            return ceil(start_cycle * self.tck)
        stream = Stream(trains, kind, start_cycle, hold_ps, alternating)
        while self.now < start_cycle:
            self._tick(None)
        while not stream.issued:
            self._tick(stream)
        if kind == "WR":
            return ceil((stream.last_burst + self.latency["WR"]) * self.tck)
        assert stream.finished_ps is not None
        return ceil(stream.finished_ps)

    def _tick(self, stream: Stream | None) -> None:
        """Do one clock: take up trains, then issue at most one command on each bus."""
        refresh_due = self.interval is not None and self.now >= self.due
        if stream is not None and not refresh_due and self.now >= self.row_engine_from:
            self._take_up(stream)
        # A refresh that is due stops the row engine at once. That it is "handled" only when a train could be taken up
        # makes no difference: as long as none can, an earlier train of the window is unfinished.
        if stream is not None and stream.train < stream.taken_up:
            if self.now >= self._earliest_burst(stream):
                self._issue_burst(stream)
            _ = self._issue_act(stream) or self._issue_pre(stream)
        elif refresh_due:
            self._refresh()
        self.now += 1

    # Busses and gaps

    def _bus(self, command: str) -> tuple[str, ...]:
        return next(bus for bus in self.standard.busses if command in bus)

    def _earliest(
        self, command: str, bank: BankId | None = None, scopes: Sequence[str] = ("bank", "bank_group", "rank")
    ) -> int:
        """Return the first cycle that the gaps of the command in these scopes allow."""
        return max(
            self.latest.get((earlier, scope, _place(scope, bank)), NEVER) + self.gaps[earlier, command, scope]
            for earlier, scope in AFTER[command]
            if scope in scopes
        )

    def _issue(self, command: str, bank: BankId | None = None, row: int = -1, column: int = -1) -> int:
        """Issue a command now; return the clock after its last one."""
        bus = self._bus(command)
        assert self.now >= self.bus_free[bus]
        assert self.now >= self._earliest(command, bank)
        for scope in ("rank",) if bank is None else ("bank", "bank_group", "rank"):
            self.latest[command, scope, _place(scope, bank)] = self.now
        self.log.append((self.now, command, *(bank or (-1, -1)), row, column))
        self.bus_free[bus] = self.now + self.standard.clocks[command]
        return self.bus_free[bus]

    # The row engine

    def _take_up(self, stream: Stream) -> None:
        """Take up every train that may be taken up in this clock."""
        while stream.taken_up < len(stream.trains):
            index = stream.taken_up
            if index - self.ahead >= stream.started:  # no burst of this clock has been issued yet
                return
            train = stream.trains[index]
            for bank in train.banks:
                if self.row_to_be[bank] == train.row:
                    continue
                if self.row_to_be[bank] != CLOSED:
                    self.precharges.append(RowCommand(index, bank, train.row))
                self.activates.append(RowCommand(index, bank, train.row))
                self.row_to_be[bank] = train.row
            stream.taken_up += 1

    def _issue_act(self, stream: Stream) -> bool:
        """Issue the head of the activates if it is possible."""
        if not self.activates:
            return False
        index, bank, row = self.activates[0]
        if self.open_row[bank] != CLOSED:  # its PRE is still queued
            return False
        bus = self._bus("ACT")
        earliest = max(self.bus_free[bus], self._earliest("ACT", bank), self.acts[-self.window] + self.window_gap)
        if self.now < earliest:
            return False
        if stream.kind in bus:
            last_clock = self.now + self.standard.clocks["ACT"] - 1
            if self._earliest_burst(stream) <= last_clock:
                return False
        self.activates.pop(0)
        stream.row_commands_end[index] = self._issue("ACT", bank, row)
        self.acts.append(self.now)
        self.open_row[bank] = row
        return True

    def _issue_pre(self, stream: Stream) -> bool:
        """Issue the head of the precharges if it is possible."""
        if not self.precharges:
            return False
        index, bank, _ = self.precharges[0]
        earliest = max(self.bus_free[self._bus("PRE")], self._earliest("PRE", bank))
        if self.now < earliest or self._awaits_burst(stream, index, bank):
            return False
        self.precharges.pop(0)
        stream.row_commands_end[index] = self._issue("PRE", bank)
        self.open_row[bank] = CLOSED
        return True

    def _awaits_burst(self, stream: Stream, before_train: int, bank: BankId) -> bool:
        """Tell whether a burst of an earlier train to this very bank was not issued yet."""
        for index in range(stream.train, before_train):
            first_unissued = stream.burst if index == stream.train else 0
            if any(bank_of(burst) == bank for burst in stream.trains[index].bursts[first_unissued:]):
                return True
        return False

    # The column engine

    def _earliest_burst(self, stream: Stream) -> float:
        """Return the first cycle in which the next burst of the train at work may be issued, as things are.

        Infinite while its row commands are to come. The train has been taken up.
        """
        train, kind = stream.trains[stream.train], stream.kind
        earliest = self._allowed_by_the_array(stream) if kind == "RD" else NEVER
        if stream.burst > 0:
            return max(earliest, stream.last_burst + train.pace)
        if any(command.train == stream.train for command in self.activates + self.precharges):
            return float("inf")
        row_commands_end = stream.row_commands_end.get(stream.train, NEVER)
        earliest = max(earliest, stream.start, row_commands_end, self._earliest(kind, scopes=("rank",)))
        for k in range(min(len(train.bursts), len(train.banks))):
            allowed = self._earliest(kind, bank_of(train.bursts[k]), ("bank", "bank_group"))
            earliest = max(earliest, allowed - k * train.pace)
        return earliest

    def _allowed_by_the_array(self, stream: Stream) -> int:
        """Return from when on the MAC array allows the next burst."""
        if stream.finished_ps is None:
            return NEVER
        train = stream.trains[stream.train]
        if stream.alternating:
            if not self._begins_pass(stream):
                return NEVER
            data_begin = self.latency["RD"] - self.standard.timing["nBL"]
            return ceil(stream.finished_ps / self.tck) - data_begin
        room_from_ps = stream.finished_ps
        if not stream.sequences_change:
            room_from_ps -= (self.depth - 1) * stream.hold_ps[train.sequences]
        return ceil(room_from_ps / self.tck) - self.latency["RD"]

    def _begins_pass(self, stream: Stream) -> bool:
        """Tell whether the next burst, which is not the first one of the stream, is the first one of a pass."""
        return stream.loaded == self.depth or stream.sequences_change

    def _issue_burst(self, stream: Stream) -> None:
        """Issue the next burst of the train at work."""
        train, kind = stream.trains[stream.train], stream.kind
        burst = train.bursts[stream.burst]
        bank = bank_of(burst)
        assert self.open_row[bank] == burst.row
        self._issue(kind, bank, burst.row, burst.column)
        stream.last_burst = self.now
        stream.loaded = 1 if self._begins_pass(stream) else stream.loaded + 1
        if kind == "RD":
            arrival_ps = (self.now + self.latency["RD"]) * self.tck
            before_ps = arrival_ps if stream.finished_ps is None or stream.alternating else stream.finished_ps
            stream.finished_ps = max(arrival_ps, before_ps) + stream.hold_ps[train.sequences]
        stream.burst += 1
        if stream.burst == len(train.bursts):
            stream.train, stream.burst = stream.train + 1, 0

    # Refresh

    def _refresh(self) -> None:
        """Bring a refresh that is due a step on, all trains taken up being finished."""
        if self.now < max(self.bus_free.values()):
            return
        command = "PREA" if any(row != CLOSED for row in self.open_row.values()) else "REF"
        if self.now < self._earliest(command):
            return
        self._issue(command)
        if command == "PREA":
            self.open_row = dict.fromkeys(self.open_row, CLOSED)
            self.row_to_be = dict.fromkeys(self.row_to_be, CLOSED)
        else:
            assert self.interval is not None
            self.due += self.interval
            self.row_engine_from = self.now + self.gaps["REF", "ACT", "rank"]


def _place(scope: str, bank: BankId | None) -> object:
    """Return what tells one bank or bank group from another; nothing does so for the one rank."""
    if scope == "rank":
        return None
    assert bank is not None
    return bank if scope == "bank" else bank.bank_group


def _checked_windows(standard: Standard) -> list[tuple[int, int]]:
    """Return the window and the gap of the row that has one, after refusing what the page refuses."""
    windows = []
    for row in standard.constraints:
        if row.scope == "other_rank" or not {row.earlier, row.later} <= set(ALL_SIX):
            continue
        if row.window > 1:
            windows.append((row.window, row.gap))
            known = len(windows) == 1 and (row.scope, row.earlier, row.later) == ("rank", "ACT", "ACT")
        elif (row.scope, row.earlier) == ("rank", "REF") and row.later in ("PRE", "RD", "WR"):
            through_act = gap_of(standard, "REF", "ACT", "rank") + gap_of(standard, "ACT", row.later, "bank")
            known = row.gap <= through_act
        else:
            known = (row.earlier, row.scope) in AFTER[row.later]
        if not known:
            raise ValueError(f"{row.rule}: a rule that this controller does not keep")
    if standard.clocks["PRE"] > 1:
        raise ValueError("expected PRE to take one clock")
    for kind in ("RD", "WR"):
        if gap_of(standard, kind, kind, "rank") < standard.timing["nBL"]:
            raise ValueError(f"expected nBL or more from {kind} to {kind}")
    return windows
