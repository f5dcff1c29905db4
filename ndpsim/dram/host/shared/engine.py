"""The controller of a channel whose ranks NDP units use as well, event by event.

HOST_CONTROLLER.md ("Sharing the ranks with NDP units") is its specification. All commands of a cycle are chosen before
any of them is issued, so that every choice sees the state at the end of the previous cycle. A channel has a row of the
state (`m`) and of the sharing (`s`) for each of its pseudo-channels, at least one.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.engine import idle_row, oldest_request, refresh_step
from ndpsim.dram.host.issue import activate, precharge, precharge_all, refresh, send_column, wanted_again
from ndpsim.dram.host.pseudo_channels import share
from ndpsim.dram.host.queue import legal_at
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.shared.host_side import earliest, offered_for_row
from ndpsim.dram.host.shared.ndp_side import first_command, follow, issue, offer, pick
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, pointer_to


@borrowing
def _channel_bus(bus: int) -> int:
    """Return the place in `m` of the cycle from which on a bus of the channel is free."""
    return host.COLUMN_BUS if bus == shared.COLUMNS else host.ROW_BUS


@borrowing
def _starving(m: Ints) -> tuple[int, int]:
    """Return the command that the oldest request needs (TO_...), and the first cycle in which it is legal.

    Both leave the channel's and its rank's bus out.
    """
    queue, oldest = oldest_request(m)
    b = m[oldest + host.BANK]
    if m[b + host.HELD] == 1:
        return shared.NO_ACTION, host.FOREVER
    if m[b + host.ROW] == m[oldest + host.SLOT_ROW]:
        return shared.TO_COLUMN, legal_at(m, b, commands.RD + queue)
    if m[b + host.ROW] < 0:
        return shared.TO_ACTIVATE, legal_at(m, b, commands.ACT)
    return shared.TO_PRECHARGE, legal_at(m, b, commands.PRE)


@borrowing
def _note(s: Ints, bus: int, action: int, b: int, at: int, cycle: int) -> None:
    """Note what the host does next on a bus, for which request, and when that is legal."""
    s[shared.HOST_ACTION + bus] = action
    s[shared.HOST_BANK + bus] = b
    s[shared.HOST_SLOT + bus] = at
    s[shared.HOST_LEGAL + bus] = cycle


@borrowing
def _first_host(m: Ints, s: Ints, bus: int, starving: bool, floor: int) -> None:
    """Note the first host command that is legal on a bus, no earlier than `floor`, and goes first of those then legal.

    HOST_LEGAL is FOREVER if there is none.
    """
    columns, rows = bus == shared.COLUMNS, bus == shared.ROWS or m[host.TWO_BUSSES] == 0
    _note(s, bus, shared.NO_ACTION, host.NONE, host.NONE, host.FOREVER)
    if starving:
        action, ready = _starving(m)
        if action != shared.NO_ACTION and (columns if action == shared.TO_COLUMN else rows):
            _, oldest = oldest_request(m)
            b = m[oldest + host.BANK]
            own = shared.COLUMNS if action == shared.TO_COLUMN else shared.ROWS
            q = m[b + host.RANK] // host.RANK_SIZE * shared.SHARE
            free = max(s[q + shared.RANK_BUS + own], m[_channel_bus(own)])
            _note(s, bus, action, b, oldest, max(max(ready, free), floor))
        return
    if m[host.READS + m[host.MODE]] > 0:
        for kind in range(host.COLUMN, host.PRECHARGE + 1):
            if columns if kind == host.COLUMN else rows:
                own = shared.COLUMNS if kind == host.COLUMN else shared.ROWS
                t, b = earliest(m, s, kind, max(floor, m[_channel_bus(own)]))
                if t < s[shared.HOST_LEGAL + bus]:
                    at = m[b + host.HIT] if kind == host.COLUMN else m[b + host.HEAD + m[host.MODE]]
                    _note(s, bus, shared.TO_COLUMN + kind, b, at, t)
    if rows and m[host.ROW_POLICY] == 2:
        t, b = idle_row(m, s, max(floor, m[host.ROW_BUS]))
        if t < s[shared.HOST_LEGAL + bus]:
            _note(s, bus, shared.TO_PRECHARGE, b, host.NONE, t)


@borrowing
def _first_refresh(m: Ints, s: Ints, floor: int) -> tuple[int, int, int]:
    """Return when the first command of a refresh under way is legal, its rank's record in `m`, and its bank or NONE."""
    cycle = host.FOREVER
    rank = bank = host.NONE
    if m[host.UNDER_WAY] > 0:
        for r in range(0, m[host.N_RANKS] * host.RANK_SIZE, host.RANK_SIZE):
            if m[r + host.REFRESHING] == 1:
                bus = max(m[host.ROW_BUS], s[r // host.RANK_SIZE * shared.SHARE + shared.RANK_BUS + shared.ROWS])
                t, b = refresh_step(m, r, max(floor, bus))
                if t < cycle:
                    cycle, rank, bank = t, r, b
    return cycle, rank, bank


@borrowing
def _choose_ndp(m: Ints, s: Ints, bursts: Ints, bus: int, refreshed: int, cycle: int) -> None:
    """Choose what NDP units send on a bus in this cycle, then what the host does next in ranks that do not yield.

    refreshed: the record in `s` of the rank that gets a refresh command on this bus, or NONE.
    """
    columns, rows = bus == shared.COLUMNS, bus == shared.ROWS or m[host.TWO_BUSSES] == 0
    anew = not columns  # row commands that have been noted may be for banks that now get a column command
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        code = host.NONE
        if q != s[shared.STARVING] and q != refreshed:
            code = pick(m, s, bursts, q, columns, rows, cycle)
        s[q + shared.PICK + bus] = code
        ndp_goes_first = s[shared.NDP_POLICY] == shared.NDP_FIRST or (
            s[shared.NDP_POLICY] == shared.ALTERNATE and s[q + shared.HOST_LAST] == 1
        )
        if code >= 0 and ndp_goes_first:
            s[q + shared.YIELDS] = 1
            anew = True
    if anew:
        _first_host(m, s, bus, s[shared.STARVING] >= 0, cycle)
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        s[q + shared.YIELDS] = 0


@borrowing
def _first_of(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bus: int, cycle: int) -> int:
    """Return the pseudo-channel whose host command goes on a bus in this cycle; or NONE."""
    chosen, order, oldest = host.NONE, host.FOREVER, host.FOREVER
    for k in range(first, end):
        s = sharing[k]
        if s[shared.HOST_LEGAL + bus] <= cycle:
            at = s[shared.HOST_SLOT + bus]
            of_policy = 1 if at < 0 else 0
            entry = 0 if at < 0 else state[k, at + host.ENTRY]
            own = s[shared.HOST_ACTION + bus] * 2 + of_policy
            if own < order or (own == order and entry < oldest):
                chosen, order, oldest = k, own, entry
    return chosen


@borrowing
def _choose(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, bus: int,
            refreshing: int, cycle: int) -> None:  # fmt: skip
    """Choose the commands of this cycle on a bus: a command of the host or of a refresh, and those of NDP units.

    refreshing: the pseudo-channel in which a refresh command goes now, or NONE. What the host does next if no rank
    yields has been noted.
    """
    if bus == shared.COLUMNS and state[first, host.TWO_BUSSES] == 1:
        refreshing = host.NONE
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        refreshed = s[shared.REFRESHED] // host.RANK_SIZE * shared.SHARE if k == refreshing else host.NONE
        _choose_ndp(m, s, bursts, bus, refreshed, cycle)
    goes = _first_of(state, sharing, first, end, bus, cycle) if refreshing < 0 else host.NONE
    for k in range(first, end):
        s = sharing[k]
        if k == refreshing:
            s[shared.HOST_ACTION + bus] = shared.TO_REFRESH
        elif k != goes:
            s[shared.HOST_ACTION + bus] = shared.NO_ACTION
        else:
            q = state[k, s[shared.HOST_BANK + bus] + host.RANK] // host.RANK_SIZE * shared.SHARE
            s[q + shared.PICK + bus] = host.NONE


@borrowing
def _note_column_banks(m: Ints, s: Ints, bursts: Ints) -> None:
    """Note for every rank the bank for which a column command is chosen."""
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        code = s[q + shared.PICK + shared.COLUMNS]
        s[q + shared.COLUMN_BANK] = bursts[code >> 2, shared.B_BANK] if code >= 0 else host.NONE
    if s[shared.HOST_ACTION + shared.COLUMNS] == shared.TO_COLUMN:
        b = s[shared.HOST_BANK + shared.COLUMNS]
        s[m[b + host.RANK] // host.RANK_SIZE * shared.SHARE + shared.COLUMN_BANK] = b


@borrowing
def _issue_host(m: Ints, s: Ints, bursts: Ints, log: Ints, done: Ints, bus: int, cycle: int) -> None:
    """Issue the host's or the refresh command that is chosen for a bus."""
    action, b, at = s[shared.HOST_ACTION + bus], s[shared.HOST_BANK + bus], s[shared.HOST_SLOT + bus]
    if action == shared.TO_COLUMN:
        queue = m[host.PLAN_QUEUE]
        command = commands.RD + queue
        if m[host.ROW_POLICY] == 1 and not wanted_again(m, b, at) and not offered_for_row(m, s, bursts, b):
            command = commands.RDA + queue
        send_column(m, log, done, queue, command, at, cycle)
        follow(m, s, command, m[b + host.RANK], cycle)
        s[m[b + host.RANK] // host.RANK_SIZE * shared.SHARE + shared.HOST_LAST] = 1
    elif action == shared.TO_ACTIVATE:
        activate(m, log, b, at, cycle)
        follow(m, s, commands.ACT, m[b + host.RANK], cycle)
    elif action == shared.TO_PRECHARGE:
        precharge(m, log, b, at, cycle)
        follow(m, s, commands.PRE, m[b + host.RANK], cycle)
    elif action == shared.TO_REFRESH:
        refreshed, bank = s[shared.REFRESHED], s[shared.REFRESH_BANK]
        if bank >= 0:
            command = commands.PRE
            precharge(m, log, bank, host.NONE, cycle)
        elif m[host.SETS] == 0 and m[refreshed + host.OPEN_BANKS] > 0:
            command = commands.PREA
            precharge_all(m, log, refreshed, cycle)
        else:
            command = commands.REF if m[host.SETS] == 0 else commands.REFSET
            refresh(m, log, refreshed, cycle)
        follow(m, s, command, refreshed, cycle)


@borrowing
def _issue_bus(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, log: Ints,
               done: Ints, bus: int, cycle: int) -> None:  # fmt: skip
    """Issue all that is chosen for a bus."""
    for k in range(first, end):
        if sharing[k, shared.HOST_ACTION + bus] != shared.NO_ACTION:
            m = pointer_to(state[k])
            logged = m[host.LOGGED]
            _issue_host(m, pointer_to(sharing[k]), bursts, log, done, bus, cycle)
            share(state, first, end, k, logged, log)
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        logged = m[host.LOGGED]
        for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
            if s[q + shared.PICK + bus] >= 0:
                issue(m, s, bursts, log, q, s[q + shared.PICK + bus], cycle)
        share(state, first, end, k, logged, log)


@borrowing
def plan(m: Ints, s: Ints, bursts: Ints) -> tuple[int, int]:
    """Note what a pseudo-channel does next; return when that is, and when to look again if not before."""
    cycle = m[host.NOW]
    look = m[host.REFRESH_CHECK]
    m[host.PLAN_QUEUE], s[shared.STARVING] = m[host.MODE], host.NONE
    if cycle >= m[host.PATIENCE]:
        m[host.PLAN_QUEUE], oldest = oldest_request(m)
        s[shared.STARVING] = m[m[oldest + host.BANK] + host.RANK] // host.RANK_SIZE * shared.SHARE
    else:
        look = min(look, m[host.PATIENCE])
    event = m[host.PLAN_ENTRY]
    for bus in range(1 + m[host.TWO_BUSSES]):
        _first_host(m, s, bus, s[shared.STARVING] >= 0, cycle)
        event = min(event, s[shared.HOST_LEGAL + bus])
    s[shared.REFRESH_LEGAL], s[shared.REFRESHED], s[shared.REFRESH_BANK] = _first_refresh(m, s, cycle)
    event = min(event, s[shared.REFRESH_LEGAL])
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        if q != s[shared.STARVING]:
            event = min(event, first_command(m, s, bursts, q, cycle))
    return event, look


@borrowing
def issue_all(state: NDArray[np.int64], sharing: NDArray[np.int64], first: int, end: int, bursts: Ints, log: Ints,
           done: Ints, event: int) -> None:  # fmt: skip
    """Choose what goes on all busses in this cycle, and issue it."""
    refreshing = host.NONE
    for k in range(first, end):
        if refreshing < 0 and sharing[k, shared.REFRESH_LEGAL] == event:
            refreshing = k
    two_busses = state[first, host.TWO_BUSSES]
    for bus in range(1 + two_busses):
        _choose(state, sharing, first, end, bursts, bus, refreshing, event)
        if two_busses == 1:
            for k in range(first, end):
                _note_column_banks(pointer_to(state[k]), pointer_to(sharing[k]), bursts)
    for bus in range(1 + two_busses):
        _issue_bus(state, sharing, first, end, bursts, log, done, bus ^ sharing[first, shared.ROWS_FIRST], event)
    for k in range(first, end):
        m, s = pointer_to(state[k]), pointer_to(sharing[k])
        for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
            s[q + shared.COLUMN_BANK] = host.NONE
        offer(m, s, bursts)


@borrowing
def bursts_left(sharing: NDArray[np.int64], first: int, end: int) -> bool:
    """Tell whether NDP bursts of a channel are still to come."""
    left = 0
    for k in range(first, end):
        left += sharing[k, shared.BURSTS_LEFT]
    return left > 0
