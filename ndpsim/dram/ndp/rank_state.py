"""What the stream engines know of their ranks: state, counters, and where they write commands."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.log import log as command_log
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.jit import merged

NEVER, FOREVER = -(1 << 60), 1 << 60  # minus and plus infinity
ACT, PRE, PREA, RD, WR, REF = (command_log.COMMANDS.index(name) for name in ("ACT", "PRE", "PREA", "RD", "WR", "REF"))
# The first places in the record of a rank; six of them are its latest commands, in the order of gaps.COMMANDS
LAST_ACT, LAST_PRE, LAST_PREA, LAST_READ, LAST_WRITE, LAST_REF = range(6)
FREE, DUE, MAC_FREE, PASS_FROM, LOADED, SEQUENCES, LONG, WAITS, ACTS_SEEN = range(6, 15)
# Columns of RankState.counters
N_ACT, N_PRE, N_PREA, N_RD, N_WR, N_REF, N_TRAINS = range(7)
COUNTERS = ("ACT", "PRE", "PREA", "RD", "WR", "REF", "trains")
# Places in the records of a bank, a bank group and a train; of a command, the latest is meant
OPEN_ROW, BANK_ACT, BANK_PRE, BANK_READ, BANK_WRITE, BANK_SIZE = range(6)
GROUP_ACT, GROUP_READ, GROUP_WRITE, GROUP_SIZE = range(4)
FIRST, LAST, PACED, STEP, PATTERN_SIZE = range(5)
WAITING, TRAIN_SIZE = 1024, 2  # trains that may wait for a rank, and the size of the record of one
LOG_COLUMNS = ("cycle", "command", "dimm", "rank", "bank_group", "bank", "row", "column")


class Places(NamedTuple):
    """Where things begin in the record of a rank, behind its scalars; `ring`s are powers of two.

    acts: ring of activates, `acts_ring` long; patterns: ring of records of trains, `trains_ring` long, see
    `command_bus.py`; groups, banks: a record of each bank group, and of each bank (group, bank).
    """

    acts: int
    acts_ring: int
    patterns: int
    trains_ring: int
    groups: int
    banks: int


class RankState(NamedTuple):
    """Everything that the engine remembers of its ranks; times in clocks.

    records int64[ranks, n]: the latest command of each kind; FREE, from when on all busses are free of commands; DUE,
    the next refresh; MAC_FREE, in ticks, when the MAC slice is done with all bursts so far; where loads and work
    alternate PASS_FROM, from when on the next pass may be loaded, and LOADED, bursts of the pass that the last train
    left unfinished; SEQUENCES, for which the last train worked; LONG, the first burst of the last train if that was
    long as `hidden.py` defines it, else NEVER; WAITS, the trains in `waiting`; ACTS_SEEN; and what `places` says.
    OPEN_ROW of a closed bank is -1; what never happened was at NEVER. counters: int64[ranks, 7]. waiting: int64[ranks,
    n], trains of the instruction at hand for the ranks of the DIMM that runs it, see `queue.py`.
    """

    records: NDArray[np.int64]
    counters: NDArray[np.int64]
    waiting: NDArray[np.int64]
    places: Places


class Log(NamedTuple):
    """Where commands go: records int64[capacity, 8] (LOG_COLUMNS), used int64[1]; capacity 0 logs nothing."""

    records: NDArray[np.int64]
    used: NDArray[np.int64]


def _ring(entries: int) -> int:
    """Return the least power of two that holds some entries."""
    return 1 << (entries - 1).bit_length()


def new_state(timing: Timing, first_due: list[int]) -> RankState:
    """Return the state of idle ranks with all banks closed; `first_due` has each rank's first refresh, in clocks."""
    ranks, groups = len(first_due), timing.bank_groups
    acts_ring, trains_ring = _ring((timing.ahead + 2) * groups + timing.window), _ring(timing.ahead + 1)
    acts = ACTS_SEEN + 1
    patterns = acts + acts_ring
    group_records = patterns + trains_ring * PATTERN_SIZE
    bank_records = group_records + groups * GROUP_SIZE
    records = np.full((ranks, bank_records + groups * timing.banks * BANK_SIZE), NEVER, np.int64)
    records[:, [FREE, LOADED, ACTS_SEEN]] = 0
    records[:, DUE] = first_due if timing.interval > 0 else FOREVER
    records[:, bank_records + OPEN_ROW :: BANK_SIZE] = -1
    places = Places(acts, acts_ring, patterns, trains_ring, group_records, bank_records)
    waiting = np.empty((ranks, WAITING * TRAIN_SIZE), np.int64)
    return RankState(records, np.zeros((ranks, len(COUNTERS)), np.int64), waiting, places)


def new_log(capacity: int) -> Log:
    """Return an empty log."""
    return Log(np.empty((max(capacity, 1), len(LOG_COLUMNS)), np.int64), np.zeros(1, np.int64))


@merged
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
