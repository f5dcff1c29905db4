"""The host controller of a channel without pseudo-channels, from event to event; see HOST_CONTROLLER.md.

Between two events (a request enters, a command is issued, a refresh or a starving request falls due) nothing changes,
so the clock jumps. `advance` runs a channel until it has no more requests; everything that it knows is in its memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands, row_hits
from ndpsim.dram.host import state as host
from ndpsim.dram.host.issue import activate, column, count_done, hold, in_turn, precharge, precharge_all, refresh
from ndpsim.dram.host.queue import choose, enqueue, find_burst, legal_at, switch_mode
from ndpsim.dram.host.row_hits import train
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, merged, pointer_to

# Why `advance` returned
DONE, NEEDS_REQUESTS, LOG_FULL, AT_LIMIT = range(4)
# What comes after a block: more requests, nothing, or nothing for this channel while others go on
MORE, NOTHING_MORE, OTHERS_GO_ON = range(3)
# What goes on the row bus next
REFRESH, TO_ACTIVATE, TO_PRECHARGE, TO_CLOSE = range(4)


@merged
def entry_cycle(m: Ints, block: Ints, done: Ints, i: int, forwarded: bool, cycle: int) -> int:
    """Return the first cycle in which the next request can enter, FOREVER if something else must happen first."""
    queue = block[i, host.R_WRITE]
    if m[host.READS + queue] >= m[host.READ_QUEUE + queue] and not forwarded:
        return host.FOREVER
    if queue == 1 and find_burst(m, 0, block[i, host.R_BURST]) >= 0:
        return host.FOREVER
    cycle = max(cycle, block[i, host.R_ARRIVAL])
    if m[host.DEPENDENT] == 1 and block[i, host.R_AFTER] > 0:
        ready = done[block[i, host.R_NUMBER] - block[i, host.R_AFTER] - m[host.ORIGIN]]
        if ready < 0:
            return host.FOREVER
        cycle = max(cycle, ready)
    return cycle


@merged
def enter(m: Ints, block: Ints, done: Ints, i: int, forwarded: bool, cycle: int) -> None:
    """Let the next request enter: queue it, or forward a queued write to it."""
    start = block[i, host.R_ARRIVAL] if m[host.TIMED] == 1 else cycle
    m[host.TAKEN] = i + 1
    m[host.ENTERED] += 1
    if forwarded:
        ends = cycle + m[host.BURST_CLOCKS]
        m[host.FORWARDED] += 1
        count_done(m, 0, start, ends, 0)
        if m[host.DEPENDENT] == 1:
            done[block[i, host.R_NUMBER] - m[host.ORIGIN]] = ends
        return
    enqueue(m, block, i, cycle, start)


@borrowing
def _set_is_wanted(m: Ints, s: Any, r: int) -> bool:
    """Tell whether a queued request or an offered NDP burst is for the banks that the rank refreshes next."""
    if m[host.SETS] == 0:
        wanted = m[r + host.QUEUED] > 0
        if s is not None:
            wanted = wanted or s[r // host.RANK_SIZE * shared.SHARE + shared.OFFERED] > 0
        return wanted
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        wanted = m[b + host.HEAD] >= 0 or m[b + host.HEAD + 1] >= 0
        if s is not None:
            wanted = wanted or s[shared.OFFERS + m[b + host.INDEX]] > 0
        if wanted and in_turn(m, b, r):
            return True
    return False


@borrowing
def begin_refreshes(m: Ints, s: Any, cycle: int) -> None:
    """Begin the refreshes that must begin in this cycle, and note when to look again.

    s: see `shared.state`, or None where no NDP unit shares the ranks.
    """
    owing = 0
    again = host.FOREVER
    for r in range(0, m[host.N_RANKS] * host.RANK_SIZE, host.RANK_SIZE):
        if m[r + host.REFRESHING] == 1:
            continue
        if cycle < m[r + host.DUE]:
            again = min(again, m[r + host.DUE])
            continue
        owed = (cycle - m[r + host.DUE]) // m[host.INTERVAL] + 1
        if owed > m[host.POSTPONE] or not _set_is_wanted(m, s, r):
            hold(m, r)
            if s is not None:
                s[r // host.RANK_SIZE * shared.SHARE + shared.CURRENT] = 0
        else:
            owing = 1
            again = min(again, m[r + host.DUE] + m[host.POSTPONE] * m[host.INTERVAL])
    m[host.OWING] = owing
    m[host.REFRESH_CHECK] = again


@borrowing
def refresh_step(m: Ints, r: int, floor: int) -> tuple[int, int]:
    """Return when the next command of a refresh under way can go, and its bank (-1 for the rank's PREA or refresh)."""
    if m[host.SETS] == 0:
        later = commands.PREA if m[r + host.OPEN_BANKS] > 0 else commands.REF
        return max(floor, m[r + host.RANK_READY + later]), host.NONE
    cycle = host.FOREVER
    chosen = host.NONE
    ready = max(floor, m[r + host.RANK_READY + commands.REFSET])
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        if in_turn(m, b, r):
            if m[b + host.ROW] >= 0:
                t = max(floor, legal_at(m, b, commands.PRE))
                if t < cycle:
                    cycle, chosen = t, b
            ready = max(ready, m[host.READY + commands.REFSET * host.MAX_BANKS + m[b + host.INDEX]])
    if chosen >= 0:
        return cycle, chosen
    return ready, host.NONE


@borrowing
def _queued_for_row(m: Ints, b: int) -> bool:
    """Tell whether a queued request is for the row that is open in the bank."""
    for queue in range(2):
        at = m[b + host.HEAD + queue]
        while at >= 0:
            if m[at + host.SLOT_ROW] == m[b + host.ROW]:
                return True
            at = m[at + host.NEXT]
    return False


@borrowing
def idle_row(m: Ints, s: Any, floor: int) -> tuple[int, int]:
    """Return when the timeout policy next closes a bank, and which.

    With NDP units in the ranks (s is not None), ranks that yield are passed over, and banks that these units use.
    """
    cycle = host.FOREVER
    chosen = host.NONE
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        if m[b + host.ROW] < 0 or m[b + host.HELD] == 1:
            continue
        begin = max(floor, m[b + host.USED] + m[host.ROW_TIMEOUT])
        if s is not None:
            q = m[b + host.RANK] // host.RANK_SIZE * shared.SHARE
            if s[shared.OFFERS + m[b + host.INDEX]] > 0 or s[q + shared.YIELDS] == 1 or s[q + shared.COLUMN_BANK] == b:
                continue
            begin = max(begin, s[q + shared.RANK_BUS + shared.ROWS])
        t = max(begin, legal_at(m, b, commands.PRE))
        if t < cycle and not _queued_for_row(m, b):
            cycle, chosen = t, b
    return cycle, chosen


@borrowing
def oldest_request(m: Ints) -> tuple[int, int]:
    """Return the queue and place of the request that entered first, or -1, -1."""
    read, write = m[host.OLDEST], m[host.OLDEST_W]
    if read < 0:
        return (1, write) if write >= 0 else (host.NONE, host.NONE)
    if write >= 0 and m[write + host.ENTRY] < m[read + host.ENTRY]:
        return 1, write
    return 0, read


@merged
def next_commands(m: Ints) -> tuple[int, int, int, int, int, int, int, int, int]:
    """Return the next commands on the column bus and on the row bus, and when to look again.

    That is: the queue and place of the request that gets the next column command, after its cycle; the cycle of the
    next row command, the request on whose behalf it is, its bank, what it does, and the rank that it refreshes; each
    the first that is legal, and of those the one that goes first (FOREVER: none). If both have one bus, they meet.
    """
    cycle = m[host.NOW]
    row_floor, column_floor = max(cycle, m[host.ROW_BUS]), max(cycle, m[host.COLUMN_BUS])
    patience = m[host.PATIENCE]

    column_cycle = row_cycle = host.FOREVER
    column_slot = row_slot = row_bank = host.NONE
    action = TO_CLOSE
    if cycle >= patience:
        queue, oldest = oldest_request(m)
        b = m[oldest + host.BANK]
        if m[b + host.HELD] == 0:
            if m[b + host.ROW] == m[oldest + host.SLOT_ROW]:
                column_cycle, column_slot = max(column_floor, legal_at(m, b, commands.RD + queue)), oldest
            else:
                closed = m[b + host.ROW] < 0
                action = TO_ACTIVATE if closed else TO_PRECHARGE
                row_cycle = max(row_floor, legal_at(m, b, commands.ACT if closed else commands.PRE))
                row_slot, row_bank = oldest, b
        patience = host.FOREVER
    else:
        queue = m[host.MODE]
        if m[host.READS + queue] > 0:
            column_cycle = choose(m, host.COLUMN, column_floor)
            if column_cycle < host.FOREVER:
                column_slot = m[m[host.BEST_BANK + host.COLUMN * host.BEST_SIZE] + host.HIT]
            row_cycle = choose(m, host.ACTIVATE, row_floor)
            row_bank = m[host.BEST_BANK + host.ACTIVATE * host.BEST_SIZE]
            action = TO_ACTIVATE
            t = choose(m, host.PRECHARGE, row_floor)
            if t < row_cycle:
                row_cycle, row_bank, action = t, m[host.BEST_BANK + host.PRECHARGE * host.BEST_SIZE], TO_PRECHARGE
            if row_cycle < host.FOREVER:
                row_slot = m[row_bank + host.HEAD + queue]
        if m[host.ROW_POLICY] == 2:
            t, b = idle_row(m, None, row_floor)
            if t < row_cycle:
                row_cycle, row_bank, row_slot, action = t, b, host.NONE, TO_CLOSE
    refreshed = host.NONE
    if m[host.UNDER_WAY] > 0:
        for r in range(0, m[host.N_RANKS] * host.RANK_SIZE, host.RANK_SIZE):
            if m[r + host.REFRESHING] == 1:
                t, b = refresh_step(m, r, row_floor)
                if t < row_cycle or (t == row_cycle and action != REFRESH):
                    row_cycle, row_bank, row_slot, action, refreshed = t, b, host.NONE, REFRESH, r
    look = min(m[host.REFRESH_CHECK], patience)
    return column_cycle, queue, column_slot, row_cycle, row_slot, row_bank, action, refreshed, look


@merged
def row_command(m: Ints, log: Ints, action: int, b: int, at: int, refreshed: int, cycle: int) -> None:
    """Issue what `next_commands` found for the row bus."""
    if action == TO_ACTIVATE:
        activate(m, log, b, at, cycle)
    elif action == REFRESH and b < 0:
        if m[host.SETS] == 0 and m[refreshed + host.OPEN_BANKS] > 0:
            precharge_all(m, log, refreshed, cycle)
        else:
            refresh(m, log, refreshed, cycle)
    else:
        precharge(m, log, b, at, cycle)


@merged
def _step(m: Ints, log: Ints, done: Ints, entry: int, until: int) -> bool:
    """Go to the next event and issue its commands; False if there was none, and only the clock moved on."""
    cycle = m[host.NOW]
    column_cycle, queue, column_slot, row_cycle, row_slot, row_bank, action, refreshed, look = next_commands(m)
    event = min(min(column_cycle, row_cycle), entry)
    m[host.EVENT] = min(event, look)
    if m[host.EVENT] >= until:
        m[host.NOW] = until
        return False
    if look > cycle and look <= event:
        m[host.NOW] = look
        return False
    m[host.NOW] = event
    one_bus = m[host.TWO_BUSSES] == 0
    both = column_cycle == event and row_cycle == event
    if column_cycle == event and not (both and one_bus and action == REFRESH):
        column(m, log, done, queue, column_slot, event)
        m[host.STREAK] += 1
    if row_cycle == event and not (both and one_bus and action != REFRESH):
        m[host.STREAK] = 0
        row_command(m, log, action, row_bank, row_slot, refreshed, event)
    return True


@borrowing
def advance(m: Ints, block: Ints, after: int, until: int, log: Ints, done: Ints
            ) -> int:  # fmt: skip
    """Run a channel until its requests run out, the log has no room, or cycle `until` is reached; say which.

    after: MORE, NOTHING_MORE or OTHERS_GO_ON. log: records [n, 5] (`RECORD`), none kept if n = 0; at least 4.
    """
    requests = block.shape[0]
    while True:
        cycle = m[host.NOW]
        if log.shape[0] > 0 and m[host.LOGGED] + 4 > log.shape[0]:
            return LOG_FULL
        if cycle >= until:
            m[host.EVENT] = max(m[host.EVENT], cycle)
            return AT_LIMIT
        i = m[host.TAKEN]
        entry = host.FOREVER
        forwarded = False
        if i < requests:
            forwarded = block[i, host.R_WRITE] == 0 and find_burst(m, 1, block[i, host.R_BURST]) >= 0
            entry = entry_cycle(m, block, done, i, forwarded, cycle)
        elif after == MORE:
            return NEEDS_REQUESTS
        elif after == NOTHING_MORE and m[host.READS] + m[host.WRITES] == 0:
            m[host.EVENT] = host.FOREVER
            return DONE
        if cycle >= m[host.REFRESH_CHECK] or m[host.OWING] == 1:
            begin_refreshes(m, None, cycle)
        switch_mode(m)
        if m[host.STREAK] >= row_hits.TRAIN_AFTER:
            train(m, block, after == NOTHING_MORE, until, log)
            continue
        if _step(m, log, done, entry, until):
            if m[host.NOW] == entry:
                enter(m, block, done, i, forwarded, entry)
            m[host.NOW] += 1


@borrowing
def run_channel(state: NDArray[np.int64], k: int, block: Ints, bounds: Ints, after: int, until: int,
                log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run channel k of state [channels, SIZE] as far as its requests, block[bounds[k]:bounds[k + 1]], reach.

    See `advance`; log: records [channels, n, 5].
    """
    return advance(pointer_to(state[k]), block[bounds[k] : bounds[k + 1]], after, until, log[k], done)


@borrowing
def begin_together(state: NDArray[np.int64]) -> int:
    """Return the cycle up to which each channel can run alone at first, before any of them has planned a command."""
    limit = host.FOREVER
    for k in range(state.shape[0]):
        m = state[k]
        m[host.EVENT] = m[host.NOW]
        limit = min(limit, m[host.NOW] + min(m[host.BURST_CLOCKS], min(m[host.READ_CLOCKS], m[host.WRITE_CLOCKS])))
    return limit


@borrowing
def served(state: NDArray[np.int64]) -> int:
    """Return the number of requests that got their column command, or were forwarded, in all channels."""
    total = 0
    for k in range(state.shape[0]):
        total += state[k, host.ENTERED] - state[k, host.READS] - state[k, host.WRITES]
    return total


@borrowing
def go_on_together(state: NDArray[np.int64], limit: int, idle: bool) -> int:
    """Return the cycle up to which each channel, now at `limit`, can run alone.

    idle: no request was served since the channels were last looked at, so that none can enter earlier than its channel
    knew then, and the clock may jump to the first event of all.
    """
    following = host.FOREVER
    if idle:
        for k in range(state.shape[0]):
            following = min(following, state[k, host.EVENT])
    begin = limit if following == host.FOREVER else max(limit, following)
    return begin + min(state[0, host.BURST_CLOCKS], min(state[0, host.READ_CLOCKS], state[0, host.WRITE_CLOCKS]))


@borrowing
def run_together(state: NDArray[np.int64], block: Ints, bounds: Ints, after: int, log: NDArray[np.int64], done: Ints
                 ) -> int:  # fmt: skip
    """Run all channels in step, because a request may depend on one in another channel.

    What happens in cycle c is known elsewhere no earlier than c + the shortest time from issue (or forwarding) to done:
    so each channel can run alone for that long after the earliest event of all.
    """
    limit = begin_together(state)
    while True:
        before = served(state)
        waiting = False
        for k in range(state.shape[0]):
            why = advance(pointer_to(state[k]), block[bounds[k] : bounds[k + 1]], after, limit, log[k], done)
            if why in (LOG_FULL, NEEDS_REQUESTS):
                return why
            waiting |= why == AT_LIMIT
        if not waiting:
            return DONE
        limit = go_on_together(state, limit, served(state) == before)
