"""The host controller of a channel with pseudo-channels: each has queues and banks, all share the command busses.

Each pseudo-channel has a memory of its own (`state.py`), and all of a channel are at the same clock. At every event
each of them says what it does next; on each bus that pseudo-channel goes whose command comes first by the rules of
HOST_CONTROLLER.md. All of them know when the command busses are free, and write into one log.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands, engine
from ndpsim.dram.host import state as host
from ndpsim.dram.host.engine import (
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
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, merged, pointer_to


@merged
def next_request(m: Ints, block: Ints, done: Ints) -> None:
    """Note when the next request can enter as things stand, and whether a queued write is forwarded to it."""
    i = m[host.TAKEN]
    m[host.PLAN_ENTRY] = host.FOREVER
    m[host.PLAN_FORWARDED] = 0
    if i < block.shape[0]:
        forwarded = block[i, host.R_WRITE] == 0 and find_burst(m, 1, block[i, host.R_BURST]) >= 0
        m[host.PLAN_FORWARDED] = 1 if forwarded else 0
        m[host.PLAN_ENTRY] = entry_cycle(m, block, done, i, forwarded, m[host.NOW])


@borrowing
def _plan(m: Ints) -> int:
    """Note what a pseudo-channel does next; return when to look again if nothing happens until then."""
    (m[host.PLAN_COLUMN], m[host.PLAN_QUEUE], m[host.PLAN_COLUMN_SLOT], m[host.PLAN_ROW], m[host.PLAN_ROW_SLOT],
     m[host.PLAN_ROW_BANK], m[host.PLAN_ACTION], m[host.PLAN_RANK], look) = next_commands(m)  # fmt: skip
    return look


@borrowing
def share(state: NDArray[np.int64], first: int, end: int, issuer: int, logged: int, log: Ints) -> None:
    """Tell the other pseudo-channels of a channel what one of them has put on the busses and into the log.

    Records from `logged` on name banks and ranks of the pseudo-channel; they become those of the channel.
    """
    m = state[issuer]
    for k in range(first, end):
        state[k, host.ROW_BUS] = m[host.ROW_BUS]
        state[k, host.COLUMN_BUS] = m[host.COLUMN_BUS]
        state[k, host.LOGGED] = m[host.LOGGED]
    for i in range(logged, m[host.LOGGED]):
        of_rank = log[i, 1] == commands.PREA or log[i, 1] == commands.REF
        log[i, 2] += (issuer - first) * (m[host.N_RANKS] if of_rank else m[host.N_BANKS])


@borrowing
def _first_column(state: NDArray[np.int64], first: int, end: int, event: int) -> int:
    """Return the pseudo-channel whose column command goes in cycle `event`: that of the oldest request; or NONE."""
    chosen, oldest = host.NONE, host.FOREVER
    for k in range(first, end):
        if state[k, host.PLAN_COLUMN] == event:
            entry = state[k, state[k, host.PLAN_COLUMN_SLOT] + host.ENTRY]
            if entry < oldest:
                chosen, oldest = k, entry
    return chosen


@borrowing
def _first_row(state: NDArray[np.int64], first: int, end: int, event: int) -> int:
    """Return the pseudo-channel whose row command goes in cycle `event`; or NONE."""
    chosen, action, oldest = host.NONE, engine.TO_CLOSE + 1, host.FOREVER
    for k in range(first, end):
        if state[k, host.PLAN_ROW] == event:
            at = state[k, host.PLAN_ROW_SLOT]
            entry = state[k, at + host.ENTRY] if at >= 0 else 0
            if state[k, host.PLAN_ACTION] < action or (state[k, host.PLAN_ACTION] == action and entry < oldest):
                chosen, action, oldest = k, state[k, host.PLAN_ACTION], entry
    return chosen


@borrowing
def _issue(state: NDArray[np.int64], first: int, end: int, log: Ints, done: Ints, event: int) -> None:
    """Issue what goes on the busses in this cycle."""
    by_column = _first_column(state, first, end, event)
    by_row = _first_row(state, first, end, event)
    if by_column >= 0 and by_row >= 0 and state[first, host.TWO_BUSSES] == 0:
        if state[by_row, host.PLAN_ACTION] == engine.REFRESH:
            by_column = host.NONE
        else:
            by_row = host.NONE
    if by_column >= 0:
        m = pointer_to(state[by_column])
        logged = m[host.LOGGED]
        column(m, log, done, m[host.PLAN_QUEUE], m[host.PLAN_COLUMN_SLOT], event)
        share(state, first, end, by_column, logged, log)
    if by_row >= 0:
        m = pointer_to(state[by_row])
        logged = m[host.LOGGED]
        row_command(m, log, m[host.PLAN_ACTION], m[host.PLAN_ROW_BANK], m[host.PLAN_ROW_SLOT], m[host.PLAN_RANK], event)
        share(state, first, end, by_row, logged, log)


@borrowing
def at_end(state: NDArray[np.int64], first: int, end: int, bounds: Ints, after: int) -> int:
    """Return NEEDS_REQUESTS or DONE if a channel cannot go on, NONE if it can."""
    served_all = after == engine.NOTHING_MORE
    for k in range(first, end):
        more = state[k, host.TAKEN] < bounds[k + 1] - bounds[k]
        if not more and after == engine.MORE:
            return engine.NEEDS_REQUESTS
        if more or state[k, host.READS] + state[k, host.WRITES] > 0:
            served_all = False
    return engine.DONE if served_all else host.NONE


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
        cycle = state[first, host.NOW]
        if log.shape[0] > 0 and state[first, host.LOGGED] + 4 > log.shape[0]:
            return engine.LOG_FULL
        if cycle >= until:
            set_all(state, first, end, host.EVENT, max(state[first, host.EVENT], cycle))
            return engine.AT_LIMIT
        why = at_end(state, first, end, bounds, after)
        if why != host.NONE:
            if why == engine.DONE:
                set_all(state, first, end, host.EVENT, host.FOREVER)
            return why
        event = look = host.FOREVER
        for k in range(first, end):
            m = pointer_to(state[k])
            next_request(m, block[bounds[k] : bounds[k + 1]], done)
            if cycle >= m[host.REFRESH_CHECK] or m[host.OWING] == 1:
                begin_refreshes(m, cycle)
            switch_mode(m)
            look = min(look, _plan(m))
            event = min(event, min(min(m[host.PLAN_COLUMN], m[host.PLAN_ROW]), m[host.PLAN_ENTRY]))
        set_all(state, first, end, host.EVENT, min(event, look))
        if min(event, look) >= until:
            set_all(state, first, end, host.NOW, until)
            continue
        if look <= event:
            set_all(state, first, end, host.NOW, look)
            continue
        _issue(state, first, end, log, done, event)
        for k in range(first, end):
            if state[k, host.PLAN_ENTRY] == event:
                part = block[bounds[k] : bounds[k + 1]]
                enter(pointer_to(state[k]), part, done, state[k, host.TAKEN], state[k, host.PLAN_FORWARDED] == 1, event)
        set_all(state, first, end, host.NOW, event + 1)


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
            if why in (engine.LOG_FULL, engine.NEEDS_REQUESTS):
                return why
            waiting |= why == engine.AT_LIMIT
        if not waiting:
            return engine.DONE
        limit = go_on_together(state, limit, served(state) == before)
