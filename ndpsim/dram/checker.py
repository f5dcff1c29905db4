"""Is a DRAM command log legal DDR4? A judge that knows only the standard's rules and shares no code with the simulator.

Each rule is looked at over the whole log at once, from the table in `rules.py`. A command is counted once for each rule
that it breaks. Commands are judged in order of cycle; a log that is not in that order breaks the rule `order` as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ndpsim.dram.grouping import Bools, Commands, Grouping, Ints, among, stable_order
from ndpsim.dram.log import COMMANDS, CommandLog, validate
from ndpsim.dram.rules import AUTO_PRECHARGE, RULES, TIMING_RULES, Scope, clocks
from ndpsim.dram.standard import Organization, Standard
from ndpsim.dram.state_rules import Breach, activate_window, bank_states, busses, refresh_times


@dataclass(frozen=True)
class Violation:
    """One command that breaks a rule. Commands are named by their place in the log, from 0, and in words.

    `later` is None at the end of the log, `earlier` is None where no one command is to blame. `gap` is what was found
    and `required` what the rule asks for, in clocks: the most allowed for tREFI and the least for all others.
    """

    rule: str
    gap: int | None
    required: int | None
    earlier: int | None
    earlier_text: str
    later: int | None
    later_text: str

    def __str__(self) -> str:
        after = f" after {self.earlier_text}" if self.earlier_text else ""
        bound = "at most" if self.rule == "tREFI" else "at least"
        numbers = "" if self.required is None else f": {self.gap} clocks, {bound} {self.required} required"
        return f"{self.rule}: {self.later_text}{after}{numbers}"


@dataclass(frozen=True)
class Report:
    """How many commands there are, how many break each rule (all rules are listed), and the first of them."""

    commands: int
    counts: dict[str, int]
    first: list[Violation] = field(default_factory=list)

    @property
    def legal(self) -> bool:
        """Return whether no command breaks a rule."""
        return not any(self.counts.values())


def check(log: CommandLog, standard: Standard, limit: int = 20) -> Report:
    """Judge a log; the report describes the first `limit` violations in words."""
    validate(log, "log")
    length = len(log.cycle)
    breaches: dict[str, list[Breach]] = {rule: [] for rule in RULES}
    for breach in _all_breaches(log, standard):
        if len(breach.later):
            breaches[breach.rule].append(breach)
    counts, first = {}, []
    for rule, found in breaches.items():
        later = np.concatenate(
            [np.where(breach.later < 0, length, breach.later) for breach in found] or [np.empty(0, int)]
        )
        one_each, which = np.unique(later, return_index=True)
        counts[rule] = len(one_each) + int(np.count_nonzero(later == length)) - int(length in one_each[-1:])
        source = np.repeat(np.arange(len(found)), [len(breach.later) for breach in found])
        start = np.searchsorted(source, np.arange(len(found)))
        for entry in which[:limit]:
            breach = found[source[entry]]
            first.append((later[entry], _describe(breach, int(entry - start[source[entry]]), log)))
    first.sort(key=lambda entry: entry[0])
    return Report(length, counts, [violation for _, violation in first[:limit]])


def _all_breaches(log: CommandLog, standard: Standard) -> Iterator[Breach]:
    timing, organization = standard.timing, standard.organization
    shared = log.bus == "channel"
    exists, sound = _addresses(log, organization)
    yield Breach("address", np.full(len(log.cycle), -1)[~sound], np.flatnonzero(~sound))
    yield _order(log, shared)
    commands = _by_rank_and_cycle(log, exists, organization, shared)
    index = np.append(commands.place, -1)  # position -1, no command, stays -1
    for breach in _judge(commands, timing, shared):
        yield breach._replace(earlier=index[breach.earlier], later=index[breach.later])


def _judge(commands: Commands, timing: dict[str, int], shared: bool) -> Iterator[Breach]:
    by_bank = Grouping(commands.bank, commands.command)
    by_rank = Grouping(commands.rank, commands.command)
    since = _precharge_begins(commands, by_bank, timing)
    yield from bank_states(commands, by_bank, by_rank)
    yield from _timing(commands, since, "bank", by_bank, timing)
    yield from _timing(commands, since, "rank", by_rank, timing)
    yield from _timing(commands, since, "other group", by_rank, timing)
    del by_bank
    yield activate_window(commands, by_rank, timing["nFAW"])
    yield from refresh_times(commands, by_rank, timing["nREFI"])
    del by_rank
    yield from _timing(commands, since, "same group", Grouping(commands.group, commands.command), timing)
    yield from busses(commands, timing, shared)


def _timing(
    commands: Commands, since: Ints, scope: Scope, grouping: Grouping, timing: dict[str, int]
) -> Iterator[Breach]:
    for rule in TIMING_RULES:
        if rule.scope != scope:
            continue
        counted_from = since if rule.name == "tRP" else commands.cycle
        if scope == "other group":
            earlier, later = grouping.latest_in_other(rule.earlier, rule.later, commands.group)
        else:
            earlier, later = grouping.latest(rule.earlier, rule.later, since if rule.name == "tRP" else None)
        required = clocks(rule.gap, timing)
        gap = commands.cycle[later] - counted_from[earlier]
        short = gap < required
        yield Breach(rule.name, earlier[short], later[short], gap[short], required)


def _precharge_begins(commands: Commands, by_bank: Grouping, timing: dict[str, int]) -> Ints:
    """Return the cycle of each command or, where it precharges by itself, the cycle in which that precharge begins."""
    since = commands.cycle.copy()
    if not among(" ".join(AUTO_PRECHARGE), commands.command).any():
        return since
    for name, delay in AUTO_PRECHARGE.items():
        since[among(name, commands.command)] += clocks(delay, timing)
    activate, precharge = by_bank.latest("ACT", " ".join(AUTO_PRECHARGE))
    since[precharge] = np.maximum(since[precharge], commands.cycle[activate] + timing["nRAS"])
    return since


def _addresses(log: CommandLog, organization: Organization) -> tuple[Bools, Bools]:
    """Return which commands go to a bank that exists, and which of them have a sound row and column too."""
    of_rank = among("PREA REF", log.command)
    exists = (log.dimm >= 0) & (log.rank >= 0) & (log.rank < organization.ranks)
    exists &= of_rank | ((log.bank_group >= 0) & (log.bank_group < organization.bank_groups))
    exists &= of_rank | ((log.bank >= 0) & (log.bank < organization.banks))
    is_column = among("RD WR RDA WRA", log.command)
    names_row = is_column | among("ACT", log.command)
    sound = exists & (~names_row | ((log.row >= np.where(is_column, -1, 0)) & (log.row < organization.rows)))
    sound &= ~is_column | ((log.column >= -1) & (log.column < organization.columns))
    return exists, sound


def _bus(log: CommandLog, shared: bool) -> Ints:
    bus = log.dimm.astype(np.int64)
    return bus if shared else bus * (1 << 16) + log.rank


def _order(log: CommandLog, shared: bool) -> Breach:
    nothing = np.empty(0, np.int64)
    if (log.cycle[1:] >= log.cycle[:-1]).all():
        return Breach("order", nothing, nothing)
    bus = _bus(log, shared)
    order = np.argsort(bus, kind="stable")
    gap = np.diff(log.cycle[order])
    back = (gap < 0) & (bus[order][1:] == bus[order][:-1])
    return Breach("order", order[:-1][back], order[1:][back], gap[back], 0)


def _by_rank_and_cycle(log: CommandLog, exists: Bools, organization: Organization, shared: bool) -> Commands:
    index = np.flatnonzero(exists)
    if (log.cycle[1:] < log.cycle[:-1]).any():
        index = index[np.argsort(log.cycle[index], kind="stable")]
    index = index[stable_order(log.dimm[index].astype(np.int64) * organization.ranks + log.rank[index])]
    command = log.command[index]
    of_rank = among("PREA REF", command)
    rank = log.dimm[index].astype(np.int64) * organization.ranks + log.rank[index]
    group = rank * organization.bank_groups + np.where(of_rank, 0, log.bank_group[index])
    bank = group * organization.banks + np.where(of_rank, 0, log.bank[index])
    bus = log.dimm[index].astype(np.int64) if shared else rank
    return Commands(index, log.cycle[index], command, bank, group, rank, bus, log.row[index])


def _describe(breach: Breach, entry: int, log: CommandLog) -> Violation:
    earlier, later = int(breach.earlier[entry]), int(breach.later[entry])
    gap = None if breach.gap is None else int(breach.gap[entry])
    return Violation(
        breach.rule,
        gap,
        breach.required,
        earlier if earlier >= 0 else None,
        _words(log, earlier) if earlier >= 0 else "",
        later if later >= 0 else None,
        _words(log, later) if later >= 0 else "the end of the log",
    )


def _words(log: CommandLog, index: int) -> str:
    fields = ("dimm", "rank", "bank_group", "bank", "row", "column")
    known = [f"{name} {getattr(log, name)[index]}" for name in fields if getattr(log, name)[index] != -1]
    return f"{COMMANDS[log.command[index]]} {' '.join(known)} at cycle {log.cycle[index]} (command {index})"
