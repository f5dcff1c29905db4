"""Issuing the host controller's commands: bank states, the constraints that they raise, counters and the log."""

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.queue import dequeue, find_hit, later_of, place
from ndpsim.dram.host.state import Ints
from ndpsim.jit import borrowing, merged


@merged
def record(m: Ints, log: Ints, cycle: int, command: int, number: int, row: int, column: int) -> None:
    """Log a command (`RECORD`); `number` is that of its bank, its rank, or the first bank of its set."""
    at = m[host.LOGGED]
    if log.shape[0] > 0:
        log[at, 0] = cycle
        log[at, 1] = command
        log[at, 2] = number
        log[at, 3] = row
        log[at, 4] = column
        m[host.LOGGED] = at + 1


@merged
def _occupy(m: Ints, command: int, cycle: int) -> None:
    """Occupy the command bus, and drop cached choices that the command's constraints may change."""
    free = cycle + m[host.CLOCKS + command]
    column = command == commands.RD or command == commands.RD + 1 or command >= commands.RDA
    if column or m[host.TWO_BUSSES] == 0:
        m[host.COLUMN_BUS] = free
    if not column or m[host.TWO_BUSSES] == 0:
        m[host.ROW_BUS] = free
    touched = m[host.TOUCHES + command]
    for kind in range(host.KINDS):
        if touched >> later_of(kind, m[host.MODE]) & 1:
            m[host.VALID + kind * host.BEST_SIZE] = 0


@merged
def _raise(m: Ints, at: int, cycle: int) -> None:
    """Note that a command is not legal before this cycle; `at` is READY or RANK_READY of it."""
    if m[at] < cycle:
        m[at] = cycle


@merged
def _raise_rank(m: Ints, command: int, r: int, cycle: int) -> None:
    """Apply a command's rows for its rank."""
    first = host.FIRST + command * 3 + 2
    for k in range(host.ROWS + 2 * m[first], host.ROWS + 2 * m[first + 1], 2):
        _raise(m, r + host.RANK_READY + m[k], cycle + m[k + 1])


@merged
def _raise_others(m: Ints, command: int, r: int, cycle: int) -> None:
    """Apply a command's rows for the other ranks on the same data bus."""
    ranks = m[host.RANKS_PER_BUS]
    if ranks > 1:
        begin = r - m[r + host.RANK_NUMBER] % ranks * host.RANK_SIZE
        for k in range(
            host.OTHERS + 2 * m[host.OTHERS_FIRST + command], host.OTHERS + 2 * m[host.OTHERS_FIRST + command + 1], 2
        ):
            for other in range(begin, begin + ranks * host.RANK_SIZE, host.RANK_SIZE):
                if other != r:
                    _raise(m, other + host.RANK_READY + m[k], cycle + m[k + 1])


@merged
def _raise_banks(m: Ints, begin: int, end: int, later: int, cycle: int) -> None:
    """Raise the banks numbered from `begin` to before `end`."""
    for at in range(host.READY + later * host.MAX_BANKS + begin, host.READY + later * host.MAX_BANKS + end):
        _raise(m, at, cycle)


@merged
def _raise_window(m: Ints, window: int, b: int, cycle: int) -> None:
    """Apply a row with a window, as of tFAW: a gap after the n-th last command in the bank, its group or its rank."""
    w = host.WINDOWS + 8 * window
    level, later, gap, size = m[w + 1], m[w + 2], m[w + 3], m[w + 4]
    r = m[b + host.RANK]
    begin, end = m[b + host.INDEX], m[b + host.INDEX] + 1
    if level == 1:
        begin = m[b + host.GROUP_FIRST]
        end = begin + m[host.GROUP_BANKS]
    elif level == 2:
        begin = m[r + host.RANK_NUMBER]
    ring = window * host.MAX_BANKS + begin
    turn = m[host.TURN + ring]
    m[host.RECENT + ring * host.MAX_WINDOW + turn] = cycle
    turn = 0 if turn + 1 == size else turn + 1
    m[host.TURN + ring] = turn
    legal = m[host.RECENT + ring * host.MAX_WINDOW + turn] + gap
    if level == 2:
        _raise(m, r + host.RANK_READY + later, legal)
    else:
        _raise_banks(m, begin, end, later, legal)


