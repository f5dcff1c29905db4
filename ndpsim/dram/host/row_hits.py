"""Trains: the general rules of the host controller in a tight loop, for as long as every queued request is a row hit.

Then no row command has a candidate, and requests are served in the order of their entry as long as the oldest is legal
as early as any could be. Whenever that ends, the general rules take over from the same cycle.
"""

from ndpsim.dram.host.constraint_table import RD
from ndpsim.dram.host.issue import count_done, latency_bucket, raise_bank, record
from ndpsim.dram.host.queue import dequeue, enqueue, relist
from ndpsim.dram.host.state import (
    BANK,
    BANK_SIZE,
    BUCKETS,
    CLOCKS,
    COLUMN_BUS,
    DEPENDENT,
    DONE_READS,
    EFFORT,
    ENTERED,
    ENTERED_AT,
    GROUP_BANKS,
    GROUP_FIRST,
    GROUP_LAST,
    HITS,
    INDEX,
    ISSUED,
    LAST_COLUMN,
    LAST_DONE,
    LATENCY,
    LATENCY_SUM,
    LOGGED,
    LONGEST,
    MAX_BANKS,
    MAX_QUEUE,
    MODE,
    N_BANKS,
    N_RANKS,
    N_WINDOWS,
    NEVER,
    NOW,
    OLDEST,
    OWING,
    R_ARRIVAL,
    R_BANK,
    R_COLUMN,
    R_ROW,
    R_WRITE,
    RANK,
    RANK_NUMBER,
    RANK_READY,
    RANK_SIZE,
    RANKS_PER_BUS,
    READ_CLOCKS,
    READ_QUEUE,
    READS,
    READY,
    REFRESH_CHECK,
    ROW,
    ROW_BUS,
    ROW_POLICY,
    SAME_BANK,
    SAME_GROUP,
    SAME_OTHER,
    SAME_RANK,
    SLOT_COLUMN,
    SLOT_ROW,
    START,
    STREAK,
    TAKEN,
    TIMED,
    TWO_BUSSES,
    UNDER_WAY,
    USED,
    WINDOWS,
    YOUNGER,
    Ints,
)
from ndpsim.jit import borrowing, merged

TRAIN_AFTER = 8  # column commands in a row after which it is worth looking for a train


@borrowing
def _can_start(m: Ints) -> bool:
    """Tell whether the general rules reduce to those of a train."""
    mode = m[MODE]
    for window in range(WINDOWS, WINDOWS + 8 * m[N_WINDOWS], 8):
        if m[window] == RD + mode:  # would need every column command of the train, not only the last of each bank
            return False
    if m[ROW_POLICY] != 0 or m[DEPENDENT] == 1 or m[READS + 1 - mode] > 0 or m[UNDER_WAY] > 0 or m[OWING] == 1:
        return False
    at = m[OLDEST + mode]
    while at >= 0:
        if m[at + SLOT_ROW] != m[m[at + BANK] + ROW]:
            return False
        at = m[at + YOUNGER]
    return m[READS + mode] > 0


@merged
def _delay_others(m: Ints, mode: int, b: int, cycle: int) -> None:
    """Raise what delays coming commands of the same kind; all else is raised at the end of the train."""
    later, r = RD + mode, m[b + RANK]
    begin = READY + later * MAX_BANKS + m[b + GROUP_FIRST]
    for at in range(begin, begin + m[GROUP_BANKS]):
        m[at] = max(m[at], cycle + m[SAME_GROUP + mode])
    own = READY + later * MAX_BANKS + m[b + INDEX]
    m[own] = max(m[own], cycle + m[SAME_BANK + mode])
    ranks = m[RANKS_PER_BUS]
    if ranks > 1:
        begin = r - m[r + RANK_NUMBER] % ranks * RANK_SIZE
        for other in range(begin, begin + ranks * RANK_SIZE, RANK_SIZE):
            if other != r:
                m[other + RANK_READY + later] = max(m[other + RANK_READY + later], cycle + m[SAME_OTHER + mode])
    m[r + RANK_READY + later] = max(m[r + RANK_READY + later], cycle + m[SAME_RANK + mode])


@merged
def _earliest(m: Ints, later: int) -> int:
    """Return a cycle before which no rank allows the command."""
    cycle = m[RANK_READY + later]
    for r in range(RANK_SIZE, m[N_RANKS] * RANK_SIZE, RANK_SIZE):
        cycle = min(cycle, m[r + RANK_READY + later])
    return cycle


@borrowing
def _settle(m: Ints, block: Ints, mode: int, begun: int, head: int, tail: int, issued: int) -> None:
    """Bring the queue and all constraints up to date after a train: rows head to tail of the block are still queued."""
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        if m[b + USED] >= begun:
            raise_bank(m, RD + mode, b, m[b + USED])
    for i in range(head, tail):
        entry = m[ENTERED_AT + (i & MAX_QUEUE - 1)]
        enqueue(m, block, i, entry, block[i, R_ARRIVAL] if m[TIMED] == 1 else entry)
    m[ENTERED] += tail - m[TAKEN]
    m[TAKEN] = tail
    if issued > 0:
        free = m[LAST_COLUMN] + m[CLOCKS + RD + mode]
        m[COLUMN_BUS] = free
        if m[TWO_BUSSES] == 0:
            m[ROW_BUS] = free
    relist(m)
    m[STREAK] = 0


