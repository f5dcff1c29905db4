"""What the kernels know of one pseudo-channel beyond `host.state` where NDP units share its ranks: one int64 array `s`.

Ranks are named by the offset of their record in `s`, and have the order of those in `m`. NDP bursts of all channels
are in one table, int64[n, 5]; a rank's sequence is a range of it, and its window a list of places in it.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host

NDP_POLICIES = ("host_first", "ndp_first", "alternate")
HOST_FIRST, NDP_FIRST, ALTERNATE = range(3)
MAX_NDP_WINDOW = 64
COLUMNS, ROWS = 0, 1  # a bus; standards with one bus for all have COLUMNS alone

# Single values: the policy, whether a cycle's row bus is logged first, NDP bursts to come, a number for each listing.
NDP_POLICY, NDP_WINDOW, ROWS_FIRST, BURSTS_LEFT, LISTING = range(5)
# + bus: what the host does next, and when that is legal; in the end what it or a refresh does in the present cycle
HOST_ACTION, HOST_BANK, HOST_SLOT, HOST_LEGAL = 6, 8, 10, 12
NO_ACTION, TO_COLUMN, TO_ACTIVATE, TO_PRECHARGE, TO_REFRESH = range(5)

# The rank whose request starves (its record here), and the first command of a refresh under way: when it is legal, its
# rank's record in `m`, its bank
STARVING, REFRESH_LEGAL, REFRESHED, REFRESH_BANK = range(14, 18)

# A rank's record. STALE: its candidates must be listed anew; CURRENT: FIRST_LEGAL is when the first of them is legal.
SHARE = 192
_rank = 18
(NEXT_BURST, LAST_BURST, OFFERED, CANDIDATES, STALE, HOST_LAST, NDP_DONE, NDP_HITS, NDP_READS, NDP_WRITES, COLUMN_BANK,
 FIRST_LEGAL, CURRENT, *_) = range(_rank, _rank + 16)  # fmt: skip
RANK_BUS = _rank + 16  # + bus: the first cycle in which it is free
PICK = _rank + 18  # + bus: the candidate that goes in the present cycle, NONE without
YIELDS = _rank + 20  # 1: the host passes the rank over on the bus that is being chosen for
NDP_READY = _rank + 24  # + later: as RANK_READY, but without what other ranks on the data bus impose
WINDOW = _rank + 32  # + i: places of the offered bursts in the table, oldest first
CANDIDATE = WINDOW + MAX_NDP_WINDOW  # + i: place * 4 + kind; columns first, of each kind the oldest first
# Of each bank: offered bursts, and the listings in which a row hit and any burst were found
OFFERS = _rank + SHARE * host.MAX_RANKS
HIT_LISTED = OFFERS + host.MAX_BANKS
LISTED = HIT_LISTED + host.MAX_BANKS
SIZE = LISTED + host.MAX_BANKS

# A burst: the bank is its offset in `m`; effort 1: it needed an ACT.
B_BANK, B_ROW, B_COLUMN, B_WRITE, B_EFFORT = range(5)
BURST_SIZE = 5


def new_sharing(policy: int, window: int, rows_first: bool, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64[n, SIZE] of n pseudo-channels before cycle 0, to whose windows no burst has come yet.

    first: int64[n, ranks + 1], where each rank's sequence begins in the table of bursts.
    """
    channels, ranks = first.shape[0], first.shape[1] - 1
    s = np.zeros((channels, SIZE), np.int64)
    s[:, [NDP_POLICY, NDP_WINDOW, ROWS_FIRST]] = policy, window, rows_first
    s[:, BURSTS_LEFT] = first[:, -1] - first[:, 0]
    q = np.arange(ranks) * SHARE
    s[:, q + NEXT_BURST] = first[:, :-1]
    s[:, q + LAST_BURST] = first[:, 1:]
    for field in (COLUMN_BANK, PICK, PICK + 1):
        s[:, q + field] = host.NONE
    for later in range(commands.LATER):
        s[:, q + NDP_READY + later] = host.NEVER
    return s
