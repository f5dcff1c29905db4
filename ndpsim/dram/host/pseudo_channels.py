"""The host controller of a channel with pseudo-channels: each has queues and banks, all share the command busses.

Each pseudo-channel has a memory of its own (`state.py`), and all of a channel are at the same clock. At every event
each of them says what it does next; on each bus that pseudo-channel goes whose command comes first by the rules of
HOST_CONTROLLER.md. All of them know when the command busses are free, and write into one log.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host.constraint_table import PREA, REF
from ndpsim.dram.host.engine import (
    AT_LIMIT,
    DONE,
    LOG_FULL,
    MORE,
    NEEDS_REQUESTS,
    NOTHING_MORE,
    REFRESH,
    TO_CLOSE,
    begin_refreshes,
    begin_together,
    enter,
    entry_cycle,
    go_on_together,
    next_commands,
    row_command,
    served,
)
from ndpsim.dram.host.issue import column
from ndpsim.dram.host.queue import find_burst, switch_mode
from ndpsim.dram.host.state import (
    COLUMN_BUS,
    ENTRY,
    EVENT,
    FOREVER,
    LOGGED,
    N_BANKS,
    N_RANKS,
    NONE,
    NOW,
    OWING,
    PLAN_ACTION,
    PLAN_COLUMN,
    PLAN_COLUMN_SLOT,
    PLAN_ENTRY,
    PLAN_FORWARDED,
    PLAN_QUEUE,
    PLAN_RANK,
    PLAN_ROW,
    PLAN_ROW_BANK,
    PLAN_ROW_SLOT,
    R_BURST,
    R_WRITE,
    READS,
    REFRESH_CHECK,
    ROW_BUS,
    TAKEN,
    TWO_BUSSES,
    WRITES,
    Ints,
)
from ndpsim.jit import borrowing, merged, pointer_to


@merged
def next_request(m: Ints, block: Ints, done: Ints) -> None:
    """Note when the next request can enter as things stand, and whether a queued write is forwarded to it."""
    i = m[TAKEN]
    m[PLAN_ENTRY] = FOREVER
    m[PLAN_FORWARDED] = 0
    if i < block.shape[0]:
        forwarded = block[i, R_WRITE] == 0 and find_burst(m, 1, block[i, R_BURST]) >= 0
        m[PLAN_FORWARDED] = 1 if forwarded else 0
        m[PLAN_ENTRY] = entry_cycle(m, block, done, i, forwarded, m[NOW])


@borrowing
def _plan(m: Ints) -> int:
    """Note what a pseudo-channel does next; return when to look again if nothing happens until then."""
    (m[PLAN_COLUMN], m[PLAN_QUEUE], m[PLAN_COLUMN_SLOT], m[PLAN_ROW], m[PLAN_ROW_SLOT], m[PLAN_ROW_BANK],
     m[PLAN_ACTION], m[PLAN_RANK], look) = next_commands(m)  # fmt: skip
    return look


@borrowing
def share(state: NDArray[np.int64], first: int, end: int, issuer: int, logged: int, log: Ints) -> None:
    """Tell the other pseudo-channels of a channel what one of them has put on the busses and into the log.

    Records from `logged` on name banks and ranks of the pseudo-channel; they become those of the channel.
    """
    m = state[issuer]
    for k in range(first, end):
        state[k, ROW_BUS] = m[ROW_BUS]
        state[k, COLUMN_BUS] = m[COLUMN_BUS]
        state[k, LOGGED] = m[LOGGED]
    for i in range(logged, m[LOGGED]):
        of_rank = log[i, 1] == PREA or log[i, 1] == REF
        log[i, 2] += (issuer - first) * (m[N_RANKS] if of_rank else m[N_BANKS])


@borrowing
def _first_column(state: NDArray[np.int64], first: int, end: int, event: int) -> int:
    """Return the pseudo-channel whose column command goes in cycle `event`: that of the oldest request; or NONE."""
    chosen, oldest = NONE, FOREVER
    for k in range(first, end):
        if state[k, PLAN_COLUMN] == event:
            entry = state[k, state[k, PLAN_COLUMN_SLOT] + ENTRY]
            if entry < oldest:
                chosen, oldest = k, entry
    return chosen


@borrowing
def _first_row(state: NDArray[np.int64], first: int, end: int, event: int) -> int:
    """Return the pseudo-channel whose row command goes in cycle `event`; or NONE."""
    chosen, action, oldest = NONE, TO_CLOSE + 1, FOREVER
    for k in range(first, end):
        if state[k, PLAN_ROW] == event:
            at = state[k, PLAN_ROW_SLOT]
            entry = state[k, at + ENTRY] if at >= 0 else 0
            if state[k, PLAN_ACTION] < action or (state[k, PLAN_ACTION] == action and entry < oldest):
                chosen, action, oldest = k, state[k, PLAN_ACTION], entry
    return chosen


@borrowing
def _issue(state: NDArray[np.int64], first: int, end: int, log: Ints, done: Ints, event: int) -> None:
    """Issue what goes on the busses in this cycle."""
    by_column = _first_column(state, first, end, event)
    by_row = _first_row(state, first, end, event)
    if by_column >= 0 and by_row >= 0 and state[first, TWO_BUSSES] == 0:
        if state[by_row, PLAN_ACTION] == REFRESH:
            by_column = NONE
        else:
            by_row = NONE
    if by_column >= 0:
        m = pointer_to(state[by_column])
        logged = m[LOGGED]
        column(m, log, done, m[PLAN_QUEUE], m[PLAN_COLUMN_SLOT], event)
        share(state, first, end, by_column, logged, log)
    if by_row >= 0:
        m = pointer_to(state[by_row])
        logged = m[LOGGED]
        row_command(m, log, m[PLAN_ACTION], m[PLAN_ROW_BANK], m[PLAN_ROW_SLOT], m[PLAN_RANK], event)
        share(state, first, end, by_row, logged, log)


@borrowing
def at_end(state: NDArray[np.int64], first: int, end: int, bounds: Ints, after: int) -> int:
    """Return NEEDS_REQUESTS or DONE if a channel cannot go on, NONE if it can."""
    served_all = after == NOTHING_MORE
    for k in range(first, end):
        more = state[k, TAKEN] < bounds[k + 1] - bounds[k]
        if not more and after == MORE:
            return NEEDS_REQUESTS
        if more or state[k, READS] + state[k, WRITES] > 0:
            served_all = False
    return DONE if served_all else NONE


@borrowing
def set_all(state: NDArray[np.int64], first: int, end: int, place: int, value: int) -> None:
    """Set a single value of all pseudo-channels of a channel."""
    for k in range(first, end):
        state[k, place] = value


@borrowing
def _advance(state: NDArray[np.int64], first: int, end: int, block: Ints, bounds: Ints, after: int, until: int,
             log: Ints, done: Ints) -> int:  # fmt: skip
    """Run a channel as `host.engine.advance` does; `first` to before `end` are its rows of the state."""
    while True:
        cycle = state[first, NOW]
        if log.shape[0] > 0 and state[first, LOGGED] + 4 > log.shape[0]:
            return LOG_FULL
        if cycle >= until:
            set_all(state, first, end, EVENT, max(state[first, EVENT], cycle))
            return AT_LIMIT
        why = at_end(state, first, end, bounds, after)
        if why != NONE:
            if why == DONE:
                set_all(state, first, end, EVENT, FOREVER)
            return why
        event = look = FOREVER
        for k in range(first, end):
            m = pointer_to(state[k])
            next_request(m, block[bounds[k] : bounds[k + 1]], done)
            if cycle >= m[REFRESH_CHECK] or m[OWING] == 1:
                begin_refreshes(m, cycle)
            switch_mode(m)
            look = min(look, _plan(m))
            event = min(event, min(min(m[PLAN_COLUMN], m[PLAN_ROW]), m[PLAN_ENTRY]))
        set_all(state, first, end, EVENT, min(event, look))
        if min(event, look) >= until:
            set_all(state, first, end, NOW, until)
            continue
        if look <= event:
            set_all(state, first, end, NOW, look)
            continue
        _issue(state, first, end, log, done, event)
        for k in range(first, end):
            if state[k, PLAN_ENTRY] == event:
                part = block[bounds[k] : bounds[k + 1]]
                enter(pointer_to(state[k]), part, done, state[k, TAKEN], state[k, PLAN_FORWARDED] == 1, event)
        set_all(state, first, end, NOW, event + 1)


@borrowing
def run_pseudo_channels(state: NDArray[np.int64], k: int, pseudo_channels: int, block: Ints, bounds: Ints, after: int,
                        until: int, log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run channel k as `host.engine.run_channel` does; state and bounds are of all pseudo-channels, log of channels."""
    first = k * pseudo_channels
    return _advance(state, first, first + pseudo_channels, block, bounds, after, until, log[k], done)


@borrowing
def run_pseudo_channels_together(state: NDArray[np.int64], pseudo_channels: int, block: Ints, bounds: Ints, after: int,
                                 log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run all channels in step, as `host.engine.run_together` does."""
    limit = begin_together(state)
    while True:
        before = served(state)
        waiting = False
        for k in range(log.shape[0]):
            why = run_pseudo_channels(state, k, pseudo_channels, block, bounds, after, limit, log, done)
            if why in (LOG_FULL, NEEDS_REQUESTS):
                return why
            waiting |= why == AT_LIMIT
        if not waiting:
            return DONE
        limit = go_on_together(state, limit, served(state) == before)
