"""The host's side of shared ranks: the first command of each kind that is legal on the channel's and its rank's bus."""

import numpy as np

from ndpsim.dram.host import state as host
from ndpsim.dram.host.queue import later_of
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing


@borrowing
def earliest(m: Ints, s: Ints, kind: int, floor: int) -> tuple[int, int]:
    """Return when the first command of a kind can go, no earlier than `floor`, and the bank of the oldest of these.

    As `choose`, but ranks that yield are passed over, and so are banks that are left to NDP or get a column command in
    the present cycle. FOREVER if there is none.
    """
    later = later_of(kind, m[host.MODE])
    oldest = m[m[host.OLDEST + m[host.MODE]] + host.ENTRY] << host.BANK_BITS
    left_to_ndp = kind != host.COLUMN and s[shared.NDP_POLICY] == shared.NDP_FIRST
    smallest = host.NOT_WAITING
    waiting = host.WAITING + kind * host.MAX_BANKS
    ready = host.READY + later * host.MAX_BANKS
    for rank in range(m[host.N_RANKS]):
        q = rank * shared.SHARE
        if s[q + shared.YIELDS] == 1:
            continue
        bus = s[q + shared.RANK_BUS + (shared.COLUMNS if kind == host.COLUMN else shared.ROWS)]
        begin = max(max(floor, bus), m[rank * host.RANK_SIZE + host.RANK_READY + later])
        first = rank * m[host.RANK_BANKS]
        if left_to_ndp or (kind != host.COLUMN and s[q + shared.COLUMN_BANK] >= 0):
            for i in range(first, first + m[host.RANK_BANKS]):
                if (not left_to_ndp or s[shared.OFFERS + i] == 0) and s[q + shared.COLUMN_BANK] != i * host.BANK_SIZE:
                    wait = max(m[ready + i], begin) - floor
                    smallest = min(smallest, (wait << host.BANK_BITS + host.AGE_BITS) + m[waiting + i] - oldest)
        else:
            for i in range(np.uint64(first), np.uint64(first + m[host.RANK_BANKS])):  # unsigned, so that it vectorizes
                wait = max(m[np.uint64(ready) + i], begin) - floor
                smallest = min(smallest, (wait << host.BANK_BITS + host.AGE_BITS) + m[np.uint64(waiting) + i] - oldest)
    if smallest >= host.NOT_WAITING >> 1:
        return host.FOREVER, host.NONE
    return floor + (smallest >> host.BANK_BITS + host.AGE_BITS), (smallest & (host.MAX_BANKS - 1)) * host.BANK_SIZE


@borrowing
def offered_for_row(m: Ints, s: Ints, bursts: Ints, b: int) -> bool:
    """Tell whether an offered NDP burst is for the row that is open in the bank."""
    q = m[b + host.RANK] // host.RANK_SIZE * shared.SHARE
    for i in range(s[q + shared.OFFERED]):
        at = s[q + shared.WINDOW + i]
        if bursts[at, shared.B_BANK] == b and bursts[at, shared.B_ROW] == m[b + host.ROW]:
            return True
    return False