@merged
def raise_own(m: Ints, command: int, b: int, cycle: int) -> None:
    """Apply the rows of a command that goes to one bank, except those for other ranks."""
    first = host.FIRST + command * 3
    number, group = m[b + host.INDEX], m[b + host.GROUP_FIRST]
    for k in range(host.ROWS + 2 * m[first], host.ROWS + 2 * m[first + 1], 2):
        _raise(m, host.READY + m[k] * host.MAX_BANKS + number, cycle + m[k + 1])
    for k in range(host.ROWS + 2 * m[first + 1], host.ROWS + 2 * m[first + 2], 2):
        _raise_banks(m, group, group + m[host.GROUP_BANKS], m[k], cycle + m[k + 1])
    _raise_rank(m, command, m[b + host.RANK], cycle)
    for window in range(m[host.N_WINDOWS]):
        if m[host.WINDOWS + 8 * window] == command:
            _raise_window(m, window, b, cycle)


@merged
def raise_bank(m: Ints, command: int, b: int, cycle: int) -> None:
    """Apply all rows of a command that goes to one bank."""
    raise_own(m, command, b, cycle)
    _raise_others(m, command, m[b + host.RANK], cycle)


@merged
def _closed(m: Ints, r: int, banks: int, cycle: int) -> None:
    """Count banks of a rank as closed."""
    m[r + host.OPEN_BANKS] -= banks
    if m[r + host.OPEN_BANKS] == 0:
        m[r + host.OPEN_CLOCKS] += cycle - m[r + host.OPEN_SINCE]


@merged
def open_row(m: Ints, log: Ints, b: int, row: int, cycle: int) -> None:
    """Activate a row, on whatever command bus."""
    r = m[b + host.RANK]
    m[b + host.ROW] = row
    m[b + host.USED] = cycle
    if m[r + host.OPEN_BANKS] == 0:
        m[r + host.OPEN_SINCE] = cycle
    m[r + host.OPEN_BANKS] += 1
    m[r + host.ISSUED + commands.ACT] += 1
    raise_bank(m, commands.ACT, b, cycle)
    record(m, log, cycle, commands.ACT, m[b + host.INDEX], row, host.NONE)
    find_hit(m, b, m[b + host.HEAD + m[host.MODE]])
    place(m, b)


@merged
def close_row(m: Ints, log: Ints, b: int, cycle: int) -> None:
    """Precharge a bank, on whatever command bus."""
    r = m[b + host.RANK]
    m[b + host.ROW] = host.NONE
    m[b + host.HIT] = host.NONE
    _closed(m, r, 1, cycle)
    m[r + host.ISSUED + commands.PRE] += 1
    raise_bank(m, commands.PRE, b, cycle)
    record(m, log, cycle, commands.PRE, m[b + host.INDEX], host.NONE, host.NONE)
    place(m, b)


@merged
def activate(m: Ints, log: Ints, b: int, at: int, cycle: int) -> None:
    """Open the row that a request needs."""
    m[at + host.EFFORT] |= 1
    _occupy(m, commands.ACT, cycle)
    open_row(m, log, b, m[at + host.SLOT_ROW], cycle)


@borrowing
def precharge(m: Ints, log: Ints, b: int, at: int, cycle: int) -> None:
    """Close a bank, on behalf of a request or (NONE) of a policy."""
    if at >= 0:
        m[at + host.EFFORT] |= 2
    _occupy(m, commands.PRE, cycle)
    close_row(m, log, b, cycle)


@borrowing
def wanted_again(m: Ints, b: int, at: int) -> bool:
    """Tell whether a queued request other than `at` is for the row that is open in the bank."""
    for queue in range(2):
        other = m[b + host.HEAD + queue]
        while other >= 0:
            if other != at and m[other + host.SLOT_ROW] == m[b + host.ROW]:
                return True
            other = m[other + host.NEXT]
    return False


@merged
def latency_bucket(clocks: int) -> int:
    """Return the histogram bucket of a latency."""
    shift = 0
    while clocks >> shift >= host.LINEAR:
        shift += 1
    return min((clocks >> shift) + shift * (host.LINEAR >> 1), host.BUCKETS - 1)


@merged
def count_done(m: Ints, queue: int, start: int, done: int, effort: int) -> None:
    """Count a request that is done in cycle `done`; bit 0 of effort: it needed an ACT, bit 1: a PRE."""
    m[host.DONE_READS + queue] += 1
    if effort & 1 == 0:
        m[host.HITS] += 1
    elif effort & 2:
        m[host.CONFLICTS] += 1
    else:
        m[host.MISSES] += 1
    m[host.LAST_DONE] = max(m[host.LAST_DONE], done)
    m[host.LATENCY_SUM + queue] += done - start
    m[host.LONGEST + queue] = max(m[host.LONGEST + queue], done - start)
    m[host.LATENCY + queue * host.BUCKETS + latency_bucket(done - start)] += 1


