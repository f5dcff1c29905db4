"""The NDP side of shared ranks: which bursts are offered, what their banks need next, and issuing that.

`m` is the host's memory of a channel, `s` that of sharing, `bursts` the table of NDP bursts (`state`).
"""

from ndpsim.dram.host.constraint_table import ACT, PRE, RD, RDA, RDN
from ndpsim.dram.host.issue import close_row, open_row, raise_own, record
from ndpsim.dram.host.queue import later_of
from ndpsim.dram.host.shared.state import (
    B_BANK,
    B_COLUMN,
    B_EFFORT,
    B_ROW,
    B_WRITE,
    BURSTS_LEFT,
    CANDIDATE,
    CANDIDATES,
    COLUMN_BANK,
    COLUMNS,
    CURRENT,
    FIRST_LEGAL,
    HIT_LISTED,
    HOST_FIRST,
    HOST_LAST,
    LAST_BURST,
    LISTED,
    LISTING,
    NDP_DONE,
    NDP_HITS,
    NDP_POLICY,
    NDP_READS,
    NDP_READY,
    NDP_WINDOW,
    NEXT_BURST,
    OFFERED,
    OFFERS,
    RANK_BUS,
    ROWS,
    SHARE,
    STALE,
    WINDOW,
)
from ndpsim.dram.host.state import (
    ACTIVATE,
    BANK_SIZE,
    CLOCKS,
    COLUMN,
    FIRST,
    FOREVER,
    HEAD,
    HELD,
    INDEX,
    LAST_COLUMN,
    MAX_BANKS,
    MAX_WINDOW,
    MODE,
    N_RANKS,
    N_WINDOWS,
    NONE,
    RANK_SIZE,
    READ_CLOCKS,
    READY,
    RECENT,
    ROW,
    TURN,
    TWO_BUSSES,
    USED,
    WINDOWS,
    Ints,
)
from ndpsim.dram.host.state import PRECHARGE as CLOSE
from ndpsim.dram.host.state import ROWS as RULES
from ndpsim.jit import borrowing


