"""The NDP side of shared ranks: which bursts are offered, which commands their banks need next, and issuing them.

`m` is the host's memory of a channel, `s` that of sharing, `bursts` the table of NDP bursts (`state`).
"""

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.issue import close_row, open_row, raise_own, record
from ndpsim.dram.host.queue import later_of
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing


@borrowing
def offer(m: Ints, s: Ints, bursts: Ints) -> None:
    """Fill the windows of all ranks."""
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        while s[q + shared.OFFERED] < s[shared.NDP_WINDOW] and s[q + shared.NEXT_BURST] < s[q + shared.LAST_BURST]:
            at = s[q + shared.NEXT_BURST]
            s[q + shared.NEXT_BURST] += 1
            s[q + shared.WINDOW + s[q + shared.OFFERED]] = at
            s[q + shared.OFFERED] += 1
            s[shared.OFFERS + bursts[at, shared.B_BANK] // host.BANK_SIZE] += 1
            s[q + shared.STALE] = 1


@borrowing
def _list(m: Ints, s: Ints, bursts: Ints, q: int) -> None:
    """List what the offered bursts of a rank need, one command a bank."""
    s[shared.LISTING] += 1
    listing = s[shared.LISTING]
    count = 0
    for i in range(s[q + shared.OFFERED]):
        at = s[q + shared.WINDOW + i]
        b = bursts[at, shared.B_BANK]
        bank = m[b + host.INDEX]
        if bursts[at, shared.B_ROW] == m[b + host.ROW] and s[shared.HIT_LISTED + bank] != listing:
            s[shared.HIT_LISTED + bank] = listing
            s[q + shared.CANDIDATE + count] = at * 4 + host.COLUMN
            count += 1
    for i in range(s[q + shared.OFFERED]):
        at = s[q + shared.WINDOW + i]
        b = bursts[at, shared.B_BANK]
        bank = m[b + host.INDEX]
        if s[shared.HIT_LISTED + bank] != listing and s[shared.LISTED + bank] != listing:
            s[shared.LISTED + bank] = listing
            s[q + shared.CANDIDATE + count] = at * 4 + (host.ACTIVATE if m[b + host.ROW] < 0 else host.PRECHARGE)
            count += 1
    s[q + shared.CANDIDATES] = count
    s[q + shared.STALE] = 0
    s[q + shared.CURRENT] = 0


@borrowing
def _legal_at(m: Ints, s: Ints, q: int, b: int, kind: int, write: int) -> int:
    """Return the first cycle in which a command is legal, FOREVER if its bank is not a candidate."""
    if m[b + host.HELD] == 1:
        return host.FOREVER
    if kind == host.COLUMN:
        later, bus = commands.RD + write, shared.COLUMNS
    else:
        if s[shared.NDP_POLICY] == shared.HOST_FIRST and m[b + host.HEAD + m[host.MODE]] >= 0:
            return host.FOREVER
        later, bus = later_of(kind, 0), shared.ROWS
    ready = max(m[host.READY + later * host.MAX_BANKS + m[b + host.INDEX]], s[q + shared.NDP_READY + later])
    return max(ready, s[q + shared.RANK_BUS + bus])


@borrowing
def first_command(m: Ints, s: Ints, bursts: Ints, q: int, floor: int) -> int:
    """Return when a rank's first NDP command is legal, no earlier than `floor`; FOREVER if there is none."""
    if s[q + shared.STALE] == 1:
        _list(m, s, bursts, q)
    if s[q + shared.CURRENT] == 0:
        cycle = host.FOREVER
        for i in range(s[q + shared.CANDIDATES]):
            code = s[q + shared.CANDIDATE + i]
            at = code >> 2
            cycle = min(cycle, _legal_at(m, s, q, bursts[at, shared.B_BANK], code & 3, bursts[at, shared.B_WRITE]))
        s[q + shared.FIRST_LEGAL] = cycle
        s[q + shared.CURRENT] = 1
    return max(s[q + shared.FIRST_LEGAL], floor)


@borrowing
def look_again(m: Ints, s: Ints) -> None:
    """Note that all ranks' candidates have changed: the active queue is another, or banks are held."""
    for q in range(0, m[host.N_RANKS] * shared.SHARE, shared.SHARE):
        s[q + shared.CURRENT] = 0


@borrowing
def pick(m: Ints, s: Ints, bursts: Ints, q: int, columns: bool, rows: bool, cycle: int) -> int:
    """Return the candidate that goes in this cycle on a bus for columns, rows or both, if the bus is free; or NONE."""
    precharge = host.NONE
    if s[q + shared.FIRST_LEGAL] > cycle:
        return host.NONE
    for i in range(s[q + shared.CANDIDATES]):
        code = s[q + shared.CANDIDATE + i]
        kind, b = code & 3, bursts[code >> 2, shared.B_BANK]
        if kind == host.COLUMN:
            if columns and _legal_at(m, s, q, b, kind, bursts[code >> 2, shared.B_WRITE]) <= cycle:
                return code
        elif rows and b != s[q + shared.COLUMN_BANK] and _legal_at(m, s, q, b, kind, 0) <= cycle:
            if kind == host.ACTIVATE:
                return code
            if precharge == host.NONE:
                precharge = code
    return precharge


@borrowing
def follow(m: Ints, s: Ints, command: int, r: int, cycle: int) -> None:
    """Note what a command means for its rank's busses and for NDP commands in it; `r` is the rank's record in `m`."""
    q = r // host.RANK_SIZE * shared.SHARE
    s[q + shared.STALE] = 1
    free = cycle + m[host.CLOCKS + command]
    column = command == commands.RD or command == commands.RD + 1 or command >= commands.RDA
    if column or m[host.TWO_BUSSES] == 0:
        s[q + shared.RANK_BUS + shared.COLUMNS] = free
    if not column or m[host.TWO_BUSSES] == 0:
        s[q + shared.RANK_BUS + shared.ROWS] = free
    first = host.FIRST + command * 3 + 2
    for k in range(host.ROWS + 2 * m[first], host.ROWS + 2 * m[first + 1], 2):
        at = q + shared.NDP_READY + m[k]
        s[at] = max(s[at], cycle + m[k + 1])
    for window in range(m[host.N_WINDOWS]):
        w = host.WINDOWS + 8 * window
        if m[w] == command and m[w + 1] == 2:
            ring = window * host.MAX_BANKS + r // host.RANK_SIZE
            at = q + shared.NDP_READY + m[w + 2]
            s[at] = max(s[at], m[host.RECENT + ring * host.MAX_WINDOW + m[host.TURN + ring]] + m[w + 3])


@borrowing
def issue(m: Ints, s: Ints, bursts: Ints, log: Ints, q: int, code: int, cycle: int) -> None:
    """Issue an NDP command."""
    at, kind = code >> 2, code & 3
    b = bursts[at, shared.B_BANK]
    if kind == host.ACTIVATE:
        bursts[at, shared.B_EFFORT] = 1
        open_row(m, log, b, bursts[at, shared.B_ROW], cycle)
        follow(m, s, commands.ACT, q // shared.SHARE * host.RANK_SIZE, cycle)
    elif kind == host.PRECHARGE:
        close_row(m, log, b, cycle)
        follow(m, s, commands.PRE, q // shared.SHARE * host.RANK_SIZE, cycle)
    else:
        write = bursts[at, shared.B_WRITE]
        m[b + host.USED] = cycle
        m[host.LAST_COLUMN] = cycle
        raise_own(m, commands.RD + write, b, cycle)
        record(
            m,
            log,
            cycle,
            commands.RDN + write,
            m[b + host.INDEX],
            bursts[at, shared.B_ROW],
            bursts[at, shared.B_COLUMN],
        )
        follow(m, s, commands.RD + write, q // shared.SHARE * host.RANK_SIZE, cycle)
        s[q + shared.HOST_LAST] = 0
        s[q + shared.NDP_READS + write] += 1
        s[q + shared.NDP_HITS] += 1 - bursts[at, shared.B_EFFORT]
        s[q + shared.NDP_DONE] = max(s[q + shared.NDP_DONE], cycle + m[host.READ_CLOCKS + write])
        s[shared.BURSTS_LEFT] -= 1
        _withdraw(m, s, q, at, b)


@borrowing
def _withdraw(m: Ints, s: Ints, q: int, at: int, b: int) -> None:
    """Take a burst out of its rank's window."""
    s[shared.OFFERS + m[b + host.INDEX]] -= 1
    s[q + shared.OFFERED] -= 1
    last = q + shared.WINDOW + s[q + shared.OFFERED]
    i = q + shared.WINDOW
    while s[i] != at:
        i += 1
    for k in range(i, last):
        s[k] = s[k + 1]
