"""The rules of DRAM that are no minimum between two commands of a rank: bank states, activate window, and busses."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ndpsim.dram.checker import rules
from ndpsim.dram.checker.latest import Commands, Grouping, Ints, among, stable_order
from ndpsim.dram.checker.rules import ALL_BANKS, READS, SETS
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.log.runs import start_of_run

_ACT = COMMANDS.index("ACT")
_CHANGE = "ACT PRE RDA WRA"
_COLUMN = "RD RDA RDN WR WRA WRN"  # of one bank


class Breach(NamedTuple):
    """The commands that break one rule, as positions; `earlier` is -1 where no one command is to blame.

    `gap` is the distance found and `required` the least, or in the rules of refresh the most, that is allowed.
    """

    rule: str
    earlier: Ints
    later: Ints
    gap: Ints | None = None
    required: int | None = None


def alone(rule: str, later: Ints) -> Breach:
    """Return the breaches of a rule by commands that break it without the help of an earlier one."""
    return Breach(rule, np.full(len(later), -1), later)


def bank_states(commands: Commands, by_bank: Grouping, by_rank: Grouping, banks: int) -> Iterator[Breach]:
    """Yield breaches of the rules about open and closed banks, and rows; a rank has so many banks."""
    command = commands.command
    precharged = np.full(len(command), -1)
    precharge_all, now = by_rank.latest("PREA", f"{_CHANGE} {_COLUMN} {SETS}")
    precharged[now] = precharge_all
    last, now = by_bank.latest(_CHANGE, f"{_CHANGE} {_COLUMN} {SETS}")
    is_open = (command[last] == _ACT) & (last > precharged[now])
    last, now = last[is_open], now[is_open]
    refreshed = among(SETS, command[now])
    yield Breach("ref_open_bank", last[refreshed], now[refreshed])

    opener = np.full(len(command), -1)
    opener[now[~refreshed]] = last[~refreshed]
    is_open = opener >= 0
    again = np.flatnonzero((command == _ACT) & is_open)
    yield Breach("act_open_bank", opener[again], again)
    column = among(_COLUMN, command)
    yield alone("closed_bank", np.flatnonzero(column & ~is_open))
    named = np.flatnonzero(column & is_open & (commands.row >= 0))
    other = named[commands.row[named] != commands.row[opener[named]]]
    yield Breach("other_row", opener[other], other)

    change = among("ACT", command) & ~is_open
    closes = among("PRE RDA WRA", command) & is_open
    grouped = (change.astype(np.int64) - closes)[by_rank.order]
    count = np.cumsum(grouped)
    whole = np.flatnonzero(among(f"REF {ALL_BANKS}", by_rank.command))
    at_start = start_of_run(by_rank.key)[whole]
    all_closed = np.maximum.accumulate(np.where(among("PREA", by_rank.command), np.arange(len(count)), -1))[whole]
    base = np.where(all_closed >= at_start, count[all_closed], count[at_start] - grouped[at_start])
    opened = count[whole] - base
    is_refresh = by_rank.command[whole] == COMMANDS.index("REF")
    yield alone("ref_open_bank", np.sort(by_rank.order[whole[is_refresh & (opened > 0)]]))
    yield alone("closed_bank", np.sort(by_rank.order[whole[~is_refresh & (opened < banks)]]))


def activate_window(commands: Commands, by_rank: Grouping, window: int) -> Breach:
    """Return the ACTs that come within the window of the fourth ACT before them."""
    place = np.flatnonzero(by_rank.command == _ACT)
    first, fifth = place[: -rules.ACTIVATES_IN_WINDOW], place[rules.ACTIVATES_IN_WINDOW :]
    same = by_rank.key[first] == by_rank.key[fifth]
    first, fifth = by_rank.order[first[same]], by_rank.order[fifth[same]]
    gap = commands.last[fifth] - commands.last[first]
    return Breach("tFAW", first[gap < window], fifth[gap < window], gap[gap < window], window)


def command_busses(
    commands: Commands, owner: Ints, busses: tuple[tuple[str, ...], ...], clocks: Mapping[str, int]
) -> Iterator[Breach]:
    """Yield the commands that begin while their bus still carries an earlier one; each `owner` has all busses."""
    sent = _in_order(owner, commands.cycle, commands.place)
    by_owner = Grouping(owner[sent], commands.command[sent], sent)
    for bus in busses:
        for length in {clocks[name] for name in bus}:
            long = " ".join(name for name in bus if clocks[name] == length)
            earlier, later = by_owner.latest(long, " ".join(bus))
            gap = commands.cycle[later] - commands.cycle[earlier]
            soon = gap < length
            yield Breach("command_bus", earlier[soon], later[soon], gap[soon], length)


def data_busses(
    commands: Commands, timing: Mapping[str, int], shared: bool, other_rank: str, apart: int
) -> Iterator[Breach]:
    """Yield the bursts that overlap, or (by the rule `other_rank`) come too soon after one of another rank.

    The bursts of RDN and WRN meet those of their own rank alone; so do all where the ranks share no bus.
    """
    burst = np.flatnonzero(among(_COLUMN, commands.command))
    latency = np.where(among(READS, commands.command[burst]), timing["nCL"], timing["nCWL"])
    begin = commands.last[burst] + latency
    yield _overlap(burst, begin, commands.rank[burst], timing["nBL"])
    if not shared:
        return
    on_channel = ~among("RDN WRN", commands.command[burst])
    burst, begin = burst[on_channel], begin[on_channel]
    time_order = _in_order(commands.data_bus[burst], begin, commands.cycle[burst], commands.place[burst])
    burst, begin = burst[time_order], begin[time_order]
    bus, rank = commands.data_bus[burst], commands.rank[burst]
    yield _overlap(burst, begin, bus, timing["nBL"])
    if len(burst):
        other = start_of_run(rank, bus) - 1
        here = np.flatnonzero((other >= 0) & (bus == bus[other]))
        other = other[here]
        gap = begin[here] - begin[other]
        close = gap < apart
        yield Breach(other_rank, burst[other[close]], burst[here[close]], gap[close], apart)


def _overlap(burst: Ints, begin: Ints, bus: npt.NDArray[Any], length: int) -> Breach:
    order = _in_order(bus, begin)
    burst, begin, bus = burst[order], begin[order], bus[order]
    gap = np.diff(begin)
    overlap = (gap < length) & (bus[1:] == bus[:-1])
    return Breach("data_bus", burst[:-1][overlap], burst[1:][overlap], gap[overlap], length)


def _in_order(bus: npt.NDArray[Any], *times: Ints) -> Ints:
    """Return the order by bus, then by the first time, then by the next, then as they stand."""
    order = np.arange(len(bus))
    for time in reversed(times):
        time = time[order]
        if (time[1:] < time[:-1]).any():
            order = order[np.argsort(time, kind="stable")]
    return order[stable_order(bus[order])]
