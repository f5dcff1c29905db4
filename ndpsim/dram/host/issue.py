"""Issuing the host controller's commands: bank states, the constraints that they raise, counters and the log."""

from ndpsim.dram.host.constraint_table import ACT, PRE, PREA, RD, RDA, REF, REFSET
from ndpsim.dram.host.queue import dequeue, find_hit, later_of, place
from ndpsim.dram.host.state import (
    BANK,
    BANK_SIZE,
    BEST_SIZE,
    BUCKETS,
    CLOCKS,
    COLUMN_BUS,
    CONFLICTS,
    DEPENDENT,
    DONE_READS,
    DUE,
    EFFORT,
    FIRST,
    GROUP_BANKS,
    GROUP_FIRST,
    HEAD,
    HELD,
    HIT,
    HITS,
    INDEX,
    INTERVAL,
    ISSUED,
    KINDS,
    LAST_COLUMN,
    LAST_DONE,
    LATENCY,
    LATENCY_SUM,
    LINEAR,
    LOGGED,
    LONGEST,
    MAX_BANKS,
    MAX_WINDOW,
    MISSES,
    MODE,
    N_BANKS,
    N_WINDOWS,
    NEXT,
    NONE,
    NUMBER,
    OPEN_BANKS,
    OPEN_CLOCKS,
    OPEN_SINCE,
    ORIGIN,
    OTHERS,
    OTHERS_FIRST,
    RANK,
    RANK_NUMBER,
    RANK_READY,
    RANK_SIZE,
    RANKS_PER_BUS,
    READ_CLOCKS,
    READY,
    RECENT,
    REFRESH_CHECK,
    REFRESHING,
    ROW,
    ROW_BUS,
    ROW_POLICY,
    ROWS,
    SET,
    SET_NUMBER,
    SETS,
    SLOT_COLUMN,
    SLOT_ROW,
    START,
    TOUCHES,
    TURN,
    TWO_BUSSES,
    UNDER_WAY,
    USED,
    VALID,
    WINDOWS,
    Ints,
)
from ndpsim.jit import borrowing, merged


@merged
def record(m: Ints, log: Ints, cycle: int, command: int, number: int, row: int, column: int) -> None:
    """Log a command (`RECORD`); `number` is that of its bank, its rank, or the first bank of its set."""
    at = m[LOGGED]
    if log.shape[0] > 0:
        log[at, 0] = cycle
        log[at, 1] = command
        log[at, 2] = number
        log[at, 3] = row
        log[at, 4] = column
        m[LOGGED] = at + 1


@merged
def _occupy(m: Ints, command: int, cycle: int) -> None:
    """Hold the command bus, and drop cached choices whose constraints the command raises."""
    free = cycle + m[CLOCKS + command]
    column = command == RD or command == RD + 1 or command >= RDA
    if column or m[TWO_BUSSES] == 0:
        m[COLUMN_BUS] = free
    if not column or m[TWO_BUSSES] == 0:
        m[ROW_BUS] = free
    touched = m[TOUCHES + command]
    for kind in range(KINDS):
        if touched >> later_of(kind, m[MODE]) & 1:
            m[VALID + kind * BEST_SIZE] = 0


@merged
def _raise(m: Ints, at: int, cycle: int) -> None:
    """Note that a command is not legal before this cycle; `at` is READY or RANK_READY of it."""
    if m[at] < cycle:
        m[at] = cycle


@merged
def _raise_rank(m: Ints, command: int, r: int, cycle: int) -> None:
    """Apply a command's rows for its rank."""
    first = FIRST + command * 3 + 2
    for k in range(ROWS + 2 * m[first], ROWS + 2 * m[first + 1], 2):
        _raise(m, r + RANK_READY + m[k], cycle + m[k + 1])


@merged
def _raise_others(m: Ints, command: int, r: int, cycle: int) -> None:
    """Apply a command's rows for the other ranks on the same data bus."""
    ranks = m[RANKS_PER_BUS]
    if ranks > 1:
        begin = r - m[r + RANK_NUMBER] % ranks * RANK_SIZE
        for k in range(OTHERS + 2 * m[OTHERS_FIRST + command], OTHERS + 2 * m[OTHERS_FIRST + command + 1], 2):
            for other in range(begin, begin + ranks * RANK_SIZE, RANK_SIZE):
                if other != r:
                    _raise(m, other + RANK_READY + m[k], cycle + m[k + 1])


@merged
def _raise_banks(m: Ints, begin: int, end: int, later: int, cycle: int) -> None:
    """Raise the banks numbered from `begin` to before `end`."""
    for at in range(READY + later * MAX_BANKS + begin, READY + later * MAX_BANKS + end):
        _raise(m, at, cycle)