@merged
def _let_in(m: Ints, block: Ints, final: bool, cycle: int, tail: int, now: int, waiting: int
            ) -> tuple[int, int, int, bool]:  # fmt: skip
    """Let requests from `tail` on enter before `cycle`; return the new tail, now and waiting, and if the train ends.

    It ends before a request that is no hit or of the other queue, and where it is not known what comes.
    """
    mode = m[MODE]
    while waiting < m[READ_QUEUE + mode]:
        if tail == block.shape[0]:
            return tail, now, waiting, not final
        entry = max(now, block[tail, R_ARRIVAL])
        if entry >= cycle:
            break
        if block[tail, R_WRITE] != mode or m[block[tail, R_BANK] + ROW] != block[tail, R_ROW]:
            return tail, now, waiting, True
        m[ENTERED_AT + (tail & MAX_QUEUE - 1)] = entry
        now = entry + 1
        tail += 1
        waiting += 1
    return tail, now, waiting, False


@merged
def _run_on(m: Ints, block: Ints, final: bool, until: int, head: int, tail: int, now: int, waiting: int
            ) -> tuple[int, int, int]:  # fmt: skip
    """Go on with a train in a memory of one rank when only requests of the block are left; return head, tail and now.

    What is the same for all requests is kept out of the memory. A group's last column command stands for the
    constraints that it raises on its banks.
    """
    mode = m[MODE]
    later, clocks, latency = RD + mode, m[CLOCKS + RD + mode], m[READ_CLOCKS + mode]
    places, stop, timed = m[READ_QUEUE + mode], min(m[REFRESH_CHECK], until), m[TIMED] == 1
    of_rank, of_group = max(m[SAME_RANK + mode], clocks), m[SAME_GROUP + mode]
    ready = READY + later * MAX_BANKS
    first, last = head, m[LAST_COLUMN]
    cycle = max(max(now, m[COLUMN_BUS]), max(last + clocks, m[RANK_READY + later]))
    total = longest = 0
    histogram = LATENCY + mode * BUCKETS
    while waiting > 0:
        b = block[head, R_BANK]
        group = GROUP_LAST + m[b + GROUP_FIRST]
        if max(m[ready + b // BANK_SIZE], m[group] + of_group) > cycle or cycle >= stop:
            break
        tail, now, waiting, ended = _let_in(m, block, final, cycle, tail, now, waiting)
        if ended:
            break
        start = block[head, R_ARRIVAL] if timed else m[ENTERED_AT + (head & MAX_QUEUE - 1)]
        took = cycle + latency - start
        total += took
        longest = max(longest, took)
        m[histogram + latency_bucket(took)] += 1
        m[group] = cycle
        m[b + USED] = cycle
        last = cycle
        now = max(now, cycle if waiting < places else cycle + 1)
        cycle += of_rank
        head += 1
        waiting -= 1
    m[DONE_READS + mode] += head - first
    m[HITS] += head - first
    m[LATENCY_SUM + mode] += total
    m[LONGEST + mode] = max(m[LONGEST + mode], longest)
    m[ISSUED + later] += head - first
    if head > first:
        m[LAST_DONE] = max(m[LAST_DONE], last + latency)
        m[LAST_COLUMN] = last
    return head, tail, now


@borrowing
def train(m: Ints, block: Ints, final: bool, until: int, log: Ints) -> None:
    """Serve a train, if there is one, up to a cycle from which the general rules go on."""
    if not _can_start(m):
        m[STREAK] = 0
        return
    mode, now = m[MODE], m[NOW]
    later, begun, floor = RD + mode, now, max(now, m[COLUMN_BUS])
    waiting = m[READS + mode]
    head = tail = m[TAKEN]
    issued = 0
    tight = log.shape[0] == 0 and m[N_RANKS] == 1 and m[SAME_BANK + mode] <= m[SAME_GROUP + mode]
    for group in range(0, m[N_BANKS], m[GROUP_BANKS]):
        m[GROUP_LAST + group] = NEVER
    while waiting > 0:
        at = m[OLDEST + mode]
        if at < 0 and tight:
            begin = head
            head, tail, now = _run_on(m, block, final, until, head, tail, now, waiting)
            issued += head - begin
            break
        b = m[at + BANK] if at >= 0 else block[head, R_BANK]
        r = m[b + RANK]
        legal = m[r + RANK_READY + later]
        cycle = max(floor, _earliest(m, later))
        if max(legal, m[READY + later * MAX_BANKS + m[b + INDEX]]) > cycle:
            break
        if cycle >= m[REFRESH_CHECK] or cycle >= until:
            break
        tail, now, waiting, ended = _let_in(m, block, final, cycle, tail, now, waiting)
        if ended or (log.shape[0] > 0 and m[LOGGED] + 4 > log.shape[0]):
            break
        ends = cycle + m[READ_CLOCKS + mode]
        if at >= 0:
            row, column = m[at + SLOT_ROW], m[at + SLOT_COLUMN]
            count_done(m, mode, m[at + START], ends, m[at + EFFORT])
            dequeue(m, mode, at)
        else:
            row, column = block[head, R_ROW], block[head, R_COLUMN]
            start = block[head, R_ARRIVAL] if m[TIMED] == 1 else m[ENTERED_AT + (head & MAX_QUEUE - 1)]
            count_done(m, mode, start, ends, 0)
            head += 1
        if log.shape[0] > 0:
            record(m, log, cycle, later, m[b + INDEX], row, column)
        m[r + ISSUED + later] += 1
        m[b + USED] = cycle
        m[LAST_COLUMN] = cycle
        _delay_others(m, mode, b, cycle)
        now = max(now, cycle if waiting < m[READ_QUEUE + mode] else cycle + 1)
        floor = cycle + m[CLOCKS + later]
        waiting -= 1
        issued += 1
    m[NOW] = now
    _settle(m, block, mode, begun, head, tail, issued)