@borrowing
def offer(m: Ints, s: Ints, bursts: Ints) -> None:
    """Fill the windows of all ranks."""
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        while s[q + OFFERED] < s[NDP_WINDOW] and s[q + NEXT_BURST] < s[q + LAST_BURST]:
            at = s[q + NEXT_BURST]
            s[q + NEXT_BURST] += 1
            s[q + WINDOW + s[q + OFFERED]] = at
            s[q + OFFERED] += 1
            s[OFFERS + bursts[at, B_BANK] // BANK_SIZE] += 1
            s[q + STALE] = 1


@borrowing
def _list(m: Ints, s: Ints, bursts: Ints, q: int) -> None:
    """List what the offered bursts of a rank need, one command a bank."""
    s[LISTING] += 1
    listing = s[LISTING]
    count = 0
    for i in range(s[q + OFFERED]):
        at = s[q + WINDOW + i]
        b = bursts[at, B_BANK]
        bank = m[b + INDEX]
        if bursts[at, B_ROW] == m[b + ROW] and s[HIT_LISTED + bank] != listing:
            s[HIT_LISTED + bank] = listing
            s[q + CANDIDATE + count] = at * 4 + COLUMN
            count += 1
    for i in range(s[q + OFFERED]):
        at = s[q + WINDOW + i]
        b = bursts[at, B_BANK]
        bank = m[b + INDEX]
        if s[HIT_LISTED + bank] != listing and s[LISTED + bank] != listing:
            s[LISTED + bank] = listing
            s[q + CANDIDATE + count] = at * 4 + (ACTIVATE if m[b + ROW] < 0 else CLOSE)
            count += 1
    s[q + CANDIDATES] = count
    s[q + STALE] = 0
    s[q + CURRENT] = 0


@borrowing
def _legal_at(m: Ints, s: Ints, q: int, b: int, kind: int, write: int) -> int:
    """Return the first cycle in which a command is legal, FOREVER if its bank is not a candidate."""
    if m[b + HELD] == 1:
        return FOREVER
    if kind == COLUMN:
        later, bus = RD + write, COLUMNS
    else:
        if s[NDP_POLICY] == HOST_FIRST and m[b + HEAD + m[MODE]] >= 0:
            return FOREVER
        later, bus = later_of(kind, 0), ROWS
    ready = max(m[READY + later * MAX_BANKS + m[b + INDEX]], s[q + NDP_READY + later])
    return max(ready, s[q + RANK_BUS + bus])


@borrowing
def first_command(m: Ints, s: Ints, bursts: Ints, q: int, floor: int) -> int:
    """Return when a rank's first NDP command is legal, no earlier than `floor`; FOREVER if there is none."""
    if s[q + STALE] == 1:
        _list(m, s, bursts, q)
    if s[q + CURRENT] == 0:
        cycle = FOREVER
        for i in range(s[q + CANDIDATES]):
            code = s[q + CANDIDATE + i]
            at = code >> 2
            cycle = min(cycle, _legal_at(m, s, q, bursts[at, B_BANK], code & 3, bursts[at, B_WRITE]))
        s[q + FIRST_LEGAL] = cycle
        s[q + CURRENT] = 1
    return max(s[q + FIRST_LEGAL], floor)


@borrowing
def look_again(m: Ints, s: Ints) -> None:
    """Note that all ranks' candidates have changed: the active queue is another, or banks are held."""
    for q in range(0, m[N_RANKS] * SHARE, SHARE):
        s[q + CURRENT] = 0


@borrowing
def pick(m: Ints, s: Ints, bursts: Ints, q: int, columns: bool, rows: bool, cycle: int) -> int:
    """Return the candidate that goes in this cycle on a bus for columns, rows or both, if the bus is free; or NONE."""
    precharge = NONE
    if s[q + FIRST_LEGAL] > cycle:
        return NONE
    for i in range(s[q + CANDIDATES]):
        code = s[q + CANDIDATE + i]
        kind, b = code & 3, bursts[code >> 2, B_BANK]
        if kind == COLUMN:
            if columns and _legal_at(m, s, q, b, kind, bursts[code >> 2, B_WRITE]) <= cycle:
                return code
        elif rows and b != s[q + COLUMN_BANK] and _legal_at(m, s, q, b, kind, 0) <= cycle:
            if kind == ACTIVATE:
                return code
            if precharge == NONE:
                precharge = code
    return precharge


@borrowing
def follow(m: Ints, s: Ints, command: int, r: int, cycle: int) -> None:
    """Note what a command means for its rank's busses and for NDP commands in it; `r` is the rank's record in `m`."""
    q = r // RANK_SIZE * SHARE
    s[q + STALE] = 1
    free = cycle + m[CLOCKS + command]
    column = command == RD or command == RD + 1 or command >= RDA
    if column or m[TWO_BUSSES] == 0:
        s[q + RANK_BUS + COLUMNS] = free
    if not column or m[TWO_BUSSES] == 0:
        s[q + RANK_BUS + ROWS] = free
    first = FIRST + command * 3 + 2
    for k in range(RULES + 2 * m[first], RULES + 2 * m[first + 1], 2):
        at = q + NDP_READY + m[k]
        s[at] = max(s[at], cycle + m[k + 1])
    for window in range(m[N_WINDOWS]):
        w = WINDOWS + 8 * window
        if m[w] == command and m[w + 1] == 2:
            ring = window * MAX_BANKS + r // RANK_SIZE
            at = q + NDP_READY + m[w + 2]
            s[at] = max(s[at], m[RECENT + ring * MAX_WINDOW + m[TURN + ring]] + m[w + 3])


@borrowing
def issue(m: Ints, s: Ints, bursts: Ints, log: Ints, q: int, code: int, cycle: int) -> None:
    """Issue an NDP command."""
    at, kind = code >> 2, code & 3
    b = bursts[at, B_BANK]
    if kind == ACTIVATE:
        bursts[at, B_EFFORT] = 1
        open_row(m, log, b, bursts[at, B_ROW], cycle)
        follow(m, s, ACT, q // SHARE * RANK_SIZE, cycle)
    elif kind == CLOSE:
        close_row(m, log, b, cycle)
        follow(m, s, PRE, q // SHARE * RANK_SIZE, cycle)
    else:
        write = bursts[at, B_WRITE]
        m[b + USED] = cycle
        m[LAST_COLUMN] = cycle
        raise_own(m, RD + write, b, cycle)
        record(m, log, cycle, RDN + write, m[b + INDEX], bursts[at, B_ROW], bursts[at, B_COLUMN])
        follow(m, s, RD + write, q // SHARE * RANK_SIZE, cycle)
        s[q + HOST_LAST] = 0
        s[q + NDP_READS + write] += 1
        s[q + NDP_HITS] += 1 - bursts[at, B_EFFORT]
        s[q + NDP_DONE] = max(s[q + NDP_DONE], cycle + m[READ_CLOCKS + write])
        s[BURSTS_LEFT] -= 1
        _withdraw(m, s, q, at, b)


@borrowing
def _withdraw(m: Ints, s: Ints, q: int, at: int, b: int) -> None:
    """Take a burst out of its rank's window."""
    s[OFFERS + m[b + INDEX]] -= 1
    s[q + OFFERED] -= 1
    last = q + WINDOW + s[q + OFFERED]
    i = q + WINDOW
    while s[i] != at:
        i += 1
    for k in range(i, last):
        s[k] = s[k + 1]
