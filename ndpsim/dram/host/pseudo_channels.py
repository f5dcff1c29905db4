"""The host controller of a channel with pseudo-channels: each has queues and banks, all share the command busses.

Each pseudo-channel has a memory of its own (`state.py`), and all of a channel are at the same clock. At every event
each of them says what it does next, and each bus carries the command that comes first by the rules of
HOST_CONTROLLER.md. All of them know when the command busses are free, and write into one log.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands, engine
from ndpsim.dram.host import state as host
from ndpsim.dram.host.engine import entry_cycle, next_commands, row_command
from ndpsim.dram.host.issue import column
from ndpsim.dram.host.queue import find_burst
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
def plan(m: Ints) -> tuple[int, int]:
    """Note what a pseudo-channel does next; return when that is, and when to look again if not before."""
    (m[host.PLAN_COLUMN], m[host.PLAN_QUEUE], m[host.PLAN_COLUMN_SLOT], m[host.PLAN_ROW], m[host.PLAN_ROW_SLOT],
     m[host.PLAN_ROW_BANK], m[host.PLAN_ACTION], m[host.PLAN_RANK], look) = next_commands(m)  # fmt: skip
    return min(min(m[host.PLAN_COLUMN], m[host.PLAN_ROW]), m[host.PLAN_ENTRY]), look


@borrowing
def share(state: NDArray[np.int64], first: int, end: int, issuer: int, logged: int, log: Ints) -> None:
    """Update the other pseudo-channels of a channel after one of them has used the busses and the log.

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
def issue(state: NDArray[np.int64], first: int, end: int, log: Ints, done: Ints, event: int) -> None:
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
