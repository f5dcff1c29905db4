"""The queues of the host controller: which requests wait, per bank and by age, and what each bank needs next.

Every queued request is on two lists: those of its bank in its queue (oldest first) and those of its queue by age. In
the active queue every bank with requests waits for one kind of command: a column command, an ACT, or a PRE. `choose`
finds the earliest and then oldest command of a kind.
"""

import numpy as np

from ndpsim.dram.host.constraint_table import ACT, PRE, RD
from ndpsim.dram.host.state import (
    ACTIVATE,
    AGE_BITS,
    BANK,
    BANK_BITS,
    BANK_SIZE,
    BEST_BANK,
    BEST_CYCLE,
    BEST_SIZE,
    BURST,
    BURSTS,
    COLUMN,
    EFFORT,
    ENTRY,
    FILTER,
    FOREVER,
    FREE,
    HEAD,
    HELD,
    HIGH,
    HIT,
    INDEX,
    KIND,
    KINDS,
    LOW,
    MAX_BANKS,
    MAX_QUEUE,
    MODE,
    N_BANKS,
    N_RANKS,
    NEXT,
    NONE,
    NOT_WAITING,
    NUMBER,
    OLDER,
    OLDEST,
    PATIENCE,
    PRECHARGE,
    QUEUED,
    R_BANK,
    R_BURST,
    R_COLUMN,
    R_NUMBER,
    R_ROW,
    R_WRITE,
    RANK,
    RANK_BANKS,
    RANK_READY,
    RANK_SIZE,
    READS,
    READY,
    ROW,
    SLOT_COLUMN,
    SLOT_ROW,
    SPARE,
    START,
    STARVATION,
    TAIL,
    VALID,
    WAITING,
    WRITES,
    YOUNGER,
    YOUNGEST,
    Ints,
)
from ndpsim.jit import borrowing, merged


@merged
def bucket_of(burst: int) -> int:
    """Return the hash of a burst address."""
    return (burst ^ burst >> 10 ^ burst >> 20) & (FILTER - 1)


@merged
def find_burst(m: Ints, queue: int, burst: int) -> int:
    """Return the oldest request of a queue for this burst, or -1."""
    if m[READS + queue] == 0 or m[BURSTS + queue * FILTER + bucket_of(burst)] == 0:
        return -1
    slot = m[OLDEST + queue]
    while slot >= 0 and m[slot + BURST] != burst:
        slot = m[slot + YOUNGER]
    return slot


@merged
def later_of(kind: int, mode: int) -> int:
    """Return the command that a list of banks waits for."""
    if kind == COLUMN:
        return RD + mode
    return ACT if kind == ACTIVATE else PRE


@merged
def legal_at(m: Ints, b: int, later: int) -> int:
    """Return the first cycle in which the constraints allow a command to a bank."""
    return max(m[READY + later * MAX_BANKS + m[b + INDEX]], m[m[b + RANK] + RANK_READY + later])


@merged
def choose(m: Ints, kind: int, floor: int) -> int:
    """Return when the first command of a kind can go, no earlier than `floor`, and leave its bank in BEST_BANK.

    The choice of before stands if its cycle has not passed and nothing has made it invalid.
    """
    best = kind * BEST_SIZE
    if m[best + VALID] == 1 and m[best + BEST_CYCLE] >= floor:
        return m[best + BEST_CYCLE]
    return _choose_anew(m, kind, floor)


@borrowing
def _choose_anew(m: Ints, kind: int, floor: int) -> int:
    """Choose among all banks that wait for a command of this kind: the earliest, and the oldest of these.

    FOREVER if no bank waits for one. The choice is the smallest of a number for each bank: the clocks to wait in its
    upper bits, then the age, then the bank; a loop without a branch, which vectorizes. WAITING holds the lower two
    parts, or NOT_WAITING, which exceeds all numbers.
    """
    best = kind * BEST_SIZE
    later = later_of(kind, m[MODE])
    oldest = m[m[OLDEST + m[MODE]] + ENTRY] << BANK_BITS
    smallest = NOT_WAITING
    banks = np.uint64(m[RANK_BANKS])  # unsigned: no check for negative places keeps the loop from being vectorized
    ready = np.uint64(READY + later * MAX_BANKS)
    waiting = np.uint64(WAITING + kind * MAX_BANKS)
    for rank in range(m[N_RANKS]):
        earliest = max(floor, m[rank * RANK_SIZE + RANK_READY + later])
        for i in range(banks):
            wait = max(m[ready + i], earliest) - floor
            smallest = min(smallest, (wait << BANK_BITS + AGE_BITS) + m[waiting + i] - oldest)
        ready += banks
        waiting += banks
    m[best + VALID] = 1
    if smallest >= NOT_WAITING >> 1:
        m[best + BEST_CYCLE] = FOREVER
        return FOREVER
    m[best + BEST_CYCLE] = floor + (smallest >> BANK_BITS + AGE_BITS)
    m[best + BEST_BANK] = (smallest & (MAX_BANKS - 1)) * BANK_SIZE
    return m[best + BEST_CYCLE]


