"""The controller of a channel whose ranks work for NDP units as well, event by event.

HOST_CONTROLLER.md ("Sharing the ranks with NDP units") is its specification. All that a cycle issues is chosen before
any of it is issued, so that every choice sees the state that the cycles before left. A channel has a row of the state
(`m`) and of the sharing (`s`) for each of its pseudo-channels, at least one.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host.constraint_table import ACT, PRE, PREA, RD, RDA, REF, REFSET
from ndpsim.dram.host.engine import (
    AT_LIMIT,
    DONE,
    LOG_FULL,
    NEEDS_REQUESTS,
    begin_together,
    enter,
    go_on_together,
    oldest_request,
    refresh_step,
    served,
)
from ndpsim.dram.host.issue import activate, hold, precharge, precharge_all, refresh, send_column, wanted_again
from ndpsim.dram.host.pseudo_channels import at_end, next_request, set_all, share
from ndpsim.dram.host.queue import legal_at, switch_mode
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
    REFRESH_BANK,
    REFRESH_LEGAL,
    REFRESHED,
    ROWS,
    ROWS_FIRST,
    SHARE,
    STARVING,
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
    ENTRY,
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
    PLAN_ENTRY,
    PLAN_FORWARDED,
    PLAN_QUEUE,
    POSTPONE,
    PRECHARGE,
    R_BANK,
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
def _choose_ndp(m: Ints, s: Ints, bursts: Ints, bus: int, refreshed: int, cycle: int) -> None:
    """Choose what NDP units send on a bus in this cycle, then what the host does next in ranks that do not yield.

    refreshed: the record in `s` of the rank that gets a refresh command on this bus, or NONE.
    """
    columns, rows = bus == COLUMNS, bus == ROWS or m[TWO_BUSSES] == 0
    anew = not columns  # row commands that have been noted may be for banks that now get a column command
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        code = NONE
        if q != s[STARVING] and q != refreshed:
            code = pick(m, s, bursts, q, columns, rows, cycle)
        s[q + PICK + bus] = code
        ndp_goes_first = s[NDP_POLICY] == NDP_FIRST or (s[NDP_POLICY] == ALTERNATE and s[q + HOST_LAST] == 1)
        if code >= 0 and ndp_goes_first:
            s[q + YIELDS] = 1
            anew = True
    if anew:
        _first_host(m, s, bus, s[STARVING] >= 0, cycle)
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        s[q + YIELDS] = 0


@borrowing
def _first_of(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bus: int, cycle: int) -> int:
    """Return the pseudo-channel whose host command goes on a bus in this cycle; or NONE."""
    chosen, order, oldest = NONE, FOREVER, FOREVER
    for k in range(first, end):
        s = sharing[k]
        if s[HOST_LEGAL + bus] <= cycle:
            at = s[HOST_SLOT + bus]
            of_policy = 1 if at < 0 else 0
            entry = 0 if at < 0 else state[k, at + ENTRY]
            own = s[HOST_ACTION + bus] * 2 + of_policy
            if own < order or (own == order and entry < oldest):
                chosen, order, oldest = k, own, entry
    return chosen


@borrowing
def _choose(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, bus: int,
            refreshing: int, cycle: int) -> None:  # fmt: skip
    """Choose what goes in this cycle on a bus: the host's or a refresh command, and NDP's.

    refreshing: the pseudo-channel in which a refresh command goes now, or NONE. What the host does next if no rank
    yields has been noted.
    """
    if bus == COLUMNS and state[first, TWO_BUSSES] == 1:
        refreshing = NONE
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        _choose_ndp(m, s, bursts, bus, s[REFRESHED] // RANK_SIZE * SHARE if k == refreshing else NONE, cycle)
    goes = _first_of(state, sharing, first, end, bus, cycle) if refreshing < 0 else NONE
    for k in range(first, end):
        s = sharing[k]
        if k == refreshing:
            s[HOST_ACTION + bus] = TO_REFRESH
        elif k != goes:
            s[HOST_ACTION + bus] = NO_ACTION
        else:
            s[state[k, s[HOST_BANK + bus] + RANK] // RANK_SIZE * SHARE + PICK + bus] = NONE


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
def _issue_host(m: Ints, s: Ints, bursts: Ints, log: Ints, done: Ints, bus: int, cycle: int) -> None:
    """Issue the host's or the refresh command that is chosen for a bus."""
    action, b, at = s[HOST_ACTION + bus], s[HOST_BANK + bus], s[HOST_SLOT + bus]
    if action == TO_COLUMN:
        queue = m[PLAN_QUEUE]
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
        refreshed, bank = s[REFRESHED], s[REFRESH_BANK]
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
def _issue_bus(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, log: Ints,
               done: Ints, bus: int, cycle: int) -> None:  # fmt: skip
    """Issue all that is chosen for a bus."""
    for k in range(first, end):
        if sharing[k, HOST_ACTION + bus] != NO_ACTION:
            m = pointer_to(state[k])
            logged = m[LOGGED]
            _issue_host(m, pointer_to(sharing[k]), bursts, log, done, bus, cycle)
            share(state, first, end, k, logged, log)
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        logged = m[LOGGED]
        for q in range(0, m[N_RANKS] * SHARE, SHARE):
            if s[q + PICK + bus] >= 0:
                issue(m, s, bursts, log, q, s[q + PICK + bus], cycle)
        share(state, first, end, k, logged, log)


