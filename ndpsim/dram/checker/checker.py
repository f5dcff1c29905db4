"""Is a DRAM command log legal? A checker that knows only JEDEC's rules and shares no code with the simulators.

A command is counted once for each rule that it breaks. Commands are judged in order of cycle; a log that is not in
that order breaks the rule `order` as well. `check` judges a whole log. `StreamChecker` judges it piece by piece: it
holds back the latest commands until it has seen all that can matter to them, and keeps of the judged ones those that
can matter to later ones: what lies within the reach of the rules, and the last that set the state of a bank or rank.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from ndpsim.dram.checker.latest import Bools, Commands, Ints, among, last_of_each, stable_order
from ndpsim.dram.checker.refresh_rules import Ledger
from ndpsim.dram.checker.report import Report, Violation, in_words
from ndpsim.dram.checker.rule_engine import Judge
from ndpsim.dram.checker.rules import REFRESHES
from ndpsim.dram.checker.state_rules import Breach, alone
from ndpsim.dram.log.log import Bus, CommandLog, empty_log, joined, validate
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

_END = 1 << 62  # the place of the end of the log
_STATE = "ACT PRE RDA WRA"  # that open and close a bank


def check(log: CommandLog, standard: Standard, ranks: int | None = None) -> Report:
    """Judge a log. Its ranks are numbered below `ranks`, or if that is not given below those of the standard.

    Raises InputError if the log is none, or the checker has no rules for the standard's family.
    """
    checker = StreamChecker(standard, log.bus, ranks)
    checker.receive(log)
    return checker.finish()


class StreamChecker:
    """Judges a log piece by piece, in a memory that does not grow with it, and finds what `check` finds in the whole.

    The commands of a channel (of a rank that has busses of its own) may be out of order within a piece, but from piece
    to piece by no more than the reach of the rules: some thousand clocks.
    """

    def __init__(self, standard: Standard, bus: Bus = "channel", ranks: int | None = None) -> None:
        self._judge = Judge(standard, bus, standard.organization.ranks if ranks is None else ranks)
        self._bus = bus
        self._reach = self._judge.reach()
        self._counts = dict.fromkeys(self._judge.family.rules, 0)
        self._first: dict[str, tuple[int, Violation]] = {}
        self._received, self._end = 0, 0
        self._held = self._latest = empty_log(bus)
        self._place = self._latest_place = np.empty(0, np.int64)
        self._judged = np.empty(0, np.bool_)
        self._earliest: dict[tuple[int, ...], int] = {}  # cycle of each lane at which commands may still come
        self._ledgers: dict[tuple[int, ...], Ledger] = {}

    def add(self, piece: CommandLog) -> None:
        """Take the next piece of the log; InputError if it is no log, or comes too far out of order."""
        self.receive(piece)
        self._settle()

    def receive(self, piece: CommandLog) -> None:
        """Take the next piece of the log, but judge no more than single commands until `add` or `finish`."""
        validate(piece, "log")
        if piece.bus != self._bus:
            raise InputError(f"log: bus: expected {self._bus!r} as in the pieces before, found {piece.bus!r}")
        place = self._received + np.arange(len(piece.cycle))
        self._received += len(piece.cycle)
        known, exists, sound = self._judge.sound(piece)
        self._enter([alone("command", np.flatnonzero(~known))], piece, place)
        self._enter([alone("address", np.flatnonzero(known & ~sound))], piece, place)
        if not exists.all():
            piece, place = piece.part(exists), place[exists]
        self._follow(piece, place)
        self._end = max(self._end, int(piece.cycle.max(initial=0)))
        self._held = joined([self._held, piece])
        self._place = np.append(self._place, place)
        self._judged = np.append(self._judged, np.zeros(len(place), np.bool_))

    def finish(self) -> Report:
        """Judge what is left, and the end of the log."""
        self._settle(final=True)
        found = [self._first[rule] for rule in self._counts if rule in self._first]
        first = sorted(found, key=lambda entry: entry[0])
        return Report(self._received, self._counts, tuple(violation for _, violation in first))

    def _follow(self, piece: CommandLog, place: Ints) -> None:
        """Find commands that lie before the one sent before them in their lane; refuse what is judged already."""
        seen = len(self._latest.cycle)
        piece, place = joined([self._latest, piece]), np.append(self._latest_place, place)
        lane, lanes = self._judge.lanes(piece)
        latest = last_of_each(lane, lanes)
        earliest = np.array([self._earliest.get(name, 0) for name in self._lanes(piece, latest)], np.int64)
        too_early = np.flatnonzero((piece.cycle < earliest[lane])[seen:]) + seen
        if len(too_early):
            text = in_words(piece, int(too_early[0]), int(place[too_early[0]]))
            raise InputError(f"log: expected pieces out of order by at most {self._reach} clocks, found {text}")
        order = stable_order(lane)
        gap = np.diff(piece.cycle[order])
        back = (gap < 0) & (lane[order][1:] == lane[order][:-1])
        self._enter([Breach("order", order[:-1][back], order[1:][back], gap[back], 0)], piece, place)
        self._latest, self._latest_place = piece.part(latest), place[latest]

    def _settle(self, final: bool = False) -> None:
        """Judge the held commands to which nothing can come any more, or all that are left; forget what is over."""
        order = self._judge.order(self._held)
        self._held, self._place, self._judged = self._held.part(order), self._place[order], self._judged[order]
        commands = self._judge.commands(self._held, self._place)
        lanes = last_of_each(commands.lane, int(commands.lane.max(initial=-1)) + 1)
        newest = np.zeros(len(lanes), np.int64)
        np.maximum.at(newest, commands.lane, commands.cycle)
        earliest = newest - self._reach  # of what may still come
        horizon = newest + 1 if final else earliest - self._reach
        settled = commands.cycle < horizon[commands.lane]

        breaches = self._judge.breaches(commands)
        self._enter(breaches, self._held, self._place, settled & ~self._judged)
        self._enter(self._refreshes(commands, settled), self._held, self._place)
        self._judged = settled
        if final:
            self._close(commands)
            return
        self._earliest |= dict(zip(self._lanes(self._held, lanes), earliest.tolist(), strict=True))
        keep = ~settled | (commands.cycle >= (horizon - self._reach)[commands.lane])
        for names, number in ((_STATE, commands.bank), ("PREA", commands.rank), (REFRESHES, commands.rank)):
            those = np.flatnonzero(settled & among(names, commands.command))
            last = last_of_each(number, int(number.max(initial=-1)) + 1, those)
            keep[last[last >= 0]] = True
        self._held, self._place, self._judged = self._held.part(keep), self._place[keep], self._judged[keep]

    def _refreshes(self, commands: Commands, settled: Bools) -> Iterator[Breach]:
        """Yield the breaches of the rules of refresh, rank by rank."""
        for start, stop in pairwise(np.flatnonzero(np.diff(commands.rank, prepend=-1, append=-1)).tolist()):
            ledger = self._ledgers.setdefault(self._rank_at(start), Ledger(self._judge.refresh.sets))
            mine = slice(start, stop)
            refresh = start + np.flatnonzero(among(REFRESHES, commands.command[mine]) & settled[mine])
            yield from self._judge.refresh.judge(commands, refresh, int(self._judged[refresh].sum()), ledger)

    def _close(self, commands: Commands) -> None:
        """Judge the end of the log."""
        refresh = np.flatnonzero(among(REFRESHES, commands.command))
        last = {self._rank_at(position): position for position in refresh.tolist()}
        for rank, ledger in sorted(self._ledgers.items(), key=lambda entry: entry[0]):
            mine = np.array([last[rank]] if rank in last else [], np.int64)
            for breach in self._judge.refresh.at_end(commands, mine, ledger, self._end):
                self._counts[breach.rule] += len(breach.later)
                if len(breach.later):
                    self._note(breach, 0, self._held, self._place)

    def _rank_at(self, position: int) -> tuple[int, ...]:
        log = self._held
        return tuple(int(field[position]) for field in (log.channel, log.dimm, log.pseudo_channel, log.rank))

    def _lanes(self, log: CommandLog, rows: Ints) -> list[tuple[int, ...]]:
        """Return the names of the lanes of these commands, which are the same for all pieces."""
        fields = (log.channel, log.dimm, log.rank)[: 3 if self._bus == "rank" else 1]
        return list(zip(*(field[rows].tolist() for field in fields), strict=True))

    def _enter(self, breaches: Iterable[Breach], log: CommandLog, place: Ints, now: Bools | None = None) -> None:
        """Count breaches, each command once for each rule, and note the first; only by the commands that are `now`."""
        breaking: dict[str, Bools] = {}
        for breach in breaches:
            which = np.arange(len(breach.later)) if now is None else np.flatnonzero(now[breach.later])
            if len(which):
                breaking.setdefault(breach.rule, np.zeros(len(place), np.bool_))[breach.later[which]] = True
                self._note(breach, int(which[place[breach.later[which]].argmin()]), log, place)
        for rule, commands in breaking.items():
            self._counts[rule] += int(commands.sum())

    def _note(self, breach: Breach, entry: int, log: CommandLog, place: Ints) -> None:
        """Remember a violation if it is the first of its rule."""
        earlier, later = int(breach.earlier[entry]), int(breach.later[entry])
        at = int(place[later]) if later >= 0 else _END
        if breach.rule in self._first and self._first[breach.rule][0] <= at:
            return
        violation = Violation(
            breach.rule,
            None if breach.gap is None else int(breach.gap[entry]),
            breach.required,
            int(place[earlier]) if earlier >= 0 else None,
            in_words(log, earlier, int(place[earlier])) if earlier >= 0 else "",
            at if later >= 0 else None,
            in_words(log, later, at) if later >= 0 else "the end of the log",
        )
        self._first[breach.rule] = at, violation
