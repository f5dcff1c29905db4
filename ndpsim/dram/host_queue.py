"""The queues of the host controller: which requests wait, per bank and by age, and what each bank needs next.

Every queued request is on two lists: those of its bank in its queue (oldest first) and those of its queue by age. For
the active queue every bank with requests is also on the list of its kind: a column command, an ACT, or a PRE comes
next. Each of these three lists caches its choice, the earliest and then oldest of its commands.
"""

from ndpsim.dram.host_rules import ACT, PRE, RD
from ndpsim.dram.host_state import (
    ACTIVATE,
    BANK,
    BEST_AGE,
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
    KIND,
    KINDS,
    LENGTH,
    LISTED,
    LOW,
    MAX_BANKS,
    MAX_QUEUE,
    MODE,
    NEXT,
    NONE,
    NUMBER,
    OF_BANK,
    OF_GROUP,
    OF_RANK,
    OLDER,
    OLDEST,
    PLACE,
    PRECHARGE,
    QUEUED,
    R_BANK,
    R_BURST,
    R_COLUMN,
    R_NUMBER,
    R_ROW,
    R_WRITE,
    RANK,
    READS,
    READY,
    ROW,
    SLOT_COLUMN,
    SLOT_ROW,
    SPARE,
    START,
    TAIL,
    VALID,
    WRITES,
    YOUNGER,
    YOUNGEST,
    Ints,
)
from ndpsim.jit import njit


@njit
def bucket_of(burst: int) -> int:
    """Return the hash of a burst address."""
    return (burst ^ burst >> 10 ^ burst >> 20) & (FILTER - 1)


@njit
def find_burst(m: Ints, queue: int, burst: int) -> int:
    """Return the oldest request of a queue for this burst, or -1."""
    if m[BURSTS + queue * FILTER + bucket_of(burst)] == 0:
        return -1
    slot = m[OLDEST + queue]
    while slot >= 0 and m[slot + BURST] != burst:
        slot = m[slot + YOUNGER]
    return slot


@njit
def later_of(kind: int, mode: int) -> int:
    """Return the command that a list of banks waits for."""
    if kind == COLUMN:
        return RD + mode
    return ACT if kind == ACTIVATE else PRE


@njit
def legal_at(m: Ints, b: int, later: int) -> int:
    """Return the first cycle in which the constraints allow a command to a bank."""
    at = READY + later
    return max(m[at + m[b + OF_BANK]], max(m[at + m[b + OF_GROUP]], m[at + m[b + OF_RANK]]))


@njit
def _age(m: Ints, b: int, kind: int) -> int:
    return m[(m[b + HIT] if kind == COLUMN else m[b + HEAD + m[MODE]]) + ENTRY]


@njit
def choose(m: Ints, kind: int, floor: int) -> int:
    """Return when the list's first command can go, no earlier than `floor`, and leave its bank in BEST_BANK.

    Equal to looking at all banks of the list. The cached choice holds as long as its cycle has not passed.
    """
    best = kind * BEST_SIZE
    if m[best + VALID] == 1 and m[best + BEST_CYCLE] >= floor:
        return m[best + BEST_CYCLE]
    later = later_of(kind, m[MODE])
    cycle = age = FOREVER
    chosen = NONE
    listed = LISTED + kind * MAX_BANKS
    for i in range(listed, listed + m[LENGTH + kind]):
        b = m[i]
        t = max(floor, legal_at(m, b, later))
        if t <= cycle:
            a = _age(m, b, kind)
            if t < cycle or a < age:
                cycle, age, chosen = t, a, b
    m[best + BEST_CYCLE] = cycle
    m[best + BEST_AGE] = age
    m[best + BEST_BANK] = chosen
    m[best + VALID] = 1
    return cycle


@njit
def _offer(m: Ints, b: int, kind: int, floor: int) -> None:
    """Compare a bank that came onto a list, or whose choice became older, with the cached choice."""
    best = kind * BEST_SIZE
    if m[best + VALID] == 1:
        t = max(floor, legal_at(m, b, later_of(kind, m[MODE])))
        if t <= m[best + BEST_CYCLE]:
            a = _age(m, b, kind)
            if t < m[best + BEST_CYCLE] or a < m[best + BEST_AGE]:
                m[best + BEST_CYCLE], m[best + BEST_AGE], m[best + BEST_BANK] = t, a, b


@njit
def place(m: Ints, b: int, floor: int) -> None:
    """Put a bank on the list that its state calls for; `floor` is the next cycle."""
    if m[b + HELD] == 1 or m[b + HEAD + m[MODE]] < 0:
        kind = NONE
    elif m[b + ROW] < 0:
        kind = ACTIVATE
    else:
        kind = COLUMN if m[b + HIT] >= 0 else PRECHARGE
    old = m[b + KIND]
    if old >= 0:
        if m[BEST_BANK + old * BEST_SIZE] == b:
            m[VALID + old * BEST_SIZE] = 0
        if old == kind:
            _offer(m, b, kind, floor)
            return
        last = m[LENGTH + old] - 1
        moved = m[LISTED + old * MAX_BANKS + last]
        m[LISTED + old * MAX_BANKS + m[b + PLACE]] = moved
        m[moved + PLACE] = m[b + PLACE]
        m[LENGTH + old] = last
    m[b + KIND] = kind
    if kind >= 0:
        m[b + PLACE] = m[LENGTH + kind]
        m[LISTED + kind * MAX_BANKS + m[LENGTH + kind]] = b
        m[LENGTH + kind] += 1
        _offer(m, b, kind, floor)


@njit
def find_hit(m: Ints, b: int, slot: int) -> None:
    """Note the oldest request for the open row, from `slot` on in the bank's list of the active queue."""
    row = m[b + ROW]
    while slot >= 0 and m[slot + SLOT_ROW] != row:
        slot = m[slot + NEXT]
    m[b + HIT] = slot


@njit
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
            place(m, b, cycle + 1)
        elif tail < 0:
            place(m, b, cycle + 1)


@njit
def dequeue(m: Ints, queue: int, at: int) -> None:
    """Take a request whose column command was issued out of its queue."""
    b = m[at + BANK]
    older, younger = m[at + OLDER], m[at + YOUNGER]
    if older >= 0:
        m[older + YOUNGER] = younger
    else:
        m[OLDEST + queue] = younger
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


@njit
def relist(m: Ints) -> None:
    """Make the lists anew for the active queue."""
    for kind in range(KINDS):
        for i in range(m[LENGTH + kind]):
            m[m[LISTED + kind * MAX_BANKS + i] + KIND] = NONE
        m[LENGTH + kind] = 0
        m[VALID + kind * BEST_SIZE] = 0
    mode = m[MODE]
    at = m[OLDEST + mode]
    while at >= 0:
        b = m[at + BANK]
        if m[b + KIND] == NONE:
            m[b + HIT] = NONE
            if m[b + ROW] >= 0:
                find_hit(m, b, m[b + HEAD + mode])
            place(m, b, 0)
        at = m[at + YOUNGER]


@njit
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
