"""What the stream engines know of their ranks: state, counters, and where they write commands."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram import log as command_log
from ndpsim.dram.stream_timing import Timing
from ndpsim.jit import njit

NEVER = -(1 << 60)  # a time so early that it binds nothing
ACT, PRE, PREA, RD, WR, REF = (command_log.COMMANDS.index(name) for name in ("ACT", "PRE", "PREA", "RD", "WR", "REF"))
# Columns of RankState.scalars; the first six are the rank's latest commands, in the order of stream_timing.COMMANDS
LAST_ACT, LAST_PRE, LAST_PREA, LAST_READ, LAST_WRITE, LAST_REF = range(6)
FREE, DUE, MAC_FREE, ACTS_SEEN, ROW_READY = range(6, 11)
# Columns of RankState.counters
N_ACT, N_PRE, N_PREA, N_RD, N_WR, N_REF, N_TRAINS = range(7)
COUNTERS = ("ACT", "PRE", "PREA", "RD", "WR", "REF", "trains")
# Columns of RankState.patterns
FIRST, LAST, BURSTS, PACE, PACED = range(5)
LOG_COLUMNS = ("cycle", "command", "dimm", "rank", "bank_group", "bank", "row", "column")


class RankState(NamedTuple):
    """Everything that the engine remembers of its ranks; the first axis of every array is the rank.

    scalars [11], in clocks: the latest command of each kind; FREE, from when on all busses are free of commands; DUE,
    the next refresh; MAC_FREE, in ticks, when the MAC slice is done with all bursts so far; ACTS_SEEN; ROW_READY, the
    cycle after the row commands of the train at work. counters [7]. Per bank: open_row (-1 if closed), act, pre, read,
    write (latest command); per bank group: group_act, group_read, group_write; recent_acts: ring of activates;
    patterns: ring of the last trains' bursts.
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


def new_state(timing: Timing, first_due: list[int]) -> RankState:
    """Return the state of idle ranks with all banks closed; `first_due` has each rank's first refresh, in clocks."""
    ranks, groups = len(first_due), timing.bank_groups
    banks = groups * timing.banks

    def never(*shape: int) -> NDArray[np.int64]:
        return np.full((ranks, *shape), NEVER, np.int64)

    scalars = never(11)
    scalars[:, FREE] = 0
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
        recent_acts=never((timing.ahead + 2) * groups + timing.window),
        patterns=never(timing.ahead + 1, 5),
    )


def no_log() -> Log:
    """Return a log that keeps nothing."""
    return Log(np.empty((0, len(LOG_COLUMNS)), np.int64), np.zeros(1, np.int64))


@njit
def write_command(
    log: Log, cycle: int, command: int, unit: int, ranks: int, group: int, bank: int, row: int, column: int
) -> None:
    """Append a command; unit = dimm * ranks + rank. A full log only counts."""
    at = log.used[0]
    if at < log.records.shape[0]:
        record = log.records[at]
        record[0] = cycle
        record[1] = command
        record[2] = unit // ranks
        record[3] = unit % ranks
        record[4] = group
        record[5] = bank
        record[6] = row
        record[7] = column
    log.used[0] = at + 1