@merged
def place(m: Ints, b: int) -> None:
    """Note what kind of command a bank waits for in the active queue, and for which request."""
    at = m[b + HEAD + m[MODE]]
    if m[b + HELD] == 1 or at < 0:
        kind = NONE
    elif m[b + ROW] < 0:
        kind = ACTIVATE
    elif m[b + HIT] >= 0:
        kind = COLUMN
        at = m[b + HIT]
    else:
        kind = PRECHARGE
    old = m[b + KIND]
    if old >= 0:
        m[WAITING + old * MAX_BANKS + m[b + INDEX]] = NOT_WAITING
        if m[old * BEST_SIZE + BEST_BANK] == b:
            m[old * BEST_SIZE + VALID] = 0
    m[b + KIND] = kind
    if kind >= 0:
        m[WAITING + kind * MAX_BANKS + m[b + INDEX]] = m[at + ENTRY] << BANK_BITS | m[b + INDEX]
        if legal_at(m, b, later_of(kind, m[MODE])) <= m[kind * BEST_SIZE + BEST_CYCLE]:
            m[kind * BEST_SIZE + VALID] = 0


@merged
def find_hit(m: Ints, b: int, slot: int) -> None:
    """Note the oldest request for the open row, from `slot` on in the bank's list of the active queue."""
    row = m[b + ROW]
    while slot >= 0 and m[slot + SLOT_ROW] != row:
        slot = m[slot + NEXT]
    m[b + HIT] = slot


@merged
def patience_ends(m: Ints) -> int:
    """Return when the oldest request of both queues starves, FOREVER if there is none."""
    entry = FOREVER
    for queue in range(2):
        if m[OLDEST + queue] >= 0:
            entry = min(entry, m[m[OLDEST + queue] + ENTRY])
    return entry if entry == FOREVER else entry + m[STARVATION]


@merged
def enqueue(m: Ints, block: Ints, i: int, cycle: int, start: int) -> None:
    """Queue request i of a block, which enters in `cycle`; its latency counts from `start`."""
    queue, b, row, burst = block[i, R_WRITE], block[i, R_BANK], block[i, R_ROW], block[i, R_BURST]
    m[SPARE + queue] -= 1
    at = m[FREE + queue * MAX_QUEUE + m[SPARE + queue]]
    m[at + NEXT] = -1
    m[at + BANK] = b
    m[at + SLOT_ROW] = row
    m[at + SLOT_COLUMN] = block[i, R_COLUMN]
    m[at + ENTRY] = cycle
    m[at + START] = start
    m[at + NUMBER] = block[i, R_NUMBER]
    m[at + BURST] = burst
    m[at + EFFORT] = 0
    youngest = m[YOUNGEST + queue]
    m[at + OLDER] = youngest
    m[at + YOUNGER] = -1
    if youngest >= 0:
        m[youngest + YOUNGER] = at
    else:
        m[OLDEST + queue] = at
        m[PATIENCE] = min(m[PATIENCE], cycle + m[STARVATION])
    m[YOUNGEST + queue] = at
    m[READS + queue] += 1
    m[BURSTS + queue * FILTER + bucket_of(burst)] += 1
    m[m[b + RANK] + QUEUED] += 1
    tail = m[b + TAIL + queue]
    if tail >= 0:
        m[tail + NEXT] = at
    else:
        m[b + HEAD + queue] = at
    m[b + TAIL + queue] = at
    if queue == m[MODE]:
        if m[b + HIT] < 0 and m[b + ROW] == row:
            m[b + HIT] = at
            place(m, b)
        elif tail < 0:
            place(m, b)


@merged
def dequeue(m: Ints, queue: int, at: int) -> None:
    """Take a request whose column command was issued out of its queue."""
    b = m[at + BANK]
    older, younger = m[at + OLDER], m[at + YOUNGER]
    if older >= 0:
        m[older + YOUNGER] = younger
    else:
        m[OLDEST + queue] = younger
        m[PATIENCE] = patience_ends(m)
    if younger >= 0:
        m[younger + OLDER] = older
    else:
        m[YOUNGEST + queue] = older
    before = -1
    if m[b + HEAD + queue] == at:
        m[b + HEAD + queue] = m[at + NEXT]
    else:
        before = m[b + HEAD + queue]
        while m[before + NEXT] != at:
            before = m[before + NEXT]
        m[before + NEXT] = m[at + NEXT]
    if m[b + TAIL + queue] == at:
        m[b + TAIL + queue] = before
    m[FREE + queue * MAX_QUEUE + m[SPARE + queue]] = at
    m[SPARE + queue] += 1
    m[READS + queue] -= 1
    m[BURSTS + queue * FILTER + bucket_of(m[at + BURST])] -= 1
    m[m[b + RANK] + QUEUED] -= 1


@borrowing
def relist(m: Ints) -> None:
    """Note anew what all banks wait for, because the active queue has changed."""
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        m[b + HIT] = NONE
        if m[b + ROW] >= 0:
            find_hit(m, b, m[b + HEAD + m[MODE]])
        place(m, b)
    for kind in range(KINDS):
        m[kind * BEST_SIZE + VALID] = 0


@merged
def switch_mode(m: Ints) -> None:
    """Change between reading and writing if the queues call for it."""
    reads, writes = m[READS], m[WRITES]
    if m[MODE] == 0:
        if writes >= m[HIGH] or (reads == 0 and writes > 0):
            m[MODE] = 1
            relist(m)
    elif writes == 0 or (writes <= m[LOW] and reads > 0):
        m[MODE] = 0
        relist(m)
