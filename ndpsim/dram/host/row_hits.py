"""Trains: a tight loop in place of the general rules of the host controller, while every queued request is a row hit.

Then no row command is needed, and requests are served in order of entry while the oldest is legal as early as any
other. When that ends, the general rules take over in the same cycle.
"""

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.issue import count_done, latency_bucket, raise_bank, record
from ndpsim.dram.host.queue import dequeue, enqueue, relist
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, merged

TRAIN_AFTER = 8  # column commands in a row after which it is worth looking for a train


@borrowing
def _can_start(m: Ints) -> bool:
    """Tell whether the general rules reduce to those of a train."""
    mode = m[host.MODE]
    for window in range(host.WINDOWS, host.WINDOWS + 8 * m[host.N_WINDOWS], 8):
        if (
            m[window] == commands.RD + mode
        ):  # would need every column command of the train, not only the last of each bank
            return False
    if (
        m[host.ROW_POLICY] != 0
        or m[host.DEPENDENT] == 1
        or m[host.READS + 1 - mode] > 0
        or m[host.UNDER_WAY] > 0
        or m[host.OWING] == 1
    ):
        return False
    at = m[host.OLDEST + mode]
    while at >= 0:
        if m[at + host.SLOT_ROW] != m[m[at + host.BANK] + host.ROW]:
            return False
        at = m[at + host.YOUNGER]
    return m[host.READS + mode] > 0


@merged
def _delay_others(m: Ints, mode: int, b: int, cycle: int) -> None:
    """Raise the constraints on later commands of the same kind; all others are raised at the end of the train."""
    later, r = commands.RD + mode, m[b + host.RANK]
    begin = host.READY + later * host.MAX_BANKS + m[b + host.GROUP_FIRST]
    for at in range(begin, begin + m[host.GROUP_BANKS]):
        m[at] = max(m[at], cycle + m[host.SAME_GROUP + mode])
    own = host.READY + later * host.MAX_BANKS + m[b + host.INDEX]
    m[own] = max(m[own], cycle + m[host.SAME_BANK + mode])
    ranks = m[host.RANKS_PER_BUS]
    if ranks > 1:
        begin = r - m[r + host.RANK_NUMBER] % ranks * host.RANK_SIZE
        for other in range(begin, begin + ranks * host.RANK_SIZE, host.RANK_SIZE):
            if other != r:
                m[other + host.RANK_READY + later] = max(
                    m[other + host.RANK_READY + later], cycle + m[host.SAME_OTHER + mode]
                )
    m[r + host.RANK_READY + later] = max(m[r + host.RANK_READY + later], cycle + m[host.SAME_RANK + mode])


@merged
def _earliest(m: Ints, later: int) -> int:
    """Return a lower bound of the cycle in which any rank allows the command."""
    cycle = m[host.RANK_READY + later]
    for r in range(host.RANK_SIZE, m[host.N_RANKS] * host.RANK_SIZE, host.RANK_SIZE):
        cycle = min(cycle, m[r + host.RANK_READY + later])
    return cycle


@borrowing
def _settle(m: Ints, block: Ints, mode: int, begun: int, head: int, tail: int, issued: int) -> None:
    """Bring the queue and all constraints up to date after a train: rows head to tail of the block are still queued."""
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        if m[b + host.USED] >= begun:
            raise_bank(m, commands.RD + mode, b, m[b + host.USED])
    for i in range(head, tail):
        entry = m[host.ENTERED_AT + (i & host.MAX_QUEUE - 1)]
        enqueue(m, block, i, entry, block[i, host.R_ARRIVAL] if m[host.TIMED] == 1 else entry)
    m[host.ENTERED] += tail - m[host.TAKEN]
    m[host.TAKEN] = tail
    if issued > 0:
        free = m[host.LAST_COLUMN] + m[host.CLOCKS + commands.RD + mode]
        m[host.COLUMN_BUS] = free
        if m[host.TWO_BUSSES] == 0:
            m[host.ROW_BUS] = free
    relist(m)
    m[host.STREAK] = 0