@merged
def _raise_window(m: Ints, window: int, b: int, cycle: int) -> None:
    """Apply a row with a window: a gap after the one so many commands back in the bank, its group or its rank."""
    w = WINDOWS + 8 * window
    level, later, gap, size = m[w + 1], m[w + 2], m[w + 3], m[w + 4]
    r = m[b + RANK]
    begin, end = m[b + INDEX], m[b + INDEX] + 1
    if level == 1:
        begin = m[b + GROUP_FIRST]
        end = begin + m[GROUP_BANKS]
    elif level == 2:
        begin = m[r + RANK_NUMBER]
    ring = window * MAX_BANKS + begin
    turn = m[TURN + ring]
    m[RECENT + ring * MAX_WINDOW + turn] = cycle
    turn = 0 if turn + 1 == size else turn + 1
    m[TURN + ring] = turn
    legal = m[RECENT + ring * MAX_WINDOW + turn] + gap
    if level == 2:
        _raise(m, r + RANK_READY + later, legal)
    else:
        _raise_banks(m, begin, end, later, legal)


@merged
def raise_own(m: Ints, command: int, b: int, cycle: int) -> None:
    """Apply the rows of a command that goes to one bank, except those for other ranks."""
    first = FIRST + command * 3
    number, group = m[b + INDEX], m[b + GROUP_FIRST]
    for k in range(ROWS + 2 * m[first], ROWS + 2 * m[first + 1], 2):
        _raise(m, READY + m[k] * MAX_BANKS + number, cycle + m[k + 1])
    for k in range(ROWS + 2 * m[first + 1], ROWS + 2 * m[first + 2], 2):
        _raise_banks(m, group, group + m[GROUP_BANKS], m[k], cycle + m[k + 1])
    _raise_rank(m, command, m[b + RANK], cycle)
    for window in range(m[N_WINDOWS]):
        if m[WINDOWS + 8 * window] == command:
            _raise_window(m, window, b, cycle)


@merged
def raise_bank(m: Ints, command: int, b: int, cycle: int) -> None:
    """Apply all rows of a command that goes to one bank."""
    raise_own(m, command, b, cycle)
    _raise_others(m, command, m[b + RANK], cycle)


@merged
def _closed(m: Ints, r: int, banks: int, cycle: int) -> None:
    """Count banks of a rank as closed."""
    m[r + OPEN_BANKS] -= banks
    if m[r + OPEN_BANKS] == 0:
        m[r + OPEN_CLOCKS] += cycle - m[r + OPEN_SINCE]


@merged
def open_row(m: Ints, log: Ints, b: int, row: int, cycle: int) -> None:
    """Activate a row, on whatever command bus."""
    r = m[b + RANK]
    m[b + ROW] = row
    m[b + USED] = cycle
    if m[r + OPEN_BANKS] == 0:
        m[r + OPEN_SINCE] = cycle
    m[r + OPEN_BANKS] += 1
    m[r + ISSUED + ACT] += 1
    raise_bank(m, ACT, b, cycle)
    record(m, log, cycle, ACT, m[b + INDEX], row, NONE)
    find_hit(m, b, m[b + HEAD + m[MODE]])
    place(m, b)


@merged
def close_row(m: Ints, log: Ints, b: int, cycle: int) -> None:
    """Precharge a bank, on whatever command bus."""
    r = m[b + RANK]
    m[b + ROW] = NONE
    m[b + HIT] = NONE
    _closed(m, r, 1, cycle)
    m[r + ISSUED + PRE] += 1
    raise_bank(m, PRE, b, cycle)
    record(m, log, cycle, PRE, m[b + INDEX], NONE, NONE)
    place(m, b)


@merged
def activate(m: Ints, log: Ints, b: int, at: int, cycle: int) -> None:
    """Open the row that a request needs."""
    m[at + EFFORT] |= 1
    _occupy(m, ACT, cycle)
    open_row(m, log, b, m[at + SLOT_ROW], cycle)


@borrowing
def precharge(m: Ints, log: Ints, b: int, at: int, cycle: int) -> None:
    """Close a bank, on behalf of a request or (NONE) of a policy."""
    if at >= 0:
        m[at + EFFORT] |= 2
    _occupy(m, PRE, cycle)
    close_row(m, log, b, cycle)


@borrowing
def wanted_again(m: Ints, b: int, at: int) -> bool:
    """Tell whether a queued request other than `at` is for the row that is open in the bank."""
    for queue in range(2):
        other = m[b + HEAD + queue]
        while other >= 0:
            if other != at and m[other + SLOT_ROW] == m[b + ROW]:
                return True
            other = m[other + NEXT]
    return False


@merged
def latency_bucket(clocks: int) -> int:
    """Return the histogram bucket of a latency."""
    shift = 0
    while clocks >> shift >= LINEAR:
        shift += 1
    return min((clocks >> shift) + shift * (LINEAR >> 1), BUCKETS - 1)


