"""The loop over the events of a channel in which several take turns: pseudo-channels, or the host and NDP units.

Each of them says what it does next (`plan`), and the first of these is issued. `sharing` is None where no NDP unit
shares the ranks; then the compiler drops all code for NDP units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import engine, pseudo_channels
from ndpsim.dram.host import state as host
from ndpsim.dram.host.engine import begin_refreshes, begin_together, enter, go_on_together, served
from ndpsim.dram.host.pseudo_channels import at_end, next_request, set_all
from ndpsim.dram.host.queue import switch_mode
from ndpsim.dram.host.shared import engine as sharing_engine
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.shared.ndp_side import look_again, offer
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, pointer_to


@borrowing
def _advance(state: NDArray[np.int64], sharing: Any, bursts: Any, first: int, end: int, block: Ints, bounds: Ints,
             after: int, until: int, log: Ints, done: Ints) -> int:  # fmt: skip
    """Run a channel as `host.engine.advance` does, until its NDP bursts are done too.

    Its pseudo-channels are rows `first` to before `end` of the state and of the sharing.
    """
    most = 4  # commands in one cycle
    if sharing is not None:
        most = 2 + 2 * state[first, host.N_RANKS] * (end - first)
        for k in range(first, end):
            offer(pointer_to(state[k]), pointer_to(sharing[k]), bursts)
    while True:
        cycle = state[first, host.NOW]
        if log.shape[0] > 0 and state[first, host.LOGGED] + most > log.shape[0]:
            return engine.LOG_FULL
        if cycle >= until:
            set_all(state, first, end, host.EVENT, max(state[first, host.EVENT], cycle))
            return engine.AT_LIMIT
        why = at_end(state, first, end, bounds, after)
        if sharing is not None and why == engine.DONE and sharing_engine.bursts_left(sharing, first, end):
            why = host.NONE
        if why == engine.DONE:
            set_all(state, first, end, host.EVENT, host.FOREVER)
        if why != host.NONE:
            return why
        event = look = host.FOREVER
        for k in range(first, end):
            m = pointer_to(state[k])
            next_request(m, block[bounds[k] : bounds[k + 1]], done)
            mode = m[host.MODE]
            if sharing is None:
                if cycle >= m[host.REFRESH_CHECK] or m[host.OWING] == 1:
                    begin_refreshes(m, None, cycle)
                switch_mode(m)
                own_event, own_look = pseudo_channels.plan(m)
            else:
                s = pointer_to(sharing[k])
                if cycle >= m[host.REFRESH_CHECK] or m[host.OWING] == 1:
                    begin_refreshes(m, s, cycle)
                switch_mode(m)
                if m[host.MODE] != mode:
                    look_again(m, s)
                own_event, own_look = sharing_engine.plan(m, s, bursts)
            event, look = min(event, own_event), min(look, own_look)
        set_all(state, first, end, host.EVENT, min(event, look))
        if min(event, look) >= until:
            set_all(state, first, end, host.NOW, until)
            continue
        if look <= event:
            set_all(state, first, end, host.NOW, look)
            continue
        if sharing is None:
            pseudo_channels.issue(state, first, end, log, done, event)
        else:
            sharing_engine.issue_all(state, sharing, first, end, bursts, log, done, event)
        for k in range(first, end):
            m = pointer_to(state[k])
            if m[host.PLAN_ENTRY] == event:
                part, i = block[bounds[k] : bounds[k + 1]], m[host.TAKEN]
                enter(m, part, done, i, m[host.PLAN_FORWARDED] == 1, event)
                if sharing is not None:
                    sharing[
                        k, m[part[i, host.R_BANK] + host.RANK] // host.RANK_SIZE * shared.SHARE + shared.CURRENT
                    ] = 0
        set_all(state, first, end, host.NOW, event + 1)


@borrowing
def run_in_turns(state: NDArray[np.int64], sharing: Any, bursts: Any, k: int, pseudo_channels: int, block: Ints,
                 bounds: Ints, after: int, until: int, log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run channel k as `host.engine.run_channel` does; state, sharing and bounds are of all pseudo-channels.

    sharing [pseudo-channels, SIZE] and bursts: see `shared.state`, or None.
    """
    first = k * pseudo_channels
    return _advance(state, sharing, bursts, first, first + pseudo_channels, block, bounds, after, until, log[k], done)


@borrowing
def run_in_turns_together(state: NDArray[np.int64], sharing: Any, bursts: Any, pseudo_channels: int, block: Ints,
                          bounds: Ints, after: int, log: NDArray[np.int64], done: Ints) -> int:  # fmt: skip
    """Run all channels in step, as `host.engine.run_together` does."""
    limit = begin_together(state)
    while True:
        before = served(state)
        waiting = False
        for k in range(log.shape[0]):
            why = run_in_turns(state, sharing, bursts, k, pseudo_channels, block, bounds, after, limit, log, done)
            if why in (engine.LOG_FULL, engine.NEEDS_REQUESTS):
                return why
            waiting |= why == engine.AT_LIMIT
        if not waiting:
            return engine.DONE
        limit = go_on_together(state, limit, served(state) == before)
