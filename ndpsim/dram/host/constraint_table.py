"""The constraint table of a standard as flat arrays: what issuing a command means for the commands to come.

Constraints hold between nodes: banks, bank groups and ranks (those of all pseudo-channels of a channel), numbered in
that order. A command raises, at the nodes of its bank, the first cycles in which later commands are legal.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

NOTHING = -(1 << 58)  # a gap that binds nothing
LEVELS = ("bank", "bank_group", "rank", "other_rank")


class HostRules(NamedTuple):
    """A standard as the engine takes it.

    banks, groups, ranks: those of a channel (ranks of all pseudo-channels); ranks_per_bus: ranks that share a data bus;
    rows int64[n, 2] of (later, gap), first int64[3 * commands + 1]: where those of (command, level) begin, with levels
    bank, group, rank; others, others_first: the same for other ranks on the data bus; windows int64[k, 5] of (earlier,
    level, later, gap, window); touches: by command, bit set of the later commands that it delays outside its bank;
    clocks: by command, on its bus; two_busses: 1 if rows and columns have a command bus each; data int64[2]: first
    clock of RD and WR to the clock after their data; set_groups: sets of refreshed banks with the same bank number;
    same_kind int64[2, 4]: gaps from RD to RD and from WR to WR by level, NOTHING if there is none.
    """

    banks: int
    groups: int
    ranks: int
    ranks_per_bus: int
    first: NDArray[np.int64]
    rows: NDArray[np.int64]
    others_first: NDArray[np.int64]
    others: NDArray[np.int64]
    windows: NDArray[np.int64]
    touches: NDArray[np.int64]
    clocks: NDArray[np.int64]
    two_busses: int
    data: NDArray[np.int64]
    nBL: int
    set_groups: int
    same_kind: NDArray[np.int64]


def rules_of(standard: Standard, refresh: str) -> HostRules:
    """Compile the standard; `refresh` is `none` or one of the standard's kinds of refresh.

    Raises InputError if the timings contradict each other in a way that the rows cannot express.
    """
    organization, timing = standard.organization, standard.timing
    if timing["nRC"] < timing["nRAS"] + timing["nRP"]:
        raise InputError(f"nRC: expected at least nRAS + nRP = {timing['nRAS'] + timing['nRP']}, found {timing['nRC']}")
    raised: dict[tuple[int, int, int], int] = {}
    windows = []
    for row in standard.constraints:
        if row.gap <= 0 or row.earlier not in commands.NUMBERS or row.later not in commands.NUMBERS:
            continue
        later = commands.NUMBERS[row.later]
        later = {commands.RDA: commands.RD, commands.WRA: commands.WR}.get(later, later)
        if row.window > 1:
            windows.append((commands.NUMBERS[row.earlier], LEVELS.index(row.scope), later, row.gap, row.window))
            continue
        key = (commands.NUMBERS[row.earlier], LEVELS.index(row.scope), later)
        raised[key] = max(raised.get(key, 0), row.gap)
    kind = standard.refresh.get(refresh)
    covers = kind.covers_groups if kind and kind.covers_groups else organization.bank_groups
    ranks = organization.pseudo_channels * organization.ranks
    groups = ranks * organization.bank_groups
    own, own_first = _in_order([(earlier * 3 + level, later, gap) for (earlier, level, later), gap in raised.items()
                                if level < 3], 3 * commands.COMMANDS)  # fmt: skip
    others, others_first = _in_order([(earlier, later, gap) for (earlier, level, later), gap in raised.items()
                                      if level == 3], commands.COMMANDS)  # fmt: skip
    touches = np.zeros(commands.COMMANDS, np.int64)
    for earlier, level, later in [*raised, *((w[0], w[1], w[2]) for w in windows)]:
        if level > 0:
            touches[earlier] |= 1 << later
    clocks = np.ones(commands.COMMANDS, np.int64)
    for name, number in commands.NUMBERS.items():
        clocks[number] = standard.clocks.get(name, clocks[number])
    return HostRules(
        banks=groups * organization.banks, groups=groups, ranks=ranks, ranks_per_bus=organization.ranks,
        first=own_first, rows=own, others_first=others_first, others=others,
        windows=np.array(sorted(set(windows)), np.int64).reshape(-1, 5), touches=touches, clocks=clocks,
        two_busses=int(len(standard.busses) > 1),
        data=np.array([standard.read_latency, standard.write_latency], np.int64) + timing["nBL"],
        nBL=timing["nBL"], set_groups=organization.bank_groups // covers,
        same_kind=np.array([[raised.get((c, level, c), NOTHING) for level in range(4)]
                            for c in (commands.RD, commands.WR)]),
    )  # fmt: skip


def _in_order(rows: list[tuple[int, int, int]], keys: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows (key, later, gap) in order of their key and without it, and where those of each key begin."""
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    return np.ascontiguousarray(table[:, 1:]), np.searchsorted(table[:, 0], np.arange(keys + 1))
