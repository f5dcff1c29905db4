"""For each command of a log, the latest earlier one of some kind in the same bank, bank group, rank or bus."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.log.runs import start_of_run

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Commands(NamedTuple):
    """The commands of a log whose bank exists, by rank and then by cycle; rules name a command by its position here.

    `place` tells which came first in the log, `last` is the last clock, from which JEDEC's gaps count. `bank`, `group`,
    `rank`, `lane` and `data_bus` number those of the log (a lane shares no bus with others), and `set` those sets
    of banks in a rank that REFsb and REFpb refresh.
    """

    place: Ints
    cycle: Ints
    last: Ints
    command: Codes
    bank: Ints
    group: Ints
    rank: Ints
    lane: Ints
    data_bus: Ints
    set: Ints
    row: npt.NDArray[np.int32]


def among(names: str, command: Codes) -> Bools:
    """Return which commands are among the space-separated names."""
    table = np.isin(np.arange(256), [COMMANDS.index(name) for name in names.split()])
    return table[command]


def stable_order(key: npt.NDArray[Any]) -> Ints:
    """Return the order that sorts the keys and leaves equal ones as they are."""
    if (key[1:] >= key[:-1]).all():
        return np.arange(len(key))
    small = key.min() >= 0 and key.max() < 1 << 16  # NumPy sorts 16 bits by radix
    return np.argsort(key.astype(np.uint16) if small else key, kind="stable")


def numbered(*keys: npt.NDArray[Any]) -> tuple[Ints, int]:
    """Return numbers from 0 for entries by their keys, small integers, and how many different ones there are."""
    number, count = np.zeros(len(keys[0]), np.int64), min(len(keys[0]), 1)
    for key in keys:
        lowest, highest = (int(key.min()), int(key.max())) if count else (0, 0)
        if lowest == highest:
            continue
        number = number * (highest - lowest + 1) + (key - lowest)
        most = int(number.max())
        if most > 4 * len(number) + (1 << 16):
            values, number = np.unique(number, return_inverse=True)
            count = len(values)
        else:
            present = np.zeros(most + 1, np.bool_)
            present[number] = True
            number, count = (np.cumsum(present) - 1)[number], int(present.sum())
    return number, count


def last_of_each(number: Ints, count: int, positions: Ints | None = None) -> Ints:
    """Return for each number below `count` the last entry, or the last of the given entries, that has it; or -1."""
    last = np.full(count, -1)
    if positions is None:
        positions = np.arange(len(number))
    last[number[positions]] = positions
    return last


class Grouping:
    """Entries for the commands of a log, those of equal key side by side and in order of cycle within.

    Entry i stands for the command at `position[i]`, or at i if that is not given; a command may have several entries.
    """

    def __init__(self, key: npt.NDArray[Any], command: Codes, position: npt.NDArray[Any] | None = None) -> None:
        order = stable_order(key)
        self.key = key[order]
        self.command = command[order]
        self.order: Ints = order if position is None else position[order]

    def latest(self, earlier: str, later: str, weight: Ints | None = None) -> tuple[Ints, Ints]:
        """Return pairs (earlier, later) of positions: each later command with the latest earlier one of its group.

        With a weight for each position, it is the earlier one of the largest weight instead.
        """
        first, second, before = self._candidates(earlier, later)
        if weight is not None and len(first):
            first = self._heaviest_so_far(first, weight)
        found = before >= 0
        second, first = second[found], first[before[found]]
        same = self.key[first] == self.key[second]
        return self.order[first[same]], self.order[second[same]]

    def latest_in_other(self, earlier: str, later: str, part: npt.NDArray[Any]) -> tuple[Ints, Ints]:
        """Return pairs as `latest` does, where the two commands differ in `part` (say, the bank group)."""
        first, second, before = self._candidates(earlier, later)
        if not len(first):
            return first, first
        found = before >= 0
        second, before = second[found], before[found]
        first_part = part[self.order[first]]
        equal = first_part[before] == part[self.order[second]]
        before = np.where(equal, start_of_run(first_part)[before] - 1, before)
        second, before = second[before >= 0], before[before >= 0]
        same = self.key[first[before]] == self.key[second]
        return self.order[first[before[same]]], self.order[second[same]]

    def _candidates(self, earlier: str, later: str) -> tuple[Ints, Ints, Ints]:
        """Return where the earlier and the later commands are, and for each later one the last of the earlier ones."""
        is_earlier = among(earlier, self.command)
        first = np.flatnonzero(is_earlier)
        second = np.flatnonzero(is_earlier if earlier == later else among(later, self.command))
        if not len(first):
            return first, first, first
        if earlier == later:
            return first, second, np.arange(-1, len(first) - 1)
        before: Ints = np.cumsum(is_earlier, dtype=np.int64)[second]
        return first, second, before - 1 - is_earlier[second].astype(np.int64)

    def _heaviest_so_far(self, first: Ints, weight: Ints) -> Ints:
        by_weight = np.argsort(weight[self.order[first]], kind="stable")
        standing = np.empty_like(by_weight)
        standing[by_weight] = np.arange(len(first))
        groups = np.cumsum(np.diff(self.key[first], prepend=self.key[first[0]]) != 0)
        best = np.maximum.accumulate(groups * len(first) + standing)
        return first[by_weight[best % len(first)]]