@merged
def count_done(m: Ints, queue: int, start: int, done: int, effort: int) -> None:
    """Count a request that is done in cycle `done`; bit 0 of effort: it needed an ACT, bit 1: a PRE."""
    m[DONE_READS + queue] += 1
    if effort & 1 == 0:
        m[HITS] += 1
    elif effort & 2:
        m[CONFLICTS] += 1
    else:
        m[MISSES] += 1
    m[LAST_DONE] = max(m[LAST_DONE], done)
    m[LATENCY_SUM + queue] += done - start
    m[LONGEST + queue] = max(m[LONGEST + queue], done - start)
    m[LATENCY + queue * BUCKETS + latency_bucket(done - start)] += 1


@merged
def send_column(m: Ints, log: Ints, done: Ints, queue: int, command: int, at: int, cycle: int) -> None:
    """Issue this column command, with auto precharge or without, for a queued request."""
    b = m[at + BANK]
    r = m[b + RANK]
    ends = cycle + m[READ_CLOCKS + queue]
    count_done(m, queue, m[at + START], ends, m[at + EFFORT])
    if m[DEPENDENT] == 1 and m[at + NUMBER] >= m[ORIGIN]:
        done[m[at + NUMBER] - m[ORIGIN]] = ends
    dequeue(m, queue, at)
    m[r + ISSUED + command] += 1
    m[LAST_COLUMN] = cycle
    m[b + USED] = cycle
    _occupy(m, command, cycle)
    raise_bank(m, command, b, cycle)
    record(m, log, cycle, command, m[b + INDEX], m[at + SLOT_ROW], m[at + SLOT_COLUMN])
    if command >= RDA:
        m[b + ROW] = NONE
        m[b + HIT] = NONE
        _closed(m, r, 1, cycle)
    elif m[b + HIT] == at:
        find_hit(m, b, m[at + NEXT])
    place(m, b)


@merged
def column(m: Ints, log: Ints, done: Ints, queue: int, at: int, cycle: int) -> None:
    """Issue the column command of a queued request."""
    command = RD + queue
    if m[ROW_POLICY] == 1 and not wanted_again(m, m[at + BANK], at):
        command = RDA + queue
    send_column(m, log, done, queue, command, at, cycle)


@borrowing
def in_turn(m: Ints, b: int, r: int) -> bool:
    """Tell whether a bank is among those that a rank's next refresh takes."""
    return m[b + RANK] == r and (m[SETS] == 0 or m[b + SET_NUMBER] == m[r + SET])


@borrowing
def hold(m: Ints, r: int) -> None:
    """Begin a refresh: keep all other commands from its banks."""
    m[r + REFRESHING] = 1
    m[UNDER_WAY] += 1
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        if in_turn(m, b, r):
            m[b + HELD] = 1
            place(m, b)


@borrowing
def precharge_all(m: Ints, log: Ints, r: int, cycle: int) -> None:
    """Close all banks of a rank."""
    for b in range(0, m[N_BANKS] * BANK_SIZE, BANK_SIZE):
        if m[b + RANK] == r:
            m[b + ROW] = NONE
            m[b + HIT] = NONE
    _closed(m, r, m[r + OPEN_BANKS], cycle)
    m[r + ISSUED + PREA] += 1
    _occupy(m, PREA, cycle)
    _raise_rank(m, PREA, r, cycle)
    _raise_others(m, PREA, r, cycle)
    record(m, log, cycle, PREA, m[r + RANK_NUMBER], NONE, NONE)


@borrowing
def refresh(m: Ints, log: Ints, r: int, cycle: int) -> None:
    """Issue the refresh that is under way in a rank and release its banks."""
    number = m[r + RANK_NUMBER]
    command = REF
    if m[SETS] == 0:
        _raise_rank(m, REF, r, cycle)
        _raise_others(m, REF, r, cycle)
    else:
        command = REFSET
    _occupy(m, command, cycle)
    for b in range(m[N_BANKS] * BANK_SIZE - BANK_SIZE, -1, -BANK_SIZE):
        if in_turn(m, b, r):
            if command == REFSET:
                raise_bank(m, REFSET, b, cycle)
                number = m[b + INDEX]
            m[b + HELD] = 0
            place(m, b)
    m[r + ISSUED + command] += 1
    record(m, log, cycle, command, number, NONE, NONE)
    if command == REFSET:
        m[r + SET] = (m[r + SET] + 1) % m[SETS]
    m[r + REFRESHING] = 0
    m[r + DUE] += m[INTERVAL]
    m[UNDER_WAY] -= 1
    m[REFRESH_CHECK] = cycle + 1
