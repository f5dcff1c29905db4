"""The host's side of shared ranks: the first command of each kind that is legal on the channel's and its rank's bus."""

import numpy as np

from ndpsim.dram.host.constraint_table import PRE
from ndpsim.dram.host.engine import set_is_wanted
from ndpsim.dram.host.issue import in_turn
from ndpsim.dram.host.queue import later_of, legal_at
from ndpsim.dram.host.shared.state import (
    B_BANK,
    B_ROW,
    COLUMN_BANK,
    COLUMNS,
    NDP_FIRST,
    NDP_POLICY,
    OFFERED,
    OFFERS,
    RANK_BUS,
    ROWS,
    SHARE,
    WINDOW,
    YIELDS,
)
from ndpsim.dram.host.state import (
    AGE_BITS,
    BANK_BITS,
    BANK_SIZE,
    COLUMN,
    ENTRY,
    FOREVER,
    HEAD,
    HELD,
    INDEX,
    MAX_BANKS,
    MODE,
    N_BANKS,
    N_RANKS,
    NEXT,
    NONE,
    NOT_WAITING,
    OLDEST,
    RANK,
    RANK_BANKS,
    RANK_READY,
    RANK_SIZE,
    READY,
    ROW,
    ROW_TIMEOUT,
    SETS,
    SLOT_ROW,
    USED,
    WAITING,
    Ints,
)
from ndpsim.jit import borrowing


@borrowing
def earliest(m: Ints, s: Ints, kind: int, floor: int) -> tuple[int, int]:
    """Return when the first command of a kind can go, no earlier than `floor`, and the bank of the oldest of these.

    As `choose`, but ranks that yield are passed over, and so are banks that are left to NDP or get a column command in
    the present cycle. FOREVER if there is none.
    """
    later = later_of(kind, m[MODE])
    oldest = m[m[OLDEST + m[MODE]] + ENTRY] << BANK_BITS
    left_to_ndp = kind != COLUMN and s[NDP_POLICY] == NDP_FIRST
    smallest = NOT_WAITING
    waiting = WAITING + kind * MAX_BANKS
    ready = READY + later * MAX_BANKS
    for rank in range(m[N_RANKS]):
        q = rank * SHARE
        if s[q + YIELDS] == 1:
            continue
        bus = s[q + RANK_BUS + (COLUMNS if kind == COLUMN else ROWS)]
        begin = max(max(floor, bus), m[rank * RANK_SIZE + RANK_READY + later])
        first = rank * m[RANK_BANKS]
        if left_to_ndp or (kind != COLUMN and s[q + COLUMN_BANK] >= 0):
            for i in range(first, first + m[RANK_BANKS]):
                if (not left_to_ndp or s[OFFERS + i] == 0) and s[q + COLUMN_BANK] != i * BANK_SIZE:
                    wait = max(m[ready + i], begin) - floor
                    smallest = min(smallest, (wait << BANK_BITS + AGE_BITS) + m[waiting + i] - oldest)
        else:
            for i in range(np.uint64(first), np.uint64(first + m[RANK_BANKS])):  # unsigned, so that it vectorizes
                wait = max(m[np.uint64(ready) + i], begin) - floor
                smallest = min(smallest, (wait << BANK_BITS + AGE_BITS) + m[np.uint64(waiting) + i] - oldest)
    if smallest >= NOT_WAITING >> 1:
        return FOREVER, NONE
    return floor + (smallest >> BANK_BITS + AGE_BITS), (smallest & (MAX_BANKS - 1)) * BANK_SIZE


@borrowing
def idle_row(m: Ints, s: Ints, floor: int) -> tuple[int, int]:
    """Return when the timeout policy next closes a bank, and which, passing over ranks that yield."""
    cycle = FOREVER
    chosen = NONE
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        q = m[b + RANK] // RANK_SIZE * SHARE
        if m[b + ROW] < 0 or m[b + HELD] == 1 or s[OFFERS + m[b + INDEX]] > 0:
            continue
        if s[q + YIELDS] == 1 or s[q + COLUMN_BANK] == b:
            continue
        begin = max(max(floor, s[q + RANK_BUS + ROWS]), m[b + USED] + m[ROW_TIMEOUT])
        t = max(begin, legal_at(m, b, PRE))
        if t < cycle and not _queued_for_row(m, b):
            cycle, chosen = t, b
    return cycle, chosen


@borrowing
def _queued_for_row(m: Ints, b: int) -> bool:
    """Tell whether a queued request is for the row that is open in the bank."""
    for queue in range(2):
        at = m[b + HEAD + queue]
        while at >= 0:
            if m[at + SLOT_ROW] == m[b + ROW]:
                return True
            at = m[at + NEXT]
    return False


@borrowing
def offered_for_row(m: Ints, s: Ints, bursts: Ints, b: int) -> bool:
    """Tell whether an offered NDP burst is for the row that is open in the bank."""
    q = m[b + RANK] // RANK_SIZE * SHARE
    for i in range(s[q + OFFERED]):
        at = s[q + WINDOW + i]
        if bursts[at, B_BANK] == b and bursts[at, B_ROW] == m[b + ROW]:
            return True
    return False


@borrowing
def refresh_is_unwelcome(m: Ints, s: Ints, r: int) -> bool:
    """Tell whether a queued request or an offered burst is for the banks that the rank refreshes next."""
    if set_is_wanted(m, r):
        return True
    if m[SETS] == 0:
        return s[r // RANK_SIZE * SHARE + OFFERED] > 0
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        offered = s[OFFERS + m[b + INDEX]] > 0
        if offered and in_turn(m, b, r):
            return True
    return False
