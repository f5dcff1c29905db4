"""The memory of a host controller: all that a kernel knows of one pseudo-channel, in one int64 array `m`.

A channel without pseudo-channels is one; those of one channel go on at the same clock (`pseudo_channels.py`).

One array instead of twenty, which kernels take as a bare pointer, keeps their calls cheap and their signatures short.
Banks, queued requests and ranks are named by the offset of their record, so that `m[b + ROW]` is the open row of bank
`b` and `m[at + ENTRY]` the cycle in which the request `at` entered. HOST_CONTROLLER.md says what all of it is for;
`new_channels` fills it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands
from ndpsim.dram.host.constraint_table import HostRules

Ints = NDArray[np.int64]

NEVER = -(1 << 60)  # so early that it binds nothing
FOREVER = 1 << 62  # so late that it never comes
NONE = -1
NOT_WAITING = 1 << 61
# What the next command of a bank is, for the active queue, and so the list that the bank is on.
COLUMN, ACTIVATE, PRECHARGE = 0, 1, 2
KINDS = 3

MAX_BANKS = 1 << 10  # of a channel: all ranks and pseudo-channels
MAX_RANKS = 1 << 6
MAX_QUEUE = 1 << 12
MAX_STARVATION = 1 << 20
MAX_GAP = 1 << 24
MAX_ROWS = 1 << 8  # of the compiled constraint table
MAX_WINDOWS = 8
MAX_WINDOW = 8
FILTER = 1 << 10
# A latency below LINEAR clocks has a bucket of its own; above, a bucket is as wide as 1/512 of its values.
LINEAR = 1 << 10
BUCKETS = LINEAR + 512 * 48

BANK_SIZE, SLOT_SIZE, RANK_SIZE, BEST_SIZE = 16, 16, 32, 4
BANK_BITS, AGE_BITS = 10, 24  # of a bank's number, and of the clocks between two entries in one queue

# Single values. The policy's and the standard's:
(READ_QUEUE, WRITE_QUEUE, HIGH, LOW, ROW_POLICY, ROW_TIMEOUT, STARVATION, INTERVAL, POSTPONE, SETS, TIMED, DEPENDENT,
 N_BANKS, N_RANKS, RANKS_PER_BUS, GROUP_BANKS, RANK_BANKS, N_WINDOWS, TWO_BUSSES, BURST_CLOCKS, READ_CLOCKS,
 WRITE_CLOCKS,
 *_) = range(32)  # fmt: skip
# ... and the state. Reads and writes lie side by side: READS + 1 is WRITES.
(NOW, EVENT, MODE, READS, WRITES, OLDEST, OLDEST_W, YOUNGEST, YOUNGEST_W, SPARE, SPARE_W, ROW_BUS, COLUMN_BUS,
 REFRESH_CHECK, OWING, UNDER_WAY, LOGGED, TAKEN, STREAK, LAST_COLUMN, ORIGIN, ENTERED, DONE_READS, DONE_WRITES,
 FORWARDED, HITS, MISSES, CONFLICTS, LATENCY_SUM, LATENCY_SUM_W, LONGEST, LONGEST_W, LAST_DONE, PATIENCE,
 # ... and what one of several pseudo-channels does next, see `pseudo_channels.py`
 PLAN_QUEUE, PLAN_COLUMN, PLAN_COLUMN_SLOT, PLAN_ROW, PLAN_ROW_SLOT, PLAN_ROW_BANK, PLAN_ACTION, PLAN_RANK, PLAN_ENTRY,
 PLAN_FORWARDED, *_) = range(32, 96)  # fmt: skip
BEST_CYCLE, BEST_BANK, VALID = range(96, 99)  # + kind * BEST_SIZE: the cached choice of each kind

# Gaps between two reads [0] and between two writes [1]
SAME_BANK, SAME_GROUP, SAME_RANK, SAME_OTHER = range(112, 120, 2)

# Tables; first and others are indexed by command, and have one more entry.
_at = 128


def _table(size: int) -> int:
    global _at
    begin, _at = _at, _at + -(-size // 8) * 8
    return begin


CLOCKS = _table(16)
TOUCHES = _table(16)
FIRST = _table(3 * 16 + 1)  # + command * 3 + level, and one more
OTHERS_FIRST = _table(16 + 1)
ROWS = _table(2 * MAX_ROWS)  # later, gap
OTHERS = _table(2 * MAX_ROWS)
WINDOWS = _table(8 * MAX_WINDOWS)  # earlier, level, later, gap, window
_bank = _table(BANK_SIZE * MAX_BANKS)
_slot = _table(SLOT_SIZE * 2 * MAX_QUEUE)
_rank = _table(RANK_SIZE * MAX_RANKS)
READY = _table(
    commands.LATER * MAX_BANKS
)  # + later * MAX_BANKS + bank number: first legal cycle as far as bank and group go
WAITING = _table(KINDS * MAX_BANKS)  # + kind * MAX_BANKS + bank number: see `choose`
FREE = _table(2 * MAX_QUEUE)
BURSTS = _table(2 * FILTER)  # how many queued requests have a burst of that hash
RECENT = _table(MAX_WINDOWS * MAX_BANKS * MAX_WINDOW)  # + (window * MAX_BANKS + place) * MAX_WINDOW + turn
TURN = _table(MAX_WINDOWS * MAX_BANKS)
LATENCY = _table(2 * BUCKETS)  # + BUCKETS for writes
GROUP_LAST = _table(MAX_BANKS)  # + first bank of a group: its last column command in a train
ENTERED_AT = _table(MAX_QUEUE)  # ring: when the last requests of a train entered
SIZE = _at

# Bank: open row, what it waits for, its requests by queue, and where it belongs.
(ROW, KIND, HIT, HEAD, HEAD_W, TAIL, TAIL_W, RANK, HELD, USED, SET_NUMBER, INDEX, GROUP_FIRST, *_) = range(
    _bank, _bank + 16
)
# Queued request
(NEXT, BANK, SLOT_ROW, SLOT_COLUMN, ENTRY, START, NUMBER, BURST, EFFORT, OLDER, YOUNGER, *_) = range(_slot, _slot + 16)
# Rank
(DUE, REFRESHING, SET, QUEUED, OPEN_BANKS, OPEN_SINCE, OPEN_CLOCKS, RANK_NUMBER) = range(_rank, _rank + 8)
RANK_READY = _rank + 8  # + later
ISSUED = _rank + 16  # + command

# A block of placed requests is int64[n, 8]; the bank is its offset in `m`, the number counts the whole trace.
R_BANK, R_ROW, R_COLUMN, R_BURST, R_WRITE, R_ARRIVAL, R_AFTER, R_NUMBER = range(8)
REQUEST_SIZE = 8
RECORD = ("cycle", "command", "number", "row", "column")  # number: of the bank, or of the rank, in its channel


class Policy(NamedTuple):
    """The controller's parameters as numbers.

    row_policy: 0 open, 1 closed, 2 timeout. interval: clocks between refreshes of a rank, 0 for none. sets: sets of
    banks that are refreshed one after the other, 0 with all-bank refresh.
    """

    read_queue: int
    write_queue: int
    high: int
    low: int
    row_policy: int
    row_timeout: int
    starvation: int
    interval: int
    postpone: int
    sets: int
    timed: int
    dependent: int


def new_channels(rules: HostRules, policy: Policy, channels: int) -> NDArray[np.int64]:
    """Return int64[channels * pseudo-channels, SIZE]: idle pseudo-channels with all banks closed."""
    m = np.zeros(SIZE, np.int64)
    m[: len(policy)] = policy
    per_bus = rules.ranks_per_bus
    ranks, per_rank, per_group = np.arange(per_bus), rules.banks // rules.ranks, rules.banks // rules.groups
    banks = per_bus * per_rank
    m[N_BANKS : WRITE_CLOCKS + 1] = (
        banks, per_bus, per_bus, per_group, per_rank, len(rules.windows), rules.two_busses, rules.nBL, *rules.data,
    )  # fmt: skip
    for table, values in (
        (CLOCKS, rules.clocks), (TOUCHES, rules.touches), (FIRST, rules.first), (OTHERS_FIRST, rules.others_first),
        (ROWS, rules.rows.ravel()), (OTHERS, rules.others.ravel()),
    ):  # fmt: skip
        m[table : table + len(values)] = values
    for k, gaps in enumerate(rules.same_kind):
        m[SAME_BANK + k : SAME_BANK + 8 : 2] = gaps
    for k, window in enumerate(rules.windows):
        m[WINDOWS + 8 * k : WINDOWS + 8 * k + 5] = window
    m[[OLDEST, OLDEST_W, YOUNGEST, YOUNGEST_W]] = NONE
    m[LAST_COLUMN] = NEVER
    m[PATIENCE] = FOREVER
    m[READY:WAITING] = NEVER
    m[WAITING:FREE] = NOT_WAITING
    m[RECENT:TURN] = NEVER

    r = ranks * RANK_SIZE
    m[r + RANK_NUMBER] = ranks
    for later in range(commands.LATER):
        m[r + RANK_READY + later] = NEVER

    flat = np.arange(banks)
    b = flat * BANK_SIZE
    for column in (ROW, KIND, HIT, HEAD, HEAD_W, TAIL, TAIL_W):
        m[b + column] = NONE
    m[b + RANK] = flat // per_rank * RANK_SIZE
    m[b + USED] = NEVER
    m[b + INDEX] = flat
    m[b + GROUP_FIRST] = flat - flat % per_group
    m[b + SET_NUMBER] = flat % per_group * rules.set_groups + flat % per_rank // per_group % rules.set_groups

    m[[SPARE, SPARE_W]] = policy.read_queue, policy.write_queue
    m[FREE : FREE + policy.read_queue] = np.arange(policy.read_queue) * SLOT_SIZE
    m[FREE + MAX_QUEUE : FREE + MAX_QUEUE + policy.write_queue] = (
        MAX_QUEUE + np.arange(policy.write_queue)
    ) * SLOT_SIZE
    channel = np.tile(m, (rules.ranks // per_bus, 1))
    for pseudo_channel, own in enumerate(channel):
        place = ranks * (rules.ranks // per_bus) + pseudo_channel
        own[r + DUE] = policy.interval * (place + 1) // rules.ranks if policy.interval else FOREVER
        own[REFRESH_CHECK] = own[r + DUE].min()
    return np.tile(channel, (channels, 1))


def records(state: NDArray[np.int64], field: int, count: int, size: int) -> NDArray[Any]:
    """Return one field of the first `count` records of every row of the state, int64[rows, count]."""
    return state[:, field : field + count * size : size]