@merged
def send_column(m: Ints, log: Ints, done: Ints, queue: int, command: int, at: int, cycle: int) -> None:
    """Issue a column command, with or without auto precharge, for a queued request."""
    b = m[at + host.BANK]
    r = m[b + host.RANK]
    ends = cycle + m[host.READ_CLOCKS + queue]
    count_done(m, queue, m[at + host.START], ends, m[at + host.EFFORT])
    if m[host.DEPENDENT] == 1 and m[at + host.NUMBER] >= m[host.ORIGIN]:
        done[m[at + host.NUMBER] - m[host.ORIGIN]] = ends
    dequeue(m, queue, at)
    m[r + host.ISSUED + command] += 1
    m[host.LAST_COLUMN] = cycle
    m[b + host.USED] = cycle
    _occupy(m, command, cycle)
    raise_bank(m, command, b, cycle)
    record(m, log, cycle, command, m[b + host.INDEX], m[at + host.SLOT_ROW], m[at + host.SLOT_COLUMN])
    if command >= commands.RDA:
        m[b + host.ROW] = host.NONE
        m[b + host.HIT] = host.NONE
        _closed(m, r, 1, cycle)
    elif m[b + host.HIT] == at:
        find_hit(m, b, m[at + host.NEXT])
    place(m, b)


@merged
def column(m: Ints, log: Ints, done: Ints, queue: int, at: int, cycle: int) -> None:
    """Issue the column command of a queued request."""
    command = commands.RD + queue
    if m[host.ROW_POLICY] == 1 and not wanted_again(m, m[at + host.BANK], at):
        command = commands.RDA + queue
    send_column(m, log, done, queue, command, at, cycle)


@borrowing
def in_turn(m: Ints, b: int, r: int) -> bool:
    """Tell whether a rank's next refresh includes a bank."""
    return m[b + host.RANK] == r and (m[host.SETS] == 0 or m[b + host.SET_NUMBER] == m[r + host.SET])


@borrowing
def hold(m: Ints, r: int) -> None:
    """Begin a refresh: block all other commands to its banks."""
    m[r + host.REFRESHING] = 1
    m[host.UNDER_WAY] += 1
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        if in_turn(m, b, r):
            m[b + host.HELD] = 1
            place(m, b)


@borrowing
def precharge_all(m: Ints, log: Ints, r: int, cycle: int) -> None:
    """Close all banks of a rank."""
    for b in range(0, m[host.N_BANKS] * host.BANK_SIZE, host.BANK_SIZE):
        if m[b + host.RANK] == r:
            m[b + host.ROW] = host.NONE
            m[b + host.HIT] = host.NONE
    _closed(m, r, m[r + host.OPEN_BANKS], cycle)
    m[r + host.ISSUED + commands.PREA] += 1
    _occupy(m, commands.PREA, cycle)
    _raise_rank(m, commands.PREA, r, cycle)
    _raise_others(m, commands.PREA, r, cycle)
    record(m, log, cycle, commands.PREA, m[r + host.RANK_NUMBER], host.NONE, host.NONE)


@borrowing
def refresh(m: Ints, log: Ints, r: int, cycle: int) -> None:
    """Issue the refresh that is under way in a rank and release its banks."""
    number = m[r + host.RANK_NUMBER]
    command = commands.REF
    if m[host.SETS] == 0:
        _raise_rank(m, commands.REF, r, cycle)
        _raise_others(m, commands.REF, r, cycle)
    else:
        command = commands.REFSET
    _occupy(m, command, cycle)
    for b in range(m[host.N_BANKS] * host.BANK_SIZE - host.BANK_SIZE, -1, -host.BANK_SIZE):
        if in_turn(m, b, r):
            if command == commands.REFSET:
                raise_bank(m, commands.REFSET, b, cycle)
                number = m[b + host.INDEX]
            m[b + host.HELD] = 0
            place(m, b)
    m[r + host.ISSUED + command] += 1
    record(m, log, cycle, command, number, host.NONE, host.NONE)
    if command == commands.REFSET:
        m[r + host.SET] = (m[r + host.SET] + 1) % m[host.SETS]
    m[r + host.REFRESHING] = 0
    m[r + host.DUE] += m[host.INTERVAL]
    m[host.UNDER_WAY] -= 1
    m[host.REFRESH_CHECK] = cycle + 1
