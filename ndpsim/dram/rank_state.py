"""What the stream engine knows of its ranks: timings, state, counters, and where it writes commands."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.log import COMMANDS
from ndpsim.dram.standard import Standard

NEVER = -(1 << 60)  # a time so early that it binds nothing
ACT, PRE, PREA, RD, WR, REF = (COMMANDS.index(name) for name in ("ACT", "PRE", "PREA", "RD", "WR", "REF"))
# Columns of RankState.scalars
LAST_COMMAND, LAST_ACT, LAST_PRE, LAST_READ, LAST_WRITE, LAST_REF, DUE, MAC_FREE, ACTS_SEEN, ROW_OPENED = range(10)
# Columns of RankState.counters
N_ACT, N_PRE, N_PREA, N_RD, N_WR, N_REF, N_TRAINS = range(7)
COUNTERS = ("ACT", "PRE", "PREA", "RD", "WR", "REF", "trains")
# Columns of RankState.patterns
FIRST, LAST, BURSTS, PACE, PACED = range(5)
LOG_COLUMNS = ("cycle", "command", "dimm", "rank", "bank_group", "bank", "row", "column")


class Timing(NamedTuple):
    """The timings of a standard in clocks, its clock in picoseconds, and the shape of a rank."""

    nCL: int
    nCWL: int
    nBL: int
    nRCD: int
    nRP: int
    nRAS: int
    nRC: int
    nRRD_S: int
    nRRD_L: int
    nFAW: int
    nCCD_S: int
    nCCD_L: int
    nWR: int
    nRTP: int
    nWTR_S: int
    nWTR_L: int
    nRFC: int
    nREFI: int
    tCK_ps: int
    bank_groups: int
    banks: int
    ahead: int
    queue: int


class RankState(NamedTuple):
    """Everything that the engine remembers of its ranks; the first axis of every array is the rank.

    scalars [10], counters [7]; per bank: open_row (-1 if closed), act, pre, read, write (last command, in clocks);
    per bank group: group_act, group_read, group_write; recent_acts: ring of activates; patterns: ring of the last
    trains' bursts.
    """

    scalars: NDArray[np.int64]
    counters: NDArray[np.int64]
    open_row: NDArray[np.int64]
    act: NDArray[np.int64]
    pre: NDArray[np.int64]
    read: NDArray[np.int64]
    write: NDArray[np.int64]
    group_act: NDArray[np.int64]
    group_read: NDArray[np.int64]
    group_write: NDArray[np.int64]
    recent_acts: NDArray[np.int64]
    patterns: NDArray[np.int64]


class Log(NamedTuple):
    """Where commands go: records int64[capacity, 8] (LOG_COLUMNS), used int64[1]; capacity 0 logs nothing."""

    records: NDArray[np.int64]
    used: NDArray[np.int64]


def timing_of(standard: Standard, ahead: int, queue: int) -> Timing:
    """Return the engine's view of a standard with integer picoseconds a clock."""
    organization = standard.organization
    clocks = {name: standard.timing[name] for name in Timing._fields[:18]}
    return Timing(**clocks, tCK_ps=int(standard.tck_ps), bank_groups=organization.bank_groups,
                  banks=organization.banks, ahead=ahead, queue=queue)  # fmt: skip


def new_state(timing: Timing, first_due: list[int]) -> RankState:
    """Return the state of idle ranks with all banks closed; `first_due` has each rank's first refresh, in clocks."""
    ranks, groups = len(first_due), timing.bank_groups
    banks = groups * timing.banks

    def never(*shape: int) -> NDArray[np.int64]:
        return np.full((ranks, *shape), NEVER, np.int64)

    scalars = never(10)
    scalars[:, LAST_COMMAND] = -1
    scalars[:, DUE] = first_due
    scalars[:, ACTS_SEEN] = 0
    return RankState(
        scalars=scalars,
        counters=np.zeros((ranks, 7), np.int64),
        open_row=np.full((ranks, banks), -1, np.int64),
        act=never(banks),
        pre=never(banks),
        read=never(banks),
        write=never(banks),
        group_act=never(groups),
        group_read=never(groups),
        group_write=never(groups),
        recent_acts=never((timing.ahead + 2) * groups + 4),
        patterns=never(timing.ahead + 1, 5),
    )


def no_log() -> Log:
    """Return a log that keeps nothing."""
    return Log(np.empty((0, len(LOG_COLUMNS)), np.int64), np.zeros(1, np.int64))
