"""The rules of DDR4 that are no minimum between two commands: bank states, activate window, refresh, and busses."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ndpsim.dram.grouping import Commands, Grouping, Ints, among, stable_order, start_of_run
from ndpsim.dram.log import COMMANDS
from ndpsim.dram.rules import ACTIVATES_IN_WINDOW, MAX_POSTPONED, RANK_GAP

_ACT = COMMANDS.index("ACT")
_OF_A_BANK = "ACT PRE RD WR RDA WRA"
_COLUMN = "RD WR RDA WRA"


class Breach(NamedTuple):
    """The commands that break one rule, as positions; `earlier` is -1 where no one command is to blame.

    `gap` is the distance found and `required` the least, or for tREFI the most, that is allowed.
    """

    rule: str
    earlier: Ints
    later: Ints
    gap: Ints | None = None
    required: int | None = None


def _alone(rule: str, later: Ints) -> Breach:
    return Breach(rule, np.full(len(later), -1), later)


def bank_states(commands: Commands, by_bank: Grouping, by_rank: Grouping) -> Iterator[Breach]:
    """Yield breaches of the rules about open and closed banks, and rows."""
    command = commands.command
    opener = np.full(len(command), -1)
    last, now = by_bank.latest("ACT PRE RDA WRA", _OF_A_BANK)
    opener[now] = np.where(command[last] == _ACT, last, -1)
    precharge_all, now = by_rank.latest("PREA", _OF_A_BANK)
    opener[now[opener[now] < precharge_all]] = -1

    is_open = opener >= 0
    again = np.flatnonzero((command == _ACT) & is_open)
    yield Breach("act_open_bank", opener[again], again)
    column = among(_COLUMN, command)
    yield _alone("closed_bank", np.flatnonzero(column & ~is_open))
    named = np.flatnonzero(column & is_open & (commands.row >= 0))
    other = named[commands.row[named] != commands.row[opener[named]]]
    yield Breach("other_row", opener[other], other)

    change = among("ACT", command) & ~is_open
    closes = among("PRE RDA WRA", command) & is_open
    grouped = (change.astype(np.int64) - closes)[by_rank.order]
    count = np.cumsum(grouped)
    refresh = np.flatnonzero(by_rank.command == COMMANDS.index("REF"))
    at_start = start_of_run(by_rank.key)[refresh]
    all_closed = np.maximum.accumulate(np.where(among("PREA", by_rank.command), np.arange(len(count)), -1))[refresh]
    base = np.where(all_closed >= at_start, count[all_closed], count[at_start] - grouped[at_start])
    yield _alone("ref_open_bank", np.sort(by_rank.order[refresh[count[refresh] > base]]))


def activate_window(commands: Commands, by_rank: Grouping, window: int) -> Breach:
    """Return the ACTs that come within the window of the fourth ACT before them."""
    place = np.flatnonzero(by_rank.command == _ACT)
    first, fifth = place[:-ACTIVATES_IN_WINDOW], place[ACTIVATES_IN_WINDOW:]
    same = by_rank.key[first] == by_rank.key[fifth]
    first, fifth = by_rank.order[first[same]], by_rank.order[fifth[same]]
    gap = commands.cycle[fifth] - commands.cycle[first]
    return Breach("tFAW", first[gap < window], fifth[gap < window], gap[gap < window], window)


def refresh_times(commands: Commands, by_rank: Grouping, interval: int) -> Iterator[Breach]:
    """Yield breaches of the refresh rules for each rank that the log names; `later` is -1 for the end of the log."""
    end = int(commands.cycle.max(initial=0))
    most = (MAX_POSTPONED + 1) * interval
    edges = np.flatnonzero(np.diff(by_rank.key, prepend=-1, append=-1))
    for start, stop in pairwise(edges):
        refresh = by_rank.order[start:stop][by_rank.command[start:stop] == COMMANDS.index("REF")]
        later = np.append(refresh, -1)
        earlier = np.insert(refresh, 0, -1)
        cycle = np.append(commands.cycle[refresh], end)
        gap = np.diff(cycle, prepend=0)
        late = gap > most
        yield Breach("tREFI", earlier[late], later[late], gap[late], most)

        issued = np.arange(len(cycle))
        in_advance = np.maximum(issued + 1 - cycle // interval - MAX_POSTPONED, 0)
        lapsed = np.insert(np.maximum.accumulate(in_advance)[:-1], 0, 0)
        owed = np.maximum(cycle - 1, 0) // interval - issued + lapsed
        yield _alone("refresh_debt", later[owed > MAX_POSTPONED])


def busses(commands: Commands, timing: dict[str, int], shared: bool) -> Iterator[Breach]:
    """Yield breaches of the rules of the command busses and the data busses."""
    sent = _in_order(commands.bus, commands.cycle, commands.place)
    first, second = sent[:-1], sent[1:]
    twice = (commands.bus[first] == commands.bus[second]) & (commands.cycle[first] == commands.cycle[second])
    yield Breach("command_bus", first[twice], second[twice], np.zeros(int(twice.sum()), np.int64), 1)

    burst = sent[among(_COLUMN, commands.command[sent])]
    begin = commands.cycle[burst] + np.where(among("RD RDA", commands.command[burst]), timing["nCL"], timing["nCWL"])
    order = _in_order(commands.bus[burst], begin, np.arange(len(burst)))
    burst, begin = burst[order], begin[order]
    bus = commands.bus[burst]
    gap = np.diff(begin)
    overlap = (gap < timing["nBL"]) & (bus[1:] == bus[:-1])
    yield Breach("data_bus", burst[:-1][overlap], burst[1:][overlap], gap[overlap], timing["nBL"])
    if shared and len(burst):
        rank = commands.rank[burst]
        other = start_of_run(rank, bus) - 1
        here = np.flatnonzero((other >= 0) & (bus == bus[other]))
        other = other[here]
        gap = begin[here] - begin[other] - timing["nBL"]
        close = gap < RANK_GAP
        yield Breach("rank_gap", burst[other[close]], burst[here[close]], gap[close], RANK_GAP)


def _in_order(bus: npt.NDArray[Any], time: Ints, place: Ints) -> Ints:
    """Return the order by bus, then time, then place."""
    ordered = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (place[1:] > place[:-1]))
    if (ordered & (bus[1:] == bus[:-1]) | (bus[1:] > bus[:-1])).all():
        return np.arange(len(bus))
    order = np.argsort(place, kind="stable")
    order = order[np.argsort(time[order], kind="stable")]
    return order[stable_order(bus[order])]
