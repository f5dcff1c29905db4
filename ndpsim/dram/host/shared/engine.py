"""The controller of a channel whose ranks work for NDP units as well, event by event.

HOST_CONTROLLER.md ("Sharing the ranks with NDP units") is its specification. All that a cycle issues is chosen before
any of it is issued, so that every choice sees the state that the cycles before left.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host.constraint_table import ACT, PRE, PREA, RD, RDA, REF, REFSET
from ndpsim.dram.host.engine import (
    AT_LIMIT,
    DONE,
    LOG_FULL,
    MORE,
    NEEDS_REQUESTS,
    NOTHING_MORE,
    begin_together,
    enter,
    entry_cycle,
    go_on_together,
    oldest_request,
    refresh_step,
    served,
)
from ndpsim.dram.host.issue import activate, hold, precharge, precharge_all, refresh, send_column, wanted_again
from ndpsim.dram.host.queue import find_burst, legal_at, switch_mode
from ndpsim.dram.host.shared.host_side import earliest, idle_row, offered_for_row, refresh_is_unwelcome
from ndpsim.dram.host.shared.ndp_side import first_command, follow, issue, look_again, offer, pick
from ndpsim.dram.host.shared.state import (
    ALTERNATE,
    B_BANK,
    BURSTS_LEFT,
    COLUMN_BANK,
    COLUMNS,
    CURRENT,
    HOST_ACTION,
    HOST_BANK,
    HOST_LAST,
    HOST_LEGAL,
    HOST_SLOT,
    NDP_FIRST,
    NDP_POLICY,
    NO_ACTION,
    PICK,
    RANK_BUS,
    ROWS,
    ROWS_FIRST,
    SHARE,
    TO_ACTIVATE,
    TO_COLUMN,
    TO_PRECHARGE,
    TO_REFRESH,
    YIELDS,
)
from ndpsim.dram.host.state import (
    BANK,
    COLUMN,
    COLUMN_BUS,
    DUE,
    EVENT,
    FOREVER,
    HEAD,
    HELD,
    HIT,
    INTERVAL,
    LOGGED,
    MODE,
    N_RANKS,
    NONE,
    NOW,
    OPEN_BANKS,
    OWING,
    PATIENCE,
    POSTPONE,
    PRECHARGE,
    R_BANK,
    R_BURST,
    R_WRITE,
    RANK,
    RANK_SIZE,
    READS,
    REFRESH_CHECK,
    REFRESHING,
    ROW,
    ROW_BUS,
    ROW_POLICY,
    SETS,
    SLOT_ROW,
    TAKEN,
    TWO_BUSSES,
    UNDER_WAY,
    WRITES,
    Ints,
)
from ndpsim.jit import borrowing, pointer_to


@borrowing
def _begin_refreshes(m: Ints, s: Ints, cycle: int) -> None:
    """Begin the refreshes that must begin in this cycle, and note when to look again."""
    m[OWING] = 0
    again = FOREVER
    for r in range(0, m[N_RANKS] * RANK_SIZE, RANK_SIZE):
        if m[r + REFRESHING] == 1:
            continue
        if cycle < m[r + DUE]:
            again = min(again, m[r + DUE])
        elif cycle >= m[r + DUE] + m[POSTPONE] * m[INTERVAL] or not refresh_is_unwelcome(m, s, r):
            hold(m, r)
            s[r // RANK_SIZE * SHARE + CURRENT] = 0
        else:
            m[OWING] = 1
            again = min(again, m[r + DUE] + m[POSTPONE] * m[INTERVAL])
    m[REFRESH_CHECK] = again


@borrowing
def _channel_bus(bus: int) -> int:
    """Return the place in `m` of the cycle from which on a bus of the channel is free."""
    return COLUMN_BUS if bus == COLUMNS else ROW_BUS


@borrowing
def _starving(m: Ints) -> tuple[int, int]:
    """Return the command that the oldest request needs (TO_...), and the first cycle in which it is legal.

    Both leave the channel's and its rank's bus out.
    """
    queue, oldest = oldest_request(m)
    b = m[oldest + BANK]
    if m[b + HELD] == 1:
        return NO_ACTION, FOREVER
    if m[b + ROW] == m[oldest + SLOT_ROW]:
        return TO_COLUMN, legal_at(m, b, RD + queue)
    if m[b + ROW] < 0:
        return TO_ACTIVATE, legal_at(m, b, ACT)
    return TO_PRECHARGE, legal_at(m, b, PRE)


@borrowing
def _note(s: Ints, bus: int, action: int, b: int, at: int, cycle: int) -> None:
    """Note what the host does next on a bus, for which request, and when that is legal."""
    s[HOST_ACTION + bus] = action
    s[HOST_BANK + bus] = b
    s[HOST_SLOT + bus] = at
    s[HOST_LEGAL + bus] = cycle


@borrowing
def _first_host(m: Ints, s: Ints, bus: int, starving: bool, floor: int) -> None:
    """Note the first host command that is legal on a bus, no earlier than `floor`, and goes first of those then legal.

    HOST_LEGAL is FOREVER if there is none.
    """
    columns, rows = bus == COLUMNS, bus == ROWS or m[TWO_BUSSES] == 0
    _note(s, bus, NO_ACTION, NONE, NONE, FOREVER)
    if starving:
        action, ready = _starving(m)
        if action != NO_ACTION and (columns if action == TO_COLUMN else rows):
            _, oldest = oldest_request(m)
            b = m[oldest + BANK]
            own = COLUMNS if action == TO_COLUMN else ROWS
            free = max(s[m[b + RANK] // RANK_SIZE * SHARE + RANK_BUS + own], m[_channel_bus(own)])
            _note(s, bus, action, b, oldest, max(max(ready, free), floor))
        return
    if m[READS + m[MODE]] > 0:
        for kind in range(COLUMN, PRECHARGE + 1):
            if columns if kind == COLUMN else rows:
                t, b = earliest(m, s, kind, max(floor, m[_channel_bus(COLUMNS if kind == COLUMN else ROWS)]))
                if t < s[HOST_LEGAL + bus]:
                    at = m[b + HIT] if kind == COLUMN else m[b + HEAD + m[MODE]]
                    _note(s, bus, TO_COLUMN + kind, b, at, t)
    if rows and m[ROW_POLICY] == 2:
        t, b = idle_row(m, s, max(floor, m[ROW_BUS]))
        if t < s[HOST_LEGAL + bus]:
            _note(s, bus, TO_PRECHARGE, b, NONE, t)


@borrowing
def _first_refresh(m: Ints, s: Ints, floor: int) -> tuple[int, int, int]:
    """Return when the first command of a refresh under way is legal, its rank's record in `m`, and its bank or NONE."""
    cycle = FOREVER
    rank = bank = NONE
    if m[UNDER_WAY] > 0:
        for r in range(0, m[N_RANKS] * RANK_SIZE, RANK_SIZE):
            if m[r + REFRESHING] == 1:
                bus = max(m[ROW_BUS], s[r // RANK_SIZE * SHARE + RANK_BUS + ROWS])
                t, b = refresh_step(m, r, max(floor, bus))
                if t < cycle:
                    cycle, rank, bank = t, r, b
    return cycle, rank, bank


@borrowing
def _choose(m: Ints, s: Ints, bursts: Ints, bus: int, starving: int, refreshed: int, cycle: int) -> None:
    """Choose what goes in this cycle on a bus: the host's or a refresh command, and NDP's.

    starving: the record in `s` of the rank whose request starves, refreshed: of the one that gets a refresh command
    now; or NONE. What the host does next if no rank yields has been noted.
    """
    columns, rows = bus == COLUMNS, bus == ROWS or m[TWO_BUSSES] == 0
    refreshing = rows and refreshed >= 0
    anew = not columns  # row commands that have been noted may be for banks that now get a column command
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        code = NONE
        if q != starving and not (refreshing and q == refreshed):
            code = pick(m, s, bursts, q, columns, rows, cycle)
        s[q + PICK + bus] = code
        ndp_goes_first = s[NDP_POLICY] == NDP_FIRST or (s[NDP_POLICY] == ALTERNATE and s[q + HOST_LAST] == 1)
        if code >= 0 and ndp_goes_first:
            s[q + YIELDS] = 1
            anew = True
    if anew:
        _first_host(m, s, bus, starving >= 0, cycle)
    if refreshing:
        s[HOST_ACTION + bus] = TO_REFRESH
    elif s[HOST_LEGAL + bus] > cycle:
        s[HOST_ACTION + bus] = NO_ACTION
    else:
        s[m[s[HOST_BANK + bus] + RANK] // RANK_SIZE * SHARE + PICK + bus] = NONE
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        s[q + YIELDS] = 0


@borrowing
def _note_column_banks(m: Ints, s: Ints, bursts: Ints) -> None:
    """Note for every rank the bank for which a column command is chosen."""
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        code = s[q + PICK + COLUMNS]
        s[q + COLUMN_BANK] = bursts[code >> 2, B_BANK] if code >= 0 else NONE
    if s[HOST_ACTION + COLUMNS] == TO_COLUMN:
        b = s[HOST_BANK + COLUMNS]
        s[m[b + RANK] // RANK_SIZE * SHARE + COLUMN_BANK] = b


@borrowing
def _issue_host(m: Ints, s: Ints, bursts: Ints, log: Ints, done: Ints, bus: int, queue: int, refreshed: int,
                bank: int, cycle: int) -> None:  # fmt: skip
    """Issue the host's or the refresh command that is chosen for a bus."""
    action, b, at = s[HOST_ACTION + bus], s[HOST_BANK + bus], s[HOST_SLOT + bus]
    if action == TO_COLUMN:
        command = RD + queue
        if m[ROW_POLICY] == 1 and not wanted_again(m, b, at) and not offered_for_row(m, s, bursts, b):
            command = RDA + queue
        send_column(m, log, done, queue, command, at, cycle)
        follow(m, s, command, m[b + RANK], cycle)
        s[m[b + RANK] // RANK_SIZE * SHARE + HOST_LAST] = 1
    elif action == TO_ACTIVATE:
        activate(m, log, b, at, cycle)
        follow(m, s, ACT, m[b + RANK], cycle)
    elif action == TO_PRECHARGE:
        precharge(m, log, b, at, cycle)
        follow(m, s, PRE, m[b + RANK], cycle)
    elif action == TO_REFRESH:
        if bank >= 0:
            command = PRE
            precharge(m, log, bank, NONE, cycle)
        elif m[SETS] == 0 and m[refreshed + OPEN_BANKS] > 0:
            command = PREA
            precharge_all(m, log, refreshed, cycle)
        else:
            command = REF if m[SETS] == 0 else REFSET
            refresh(m, log, refreshed, cycle)
        follow(m, s, command, refreshed, cycle)


@borrowing
def _issue_bus(m: Ints, s: Ints, bursts: Ints, log: Ints, done: Ints, bus: int, queue: int, refreshed: int, bank: int,
               cycle: int) -> None:  # fmt: skip
    """Issue all that is chosen for a bus."""
    _issue_host(m, s, bursts, log, done, bus, queue, refreshed, bank, cycle)
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        if s[q + PICK + bus] >= 0:
            issue(m, s, bursts, log, q, s[q + PICK + bus], cycle)


@borrowing
def _step(m: Ints, s: Ints, bursts: Ints, log: Ints, done: Ints, entry: int, until: int) -> bool:
    """Go to the next event and issue its commands; False if it is only that something must be looked at again."""
    cycle = m[NOW]
    look = m[REFRESH_CHECK]
    queue, starving = m[MODE], NONE
    if cycle >= m[PATIENCE]:
        queue, oldest = oldest_request(m)
        starving = m[m[oldest + BANK] + RANK] // RANK_SIZE * SHARE
    else:
        look = min(look, m[PATIENCE])
    event = entry
    for bus in range(1 + m[TWO_BUSSES]):
        _first_host(m, s, bus, starving >= 0, cycle)
        event = min(event, s[HOST_LEGAL + bus])
    refresh_cycle, refreshed, bank = _first_refresh(m, s, cycle)
    event = min(event, refresh_cycle)
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        if q != starving:
            event = min(event, first_command(m, s, bursts, q, cycle))

    m[EVENT] = min(event, look)
    if m[EVENT] >= until:
        m[NOW] = until
        return False
    if look > cycle and look <= event:
        m[NOW] = look
        return False
    m[NOW] = event
    if refresh_cycle > event:
        refreshed = NONE
    of_refresh = NONE if refreshed < 0 else refreshed // RANK_SIZE * SHARE
    for bus in range(1 + m[TWO_BUSSES]):
        _choose(m, s, bursts, bus, starving, of_refresh, event)
        if m[TWO_BUSSES] == 1:
            _note_column_banks(m, s, bursts)
    for bus in range(1 + m[TWO_BUSSES]):
        _issue_bus(m, s, bursts, log, done, bus ^ s[ROWS_FIRST], queue, refreshed, bank, event)
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        s[q + COLUMN_BANK] = NONE
    offer(m, s, bursts)
    return True


@borrowing
def _advance(m: Ints, s: Ints, bursts: Ints, block: Ints, after: int, until: int, log: Ints, done: Ints) -> int:
    """Run a channel as `host.engine.advance` does, until its NDP bursts are done too (s, bursts: `state`)."""
    requests = block.shape[0]
    offer(m, s, bursts)
    while True:
        cycle = m[NOW]
        if log.shape[0] > 0 and m[LOGGED] + 2 + 2 * m[N_RANKS] > log.shape[0]:
            return LOG_FULL
        if cycle >= until:
            m[EVENT] = max(m[EVENT], cycle)
            return AT_LIMIT
        i = m[TAKEN]
        entry = FOREVER
        forwarded = False
        if i < requests:
            forwarded = block[i, R_WRITE] == 0 and find_burst(m, 1, block[i, R_BURST]) >= 0
            entry = entry_cycle(m, block, done, i, forwarded, cycle)
        elif after == MORE:
            return NEEDS_REQUESTS
        elif after == NOTHING_MORE and m[READS] + m[WRITES] == 0 and s[BURSTS_LEFT] == 0:
            m[EVENT] = FOREVER
            return DONE
        if cycle >= m[REFRESH_CHECK] or m[OWING] == 1:
            _begin_refreshes(m, s, cycle)
        mode = m[MODE]
        switch_mode(m)
        if m[MODE] != mode:
            look_again(m, s)
        if _step(m, s, bursts, log, done, entry, until):
            if m[NOW] == entry:
                enter(m, block, done, i, forwarded, entry)
                s[m[block[i, R_BANK] + RANK] // RANK_SIZE * SHARE + CURRENT] = 0
            m[NOW] += 1


@borrowing
def run_shared(state: NDArray[np.int64], sharing: NDArray[np.int64], bursts: Ints, k: int, block: Ints, bounds: Ints,
               after: int, until: int, log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run channel k as `host.engine.run_channel` does; sharing [channels, SIZE] and bursts: see `state`."""
    return _advance(
        pointer_to(state[k]),
        pointer_to(sharing[k]),
        bursts,
        block[bounds[k] : bounds[k + 1]],
        after,
        until,
        log[k],
        done,
    )


@borrowing
def run_shared_together(state: NDArray[np.int64], sharing: NDArray[np.int64], bursts: Ints, block: Ints, bounds: Ints,
                        after: int, log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run all channels in step, as `host.engine.run_together` does."""
    limit = begin_together(state)
    while True:
        before = served(state)
        waiting = False
        for k in range(state.shape[0]):
            requests = block[bounds[k] : bounds[k + 1]]
            why = _advance(pointer_to(state[k]), pointer_to(sharing[k]), bursts, requests, after, limit, log[k], done)
            if why in (LOG_FULL, NEEDS_REQUESTS):
                return why
            waiting |= why == AT_LIMIT
        if not waiting:
            return DONE
        limit = go_on_together(state, limit, served(state) == before)