@merged
def _let_in(m: Ints, block: Ints, final: bool, cycle: int, tail: int, now: int, waiting: int
            ) -> tuple[int, int, int, bool]:  # fmt: skip
    """Let requests from `tail` on enter before `cycle`; return the new tail, now and waiting, and if the train ends.

    It ends before a request that is no row hit or is for the other queue, and where the next request is not known yet.
    """
    mode = m[host.MODE]
    while waiting < m[host.READ_QUEUE + mode]:
        if tail == block.shape[0]:
            return tail, now, waiting, not final
        entry = max(now, block[tail, host.R_ARRIVAL])
        if entry >= cycle:
            break
        if block[tail, host.R_WRITE] != mode or m[block[tail, host.R_BANK] + host.ROW] != block[tail, host.R_ROW]:
            return tail, now, waiting, True
        m[host.ENTERED_AT + (tail & host.MAX_QUEUE - 1)] = entry
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
    mode = m[host.MODE]
    later, clocks, latency = commands.RD + mode, m[host.CLOCKS + commands.RD + mode], m[host.READ_CLOCKS + mode]
    places, stop, timed = m[host.READ_QUEUE + mode], min(m[host.REFRESH_CHECK], until), m[host.TIMED] == 1
    of_rank, of_group = max(m[host.SAME_RANK + mode], clocks), m[host.SAME_GROUP + mode]
    ready = host.READY + later * host.MAX_BANKS
    first, last = head, m[host.LAST_COLUMN]
    cycle = max(max(now, m[host.COLUMN_BUS]), max(last + clocks, m[host.RANK_READY + later]))
    total = longest = 0
    histogram = host.LATENCY + mode * host.BUCKETS
    while waiting > 0:
        b = block[head, host.R_BANK]
        group = host.GROUP_LAST + m[b + host.GROUP_FIRST]
        if max(m[ready + b // host.BANK_SIZE], m[group] + of_group) > cycle or cycle >= stop:
            break
        tail, now, waiting, ended = _let_in(m, block, final, cycle, tail, now, waiting)
        if ended:
            break
        start = block[head, host.R_ARRIVAL] if timed else m[host.ENTERED_AT + (head & host.MAX_QUEUE - 1)]
        took = cycle + latency - start
        total += took
        longest = max(longest, took)
        m[histogram + latency_bucket(took)] += 1
        m[group] = cycle
        m[b + host.USED] = cycle
        last = cycle
        now = max(now, cycle if waiting < places else cycle + 1)
        cycle += of_rank
        head += 1
        waiting -= 1
    m[host.DONE_READS + mode] += head - first
    m[host.HITS] += head - first
    m[host.LATENCY_SUM + mode] += total
    m[host.LONGEST + mode] = max(m[host.LONGEST + mode], longest)
    m[host.ISSUED + later] += head - first
    if head > first:
        m[host.LAST_DONE] = max(m[host.LAST_DONE], last + latency)
        m[host.LAST_COLUMN] = last
    return head, tail, now


@borrowing
def train(m: Ints, block: Ints, final: bool, until: int, log: Ints) -> None:
    """Serve a train, if there is one, up to a cycle from which the general rules go on."""
    if not _can_start(m):
        m[host.STREAK] = 0
        return
    mode, now = m[host.MODE], m[host.NOW]
    later, begun, floor = commands.RD + mode, now, max(now, m[host.COLUMN_BUS])
    waiting = m[host.READS + mode]
    head = tail = m[host.TAKEN]
    issued = 0
    tight = log.shape[0] == 0 and m[host.N_RANKS] == 1 and m[host.SAME_BANK + mode] <= m[host.SAME_GROUP + mode]
    for group in range(0, m[host.N_BANKS], m[host.GROUP_BANKS]):
        m[host.GROUP_LAST + group] = host.NEVER
    while waiting > 0:
        at = m[host.OLDEST + mode]
        if at < 0 and tight:
            begin = head
            head, tail, now = _run_on(m, block, final, until, head, tail, now, waiting)
            issued += head - begin
            break
        b = m[at + host.BANK] if at >= 0 else block[head, host.R_BANK]
        r = m[b + host.RANK]
        legal = m[r + host.RANK_READY + later]
        cycle = max(floor, _earliest(m, later))
        if max(legal, m[host.READY + later * host.MAX_BANKS + m[b + host.INDEX]]) > cycle:
            break
        if cycle >= m[host.REFRESH_CHECK] or cycle >= until:
            break
        tail, now, waiting, ended = _let_in(m, block, final, cycle, tail, now, waiting)
        if ended or (log.shape[0] > 0 and m[host.LOGGED] + 4 > log.shape[0]):
            break
        ends = cycle + m[host.READ_CLOCKS + mode]
        if at >= 0:
            row, column = m[at + host.SLOT_ROW], m[at + host.SLOT_COLUMN]
            count_done(m, mode, m[at + host.START], ends, m[at + host.EFFORT])
            dequeue(m, mode, at)
        else:
            row, column = block[head, host.R_ROW], block[head, host.R_COLUMN]
            start = (
                block[head, host.R_ARRIVAL] if m[host.TIMED] == 1 else m[host.ENTERED_AT + (head & host.MAX_QUEUE - 1)]
            )
            count_done(m, mode, start, ends, 0)
            head += 1
        if log.shape[0] > 0:
            record(m, log, cycle, later, m[b + host.INDEX], row, column)
        m[r + host.ISSUED + later] += 1
        m[b + host.USED] = cycle
        m[host.LAST_COLUMN] = cycle
        _delay_others(m, mode, b, cycle)
        now = max(now, cycle if waiting < m[host.READ_QUEUE + mode] else cycle + 1)
        floor = cycle + m[host.CLOCKS + later]
        waiting -= 1
        issued += 1
    m[host.NOW] = now
    _settle(m, block, mode, begun, head, tail, issued)
