"""The queues of the host controller: which requests wait, per bank and by age, and what each bank needs next.

Every queued request is on two lists: those of its bank in its queue (oldest first) and those of its queue by age. In
the active queue every bank with requests waits for one kind of command: a column command, an ACT, or a PRE. `choose`
finds the earliest and then oldest command of a kind.
"""

import numpy as np

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, merged


@merged
def bucket_of(burst: int) -> int:
    """Return the hash of a burst address."""
    return (burst ^ burst >> 10 ^ burst >> 20) & (host.FILTER - 1)


@merged
def find_burst(m: Ints, queue: int, burst: int) -> int:
    """Return the oldest request of a queue for this burst, or -1."""
    if m[host.READS + queue] == 0 or m[host.BURSTS + queue * host.FILTER + bucket_of(burst)] == 0:
        return -1
    slot = m[host.OLDEST + queue]
    while slot >= 0 and m[slot + host.BURST] != burst:
        slot = m[slot + host.YOUNGER]
    return slot


@merged
def later_of(kind: int, mode: int) -> int:
    """Return the command that a list of banks waits for."""
    if kind == host.COLUMN:
        return commands.RD + mode
    return commands.ACT if kind == host.ACTIVATE else commands.PRE


@merged
def legal_at(m: Ints, b: int, later: int) -> int:
    """Return the first cycle in which the constraints allow a command to a bank."""
    return max(
        m[host.READY + later * host.MAX_BANKS + m[b + host.INDEX]], m[m[b + host.RANK] + host.RANK_READY + later]
    )


@merged
def choose(m: Ints, kind: int, floor: int) -> int:
    """Return when the first command of a kind can go, no earlier than `floor`, and leave its bank in BEST_BANK.

    The previous choice stands unless its cycle has passed or something has made it invalid.
    """
    best = kind * host.BEST_SIZE
    if m[best + host.VALID] == 1 and m[best + host.BEST_CYCLE] >= floor:
        return m[best + host.BEST_CYCLE]
    return _choose_anew(m, kind, floor)


@borrowing
def _choose_anew(m: Ints, kind: int, floor: int) -> int:
    """Choose among all banks that wait for a command of this kind: the earliest, and the oldest of these.

    FOREVER if no bank waits for one. The choice is the smallest of a number for each bank: the clocks to wait in its
    upper bits, then the age, then the bank; a loop without a branch, which vectorizes. WAITING holds the lower two
    parts, or NOT_WAITING, which exceeds all numbers.
    """
    best = kind * host.BEST_SIZE
    later = later_of(kind, m[host.MODE])
    oldest = m[m[host.OLDEST + m[host.MODE]] + host.ENTRY] << host.BANK_BITS
    smallest = host.NOT_WAITING
    banks = np.uint64(m[host.RANK_BANKS])  # unsigned: no check for negative places keeps the loop from being vectorized
    ready = np.uint64(host.READY + later * host.MAX_BANKS)
    waiting = np.uint64(host.WAITING + kind * host.MAX_BANKS)
    for rank in range(m[host.N_RANKS]):
        earliest = max(floor, m[rank * host.RANK_SIZE + host.RANK_READY + later])
        for i in range(banks):
            wait = max(m[ready + i], earliest) - floor
            smallest = min(smallest, (wait << host.BANK_BITS + host.AGE_BITS) + m[waiting + i] - oldest)
        ready += banks
        waiting += banks
    m[best + host.VALID] = 1
    if smallest >= host.NOT_WAITING >> 1:
        m[best + host.BEST_CYCLE] = host.FOREVER
        return host.FOREVER
    m[best + host.BEST_CYCLE] = floor + (smallest >> host.BANK_BITS + host.AGE_BITS)
    m[best + host.BEST_BANK] = (smallest & (host.MAX_BANKS - 1)) * host.BANK_SIZE
    return m[best + host.BEST_CYCLE]


@merged
def place(m: Ints, b: int) -> None:
    """Note what kind of command a bank waits for in the active queue, and for which request."""
    at = m[b + host.HEAD + m[host.MODE]]
    if m[b + host.HELD] == 1 or at < 0:
        kind = host.NONE
    elif m[b + host.ROW] < 0:
        kind = host.ACTIVATE
    elif m[b + host.HIT] >= 0:
        kind = host.COLUMN
        at = m[b + host.HIT]
    else:
        kind = host.PRECHARGE
    old = m[b + host.KIND]
    if old >= 0:
        m[host.WAITING + old * host.MAX_BANKS + m[b + host.INDEX]] = host.NOT_WAITING
        if m[old * host.BEST_SIZE + host.BEST_BANK] == b:
            m[old * host.BEST_SIZE + host.VALID] = 0
    m[b + host.KIND] = kind
    if kind >= 0:
        m[host.WAITING + kind * host.MAX_BANKS + m[b + host.INDEX]] = (
            m[at + host.ENTRY] << host.BANK_BITS | m[b + host.INDEX]
        )
        if legal_at(m, b, later_of(kind, m[host.MODE])) <= m[kind * host.BEST_SIZE + host.BEST_CYCLE]:
            m[kind * host.BEST_SIZE + host.VALID] = 0


