"""Applies all rules of a standard to commands in order of rank and cycle, and finds the commands that break them."""

from collections.abc import Iterator

import numpy as np

from ndpsim.dram.checker.latest import Bools, Commands, Grouping, Ints, among, numbered, stable_order
from ndpsim.dram.checker.refresh_rules import RefreshRules
from ndpsim.dram.checker.rules import AUTO_PRECHARGE, COLUMN, FAMILIES, SETS, WHOLE_RANK, Scope, clocks
from ndpsim.dram.checker.state_rules import Breach, activate_window, bank_states, command_busses, data_busses
from ndpsim.dram.log.log import COMMANDS, Bus, CommandLog
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

_LIKE = {"RDN": "RD", "WRN": "WR", "RDab": "RD", "WRab": "WR"}  # what a standard says of RD holds for RDN and RDab


class Judge:
    """The rules of a standard for logs in which ranks share the busses of a channel, have their own, or do both."""

    def __init__(self, standard: Standard, bus: Bus, ranks: int) -> None:
        if standard.family not in FAMILIES:
            raise InputError(f"standard: expected one of the families {', '.join(FAMILIES)}, found {standard.family!r}")
        self.family = FAMILIES[standard.family]
        self._one_data_bus = bus != "rank"
        self._own_command_busses = bus == "shared"
        self.refresh = RefreshRules(standard.refresh, standard.organization)
        self._organization, self._ranks = standard.organization, ranks
        self._timing = standard.timing
        self._busses = tuple(
            (*bus, *(ours for ours, like in _LIKE.items() if like in bus and ours not in bus))
            for bus in standard.busses
        )
        self._clocks = {ours: standard.clocks[like] for ours, like in _LIKE.items()} | standard.clocks
        self._apart = clocks(self.family.other_rank[1], self._timing) if self._one_data_bus else 0

    def reach(self) -> int:
        """Return clocks after which no command, and no burst, matters to any rule but those of states and refresh."""
        longest = max(clocks(rule.gap, self._timing) for rule in self.family.timing)
        delay = max(self._timing["nRAS"], *(clocks(delay, self._timing) for delay in AUTO_PRECHARGE.values()))
        data = self._timing["nCL"] + self._timing["nCWL"] + self._timing["nBL"] + self._apart
        return max(longest, self._timing["nFAW"]) + delay + data + 2 * max(self._clocks.values())

    def sound(self, log: CommandLog) -> tuple[Bools, Bools, Bools]:
        """Return which commands the standard has, which of these name a bank that exists, and which are wholly sound.

        The last are those whose row and column exist as well.
        """
        organization = self._organization
        known = among(" ".join(self._clocks), log.command)
        no_bank, of_set = among(WHOLE_RANK, log.command), among(SETS, log.command)
        exists = known & (log.channel >= 0) & (log.dimm >= 0) & (log.rank >= 0) & (log.rank < self._ranks)
        exists &= (log.pseudo_channel >= 0) & (log.pseudo_channel < organization.pseudo_channels)
        lowest_group = np.where(of_set & (self.refresh.groups == 1), -1, 0)
        exists &= no_bank | ((log.bank_group >= lowest_group) & (log.bank_group < organization.bank_groups))
        exists &= no_bank | ((log.bank >= 0) & (log.bank < organization.banks))
        column = among(COLUMN, log.command)
        names_row = column | among("ACT", log.command)
        sound = exists & (~names_row | ((log.row >= np.where(column, -1, 0)) & (log.row < organization.rows)))
        sound &= ~column | ((log.column >= -1) & (log.column < organization.columns))
        return known, exists, sound

    def lanes(self, log: CommandLog) -> tuple[Ints, int]:
        """Return for each command the number of its lane: the part of the log that has busses of its own."""
        return numbered(log.channel) if self._one_data_bus else numbered(log.channel, log.dimm, log.rank)

    def order(self, log: CommandLog) -> Ints:
        """Return the order by rank and then by cycle."""
        index = np.arange(len(log.cycle))
        if (log.cycle[1:] < log.cycle[:-1]).any():
            index = np.argsort(log.cycle, kind="stable")
        return index[stable_order(_ranks(log)[index])]

    def commands(self, log: CommandLog, place: Ints) -> Commands:
        """Return the commands of a log in `order`, all of whose banks exist."""
        rank, (lane, _) = _ranks(log), self.lanes(log)
        no_bank, groups = among(WHOLE_RANK, log.command), self.refresh.groups
        group = np.where(among(SETS, log.command), log.bank_group % groups, np.where(no_bank, 0, log.bank_group))
        bank = np.where(no_bank, 0, log.bank).astype(np.int64)
        group_key = rank * self._organization.bank_groups + group
        length = np.array([self._clocks.get(name, 1) for name in COMMANDS])
        return Commands(
            place=place,
            cycle=log.cycle,
            last=log.cycle + length[log.command] - 1,
            command=log.command,
            bank=group_key * self._organization.banks + bank,
            group=group_key,
            rank=rank,
            lane=lane,
            data_bus=numbered(log.channel, log.pseudo_channel)[0] if self._one_data_bus else rank,
            set=bank * groups + group,
            row=log.row,
        )

    def breaches(self, commands: Commands) -> Iterator[Breach]:
        """Yield the breaches of all rules but those of refresh and of single commands."""
        by_rank = Grouping(commands.rank, commands.command)
        by_bank = self._by_bank(commands)
        since = self._precharge_begins(commands, by_bank)
        banks = self._organization.bank_groups * self._organization.banks
        yield from bank_states(commands, by_bank, by_rank, banks)
        yield from self._timings(commands, "bank", by_bank, by_rank, since)
        del by_bank
        yield from self._timings(commands, "rank", by_rank, by_rank, since)
        yield from self._timings(commands, "other group", by_rank, by_rank, since)
        by_group = Grouping(commands.group, commands.command)
        yield from self._timings(commands, "same group", by_group, by_rank, since)
        del by_group
        yield activate_window(commands, by_rank, self._timing["nFAW"])
        owner = commands.rank if self._own_command_busses else commands.lane
        yield from command_busses(commands, owner, self._busses, self._clocks)
        yield from data_busses(commands, self._timing, self._one_data_bus, self.family.other_rank[0], self._apart)

    def _by_bank(self, commands: Commands) -> Grouping:
        """Group by bank, with an entry of REFsb or REFpb for each bank of its set."""
        of_set = among(SETS, commands.command)
        if not of_set.any():
            return Grouping(commands.bank, commands.command)
        banks = np.where(of_set, self._organization.bank_groups // self.refresh.groups, 1)
        position = np.repeat(np.arange(len(banks)), banks)
        which = np.arange(len(position)) - np.repeat(np.cumsum(banks) - banks, banks)
        bank = commands.bank[position] + which * self.refresh.groups * self._organization.banks
        return Grouping(bank, commands.command[position], position)

    def _timings(
        self, commands: Commands, scope: Scope, grouping: Grouping, by_rank: Grouping, since: Ints
    ) -> Iterator[Breach]:
        """Yield breaches of the timing rules of a scope; commands that touch all banks are looked for in the rank."""
        for rule in (rule for rule in self.family.timing if rule.scope == scope):
            required = clocks(rule.gap, self._timing)
            counted_from = since if rule.name == "tRP" else commands.last
            weight = since if rule.name == "tRP" else None
            (earlier_one, earlier_all), (later_one, later_all) = _parted(rule.earlier), _parted(rule.later)
            if scope == "other group":
                pairs = [grouping.latest_in_other(earlier_one, later_one, commands.group)]
            else:
                pairs = [grouping.latest(earlier_one, later_one, weight)]
            pairs.append(by_rank.latest(rule.earlier, later_all, weight))
            pairs.append(by_rank.latest(earlier_all, later_one, weight))
            for earlier, later in pairs:
                gap = commands.last[later] - counted_from[earlier]
                short = gap < required
                yield Breach(rule.name, earlier[short], later[short], gap[short], required)

    def _precharge_begins(self, commands: Commands, by_bank: Grouping) -> Ints:
        """Return the last clock of each command, or when the precharge begins with which it ends by itself."""
        since = commands.last.copy()
        if not among(" ".join(AUTO_PRECHARGE), commands.command).any():
            return since
        for name, delay in AUTO_PRECHARGE.items():
            since[among(name, commands.command)] += clocks(delay, self._timing)
        activate, precharge = by_bank.latest("ACT", " ".join(AUTO_PRECHARGE))
        since[precharge] = np.maximum(since[precharge], commands.last[activate] + self._timing["nRAS"])
        return since


def _parted(names: str) -> tuple[str, str]:
    """Return the names of commands of single banks or sets, and of those that touch all banks of a rank."""
    whole = WHOLE_RANK.split()
    split = names.split()
    return " ".join(name for name in split if name not in whole), " ".join(name for name in split if name in whole)


def _ranks(log: CommandLog) -> Ints:
    return numbered(log.channel, log.dimm, log.pseudo_channel, log.rank)[0]