@borrowing
def _plan(m: Ints, s: Ints, bursts: Ints) -> tuple[int, int]:
    """Note what a pseudo-channel does next; return when that is, and when to look again if not before."""
    cycle = m[NOW]
    look = m[REFRESH_CHECK]
    m[PLAN_QUEUE], s[STARVING] = m[MODE], NONE
    if cycle >= m[PATIENCE]:
        m[PLAN_QUEUE], oldest = oldest_request(m)
        s[STARVING] = m[m[oldest + BANK] + RANK] // RANK_SIZE * SHARE
    else:
        look = min(look, m[PATIENCE])
    event = m[PLAN_ENTRY]
    for bus in range(1 + m[TWO_BUSSES]):
        _first_host(m, s, bus, s[STARVING] >= 0, cycle)
        event = min(event, s[HOST_LEGAL + bus])
    s[REFRESH_LEGAL], s[REFRESHED], s[REFRESH_BANK] = _first_refresh(m, s, cycle)
    event = min(event, s[REFRESH_LEGAL])
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        if q != s[STARVING]:
            event = min(event, first_command(m, s, bursts, q, cycle))
    return event, look


@borrowing
def _issue(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, log: Ints,
           done: Ints, event: int) -> None:  # fmt: skip
    """Choose what goes on all busses in this cycle, and issue it."""
    refreshing = NONE
    for k in range(first, end):
        if refreshing < 0 and sharing[k, REFRESH_LEGAL] == event:
            refreshing = k
    two_busses = state[first, TWO_BUSSES]
    for bus in range(1 + two_busses):
        _choose(state, sharing, first, end, bursts, bus, refreshing, event)
        if two_busses == 1:
            for k in range(first, end):
                _note_column_banks(pointer_to(state[k]), pointer_to(sharing[k]), bursts)
    for bus in range(1 + two_busses):
        _issue_bus(state, sharing, first, end, bursts, log, done, bus ^ sharing[first, ROWS_FIRST], event)
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        for q in range(0, m[N_RANKS] * SHARE, SHARE):
            s[q + COLUMN_BANK] = NONE
        offer(m, s, bursts)


@borrowing
def _advance(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, block: Ints,
             bounds: Ints, after: int, until: int, log: Ints, done: Ints) -> int:  # fmt: skip
    """Run a channel as `host.engine.advance` does, until its NDP bursts are done too.

    Its pseudo-channels are rows `first` to before `end` of the state and of the sharing.
    """
    for k in range(first, end):
        offer(pointer_to(state[k]), pointer_to(sharing[k]), bursts)
    while True:
        cycle = state[first, NOW]
        most = 2 + 2 * state[first, N_RANKS] * (end - first)
        if log.shape[0] > 0 and state[first, LOGGED] + most > log.shape[0]:
            return LOG_FULL
        if cycle >= until:
            set_all(state, first, end, EVENT, max(state[first, EVENT], cycle))
            return AT_LIMIT
        why = at_end(state, first, end, bounds, after)
        if why == NEEDS_REQUESTS:
            return why
        if why == DONE and not _bursts_left(sharing, first, end):
            set_all(state, first, end, EVENT, FOREVER)
            return why
        event = look = FOREVER
        for k in range(first, end):
            m, s = pointer_to(state[k]), pointer_to(sharing[k])
            next_request(m, block[bounds[k] : bounds[k + 1]], done)
            if cycle >= m[REFRESH_CHECK] or m[OWING] == 1:
                _begin_refreshes(m, s, cycle)
            mode = m[MODE]
            switch_mode(m)
            if m[MODE] != mode:
                look_again(m, s)
            own_event, own_look = _plan(m, s, bursts)
            event, look = min(event, own_event), min(look, own_look)
        set_all(state, first, end, EVENT, min(event, look))
        if min(event, look) >= until:
            set_all(state, first, end, NOW, until)
            continue
        if look <= event:
            set_all(state, first, end, NOW, look)
            continue
        _issue(state, sharing, first, end, bursts, log, done, event)
        for k in range(first, end):
            m, s = pointer_to(state[k]), pointer_to(sharing[k])
            if m[PLAN_ENTRY] == event:
                part, i = block[bounds[k] : bounds[k + 1]], m[TAKEN]
                enter(m, part, done, i, m[PLAN_FORWARDED] == 1, event)
                s[m[part[i, R_BANK] + RANK] // RANK_SIZE * SHARE + CURRENT] = 0
        set_all(state, first, end, NOW, event + 1)


@borrowing
def _bursts_left(sharing: NDArray[np.int64], first: int, end: int) -> bool:
    """Tell whether NDP bursts of a channel are still to come."""
    left = 0
    for k in range(first, end):
        left += sharing[k, BURSTS_LEFT]
    return left > 0


@borrowing
def run_shared(state: NDArray[np.int64], sharing: NDArray[np.int64], bursts: Ints, k: int, pseudo_channels: int,
               block: Ints, bounds: Ints, after: int, until: int, log: NDArray[np.int64], done: Ints
               ) -> int:  # fmt: skip
    """Run channel k as `host.engine.run_channel` does; sharing [pseudo-channels, SIZE] and bursts: see `state`."""
    first = k * pseudo_channels
    return _advance(state, sharing, first, first + pseudo_channels, bursts, block, bounds, after, until, log[k], done)


@borrowing
def run_shared_together(state: NDArray[np.int64], sharing: NDArray[np.int64], bursts: Ints, pseudo_channels: int,
                        block: Ints, bounds: Ints, after: int, log: NDArray[np.int64], done: Ints
                        ) -> int:  # fmt: skip
    """Run all channels in step, as `host.engine.run_together` does."""
    limit = begin_together(state)
    while True:
        before = served(state)
        waiting = False
        for k in range(log.shape[0]):
            why = run_shared(state, sharing, bursts, k, pseudo_channels, block, bounds, after, limit, log, done)
            if why in (LOG_FULL, NEEDS_REQUESTS):
                return why
            waiting |= why == AT_LIMIT
        if not waiting:
            return DONE
        limit = go_on_together(state, limit, served(state) == before)