@merged
def find_hit(m: Ints, b: int, slot: int) -> None:
    """Note the oldest request for the open row, from `slot` on in the bank's list of the active queue."""
    row = m[b + host.ROW]
    while slot >= 0 and m[slot + host.SLOT_ROW] != row:
        slot = m[slot + host.NEXT]
    m[b + host.HIT] = slot


@merged
def patience_ends(m: Ints) -> int:
    """Return when the oldest request of both queues starves, FOREVER if there is none."""
    entry = host.FOREVER
    for queue in range(2):
        if m[host.OLDEST + queue] >= 0:
            entry = min(entry, m[m[host.OLDEST + queue] + host.ENTRY])
    return entry if entry == host.FOREVER else entry + m[host.STARVATION]


@merged
def enqueue(m: Ints, block: Ints, i: int, cycle: int, start: int) -> None:
    """Queue request i of a block, which enters in `cycle`; its latency counts from `start`."""
    queue, b, row, burst = block[i, host.R_WRITE], block[i, host.R_BANK], block[i, host.R_ROW], block[i, host.R_BURST]
    m[host.SPARE + queue] -= 1
    at = m[host.FREE + queue * host.MAX_QUEUE + m[host.SPARE + queue]]
    m[at + host.NEXT] = -1
    m[at + host.BANK] = b
    m[at + host.SLOT_ROW] = row
    m[at + host.SLOT_COLUMN] = block[i, host.R_COLUMN]
    m[at + host.ENTRY] = cycle
    m[at + host.START] = start
    m[at + host.NUMBER] = block[i, host.R_NUMBER]
    m[at + host.BURST] = burst
    m[at + host.EFFORT] = 0
    youngest = m[host.YOUNGEST + queue]
    m[at + host.OLDER] = youngest
    m[at + host.YOUNGER] = -1
    if youngest >= 0:
        m[youngest + host.YOUNGER] = at
    else:
        m[host.OLDEST + queue] = at
        m[host.PATIENCE] = min(m[host.PATIENCE], cycle + m[host.STARVATION])
    m[host.YOUNGEST + queue] = at
    m[host.READS + queue] += 1
    m[host.BURSTS + queue * host.FILTER + bucket_of(burst)] += 1
    m[m[b + host.RANK] + host.QUEUED] += 1
    tail = m[b + host.TAIL + queue]
    if tail >= 0:
        m[tail + host.NEXT] = at
    else:
        m[b + host.HEAD + queue] = at
    m[b + host.TAIL + queue] = at
    if queue == m[host.MODE]:
        if m[b + host.HIT] < 0 and m[b + host.ROW] == row:
            m[b + host.HIT] = at
            place(m, b)
        elif tail < 0:
            place(m, b)


@merged
def dequeue(m: Ints, queue: int, at: int) -> None:
    """Remove a request from its queue, after its column command was issued."""
    b = m[at + host.BANK]
    older, younger = m[at + host.OLDER], m[at + host.YOUNGER]
    if older >= 0:
        m[older + host.YOUNGER] = younger
    else:
        m[host.OLDEST + queue] = younger
        m[host.PATIENCE] = patience_ends(m)
    if younger >= 0:
        m[younger + host.OLDER] = older
    else:
        m[host.YOUNGEST + queue] = older
    before = -1
    if m[b + host.HEAD + queue] == at:
        m[b + host.HEAD + queue] = m[at + host.NEXT]
    else:
        before = m[b + host.HEAD + queue]
        while m[before + host.NEXT] != at:
            before = m[before + host.NEXT]
        m[before + host.NEXT] = m[at + host.NEXT]
    if m[b + host.TAIL + queue] == at:
        m[b + host.TAIL + queue] = before
    m[host.FREE + queue * host.MAX_QUEUE + m[host.SPARE + queue]] = at
    m[host.SPARE + queue] += 1
    m[host.READS + queue] -= 1
    m[host.BURSTS + queue * host.FILTER + bucket_of(m[at + host.BURST])] -= 1
    m[m[b + host.RANK] + host.QUEUED] -= 1


@borrowing
def relist(m: Ints) -> None:
    """Recompute what every bank waits for, after the active queue has changed."""
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        m[b + host.HIT] = host.NONE
        if m[b + host.ROW] >= 0:
            find_hit(m, b, m[b + host.HEAD + m[host.MODE]])
        place(m, b)
    for kind in range(host.KINDS):
        m[kind * host.BEST_SIZE + host.VALID] = 0


@merged
def switch_mode(m: Ints) -> None:
    """Change between reading and writing if the queues call for it."""
    reads, writes = m[host.READS], m[host.WRITES]
    if m[host.MODE] == 0:
        if writes >= m[host.HIGH] or (reads == 0 and writes > 0):
            m[host.MODE] = 1
            relist(m)
    elif writes == 0 or (writes <= m[host.LOW] and reads > 0):
        m[host.MODE] = 0
        relist(m)
