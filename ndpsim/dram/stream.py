"""The NDP stream engine of one DIMM: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies it.

Nothing here ticks. Trains are taken in order, and for each one the cycles of its precharges, activates and first burst
follow from a few "earliest" times; all its other bursts follow from a formula. Row commands are issued ahead, so they
must keep clear of bursts of earlier trains: see `command_bus.py`. A row of a matrix is mostly in one rank, one row of
the banks, so all ranks of a DIMM go through an instruction together, each train in its rank, whatever others do.

Kernels count time in clocks of the rank (int64) and, where the MAC array is concerned, in ticks (int64): the largest
unit in which both a picosecond and the clock period are whole.
"""

from typing import Any, NamedTuple

from ndpsim.dram.address_map import BANK, BANK_GROUP, COLUMN, ROW, MapArrays
from ndpsim.dram.command_bus import Beat, after_acts, after_bursts, burst_cycle
from ndpsim.dram.rank_state import (
    ACT,
    ACTS_SEEN,
    BANK_ACT,
    BANK_PRE,
    BANK_READ,
    BANK_SIZE,
    BANK_WRITE,
    DUE,
    FIRST,
    FREE,
    GROUP_ACT,
    GROUP_READ,
    GROUP_SIZE,
    GROUP_WRITE,
    LAST,
    LAST_ACT,
    LAST_PRE,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LAST_WRITE,
    MAC_FREE,
    N_ACT,
    N_PRE,
    N_PREA,
    N_RD,
    N_REF,
    N_TRAINS,
    N_WR,
    NEVER,
    OPEN_ROW,
    PACED,
    PASS_FROM,
    PATTERN_SIZE,
    PRE,
    PREA,
    RD,
    REF,
    SEQUENCES,
    STEP,
    WR,
    Log,
    RankState,
    write_command,
)
from ndpsim.dram.stream_timing import Kind, Timing
from ndpsim.jit import borrowing, inlined, merged, pointer_to


class Rows(NamedTuple):
    """The `length` matrix rows of one instruction: from lists[first] on (listed = 1), or first, first + 1, ...

    masks: where in `lists` the first row's mask of the sequences that it works for is, or -1: all of them, every row.
    """

    base: int
    stride: int
    atoms: int
    listed: int
    first: int
    length: int
    masks: int


class Array(NamedTuple):
    """How the MAC array takes the bursts of an instruction.

    alternating: whether loads and work alternate, in passes. holds: int64[n], by number of sequences, the picoseconds
    for which a rank's slice holds a burst, or a pass (0: it takes them at once, as writes). sequences: of the batch.
    """

    alternating: bool
    holds: Any
    sequences: int


class Hold(NamedTuple):
    """What the MAC array does with the bursts of a row: for how many sequences, and how long it holds each, in ticks.

    Of passes: how long a whole one, and rest, the clocks from the last burst of one to the first of the next.
    """

    sequences: int
    ticks: int
    rest: int


class Stream(NamedTuple):
    """One instruction as its ranks see it.

    start: in clocks; beat: of its bursts; ranks: of a DIMM, as the log counts them; rotates: whether consecutive bursts
    of a train are in different bank groups; run: bursts of the longest train, a power of two; digit: the first one of
    the address map that says more than where in a run a burst is.
    """

    kind: Kind
    beat: Beat
    start: int
    ranks: int
    rotates: bool
    run: int
    digit: int


@inlined
def _refresh(t: Timing, state: RankState, unit: int, ranks: int, log: Log) -> None:
    """Do the refresh that is due."""
    m, counters = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    logging = log.records.shape[0] > 0
    begin = max(m[DUE], m[FREE])
    any_open = False
    for b in range(state.places.banks + OPEN_ROW, state.records.shape[1], BANK_SIZE):
        any_open = any_open or m[b] >= 0
        m[b] = -1
    refresh = begin
    if any_open:
        precharge = begin
        for i in range(len(t.before_prea)):
            precharge = max(precharge, m[i] + t.before_prea[i])
        m[LAST_PREA] = precharge
        counters[N_PREA] += 1
        if logging:
            write_command(log, precharge, PREA, unit, ranks, -1, -1, -1, -1)
        refresh = precharge + t.prea_clocks
    for i in range(len(t.before_ref)):
        refresh = max(refresh, m[i] + t.before_ref[i])
    m[LAST_REF] = refresh
    m[FREE] = refresh + t.ref_clocks
    m[DUE] += t.interval
    counters[N_REF] += 1
    if logging:
        write_command(log, refresh, REF, unit, ranks, -1, -1, -1, -1)


@inlined
def _train(t: Timing, amap: MapArrays, state: RankState, stream: Stream, hold: Hold, unit: int, local: int, bursts: int,
           log: Log) -> None:  # fmt: skip
    """Run one train of `bursts` bursts from local address `local` on."""
    kind, beat, at = stream.kind, stream.beat, state.places
    m, counters = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    logging = log.records.shape[0] > 0

    bank = row = 0
    group = local & (t.bank_groups - 1) if amap.rotating == 1 else 0
    for i in range(stream.digit, amap.digits.shape[0]):
        digit = amap.digits[i]
        part = (local >> digit[0] & digit[1]) << digit[3]
        if digit[2] == BANK_GROUP:
            group |= part
        elif digit[2] == BANK:
            bank |= part
        elif digit[2] == ROW:
            row |= part
    touched = min(bursts, t.bank_groups) if stream.rotates else 1

    train = counters[N_TRAINS]
    # A train of an earlier stream began before the start of this one. After a refresh, the next is not due before its
    # end, and no row command is issued before the first ACT behind it.
    earlier = at.patterns + (train - t.ahead & at.trains_ring - 1) * PATTERN_SIZE
    begin = max(stream.start, m[earlier + FIRST] + 1)
    while t.interval > 0 and m[DUE] <= begin:
        _refresh(t, state, unit, stream.ranks, log)
        begin = max(begin, m[LAST_REF] + t.ref_act)

    # The first burst comes so late that no timing of the DRAM stops another one of the train.
    first = max(stream.start, m[LAST_READ] + kind.after_read, m[LAST_WRITE] + kind.after_write)
    pre_from = act_from = train - t.ahead  # the trains before are over
    last_pre, last_act, seen = m[LAST_PRE], m[LAST_ACT], m[ACTS_SEEN]
    pre_begin, act_begin = max(begin, m[LAST_PREA] + t.prea_pre), max(begin, m[LAST_PREA] + t.prea_act)
    for k in range(touched):
        g = (group + k) & (t.bank_groups - 1)
        b = at.banks + (g * t.banks + bank) * BANK_SIZE
        g = at.groups + g * GROUP_SIZE
        if m[b + OPEN_ROW] != row:
            cycle = m[b + BANK_PRE]
            if m[b + OPEN_ROW] >= 0:
                cycle = max(pre_begin, last_pre + t.pre_pre, m[b + BANK_ACT] + t.act_pre)
                cycle = max(cycle, m[b + BANK_READ] + t.read_pre, m[b + BANK_WRITE] + t.write_pre)
                last = begin - 1
                while cycle > last:
                    last = cycle
                    if t.shared_bus:
                        last, pre_from = after_bursts(m, at, pre_from, train, beat, cycle, 1)
                    cycle = after_acts(m, at, seen, t.act_clocks, last)
                m[b + BANK_PRE] = cycle
                last_pre = cycle
                counters[N_PRE] += 1
                if logging:
                    write_command(log, cycle, PRE, unit, stream.ranks, (group + k) & (t.bank_groups - 1), bank, -1, -1)
            cycle = max(act_begin, m[b + BANK_ACT] + t.act_act_bank, cycle + t.pre_act)
            cycle = max(cycle, last_act + t.act_act_rank, m[g + GROUP_ACT] + t.act_act_group)
            cycle = max(cycle, m[at.acts + (seen - t.window & at.acts_ring - 1)] + t.act_act_window)
            if t.shared_bus:
                cycle, act_from = after_bursts(m, at, act_from, train, beat, cycle, t.act_clocks)
            m[at.acts + (seen & at.acts_ring - 1)] = cycle
            seen += 1
            last_act = cycle
            first = max(first, cycle + t.act_clocks)
            m[b + BANK_ACT] = cycle
            m[g + GROUP_ACT] = cycle
            m[b + OPEN_ROW] = row
            if logging:
                write_command(log, cycle, ACT, unit, stream.ranks, (group + k) & (t.bank_groups - 1), bank, row, -1)
        cycle = m[b + BANK_ACT] + kind.after_act_in_bank
        cycle = max(cycle, m[g + GROUP_READ] + kind.after_read_in_group)
        cycle = max(cycle, m[g + GROUP_WRITE] + kind.after_write_in_group)
        first = max(first, cycle - k * beat.pace)
    m[LAST_PRE] = last_pre
    m[LAST_ACT] = last_act
    counters[N_ACT] += seen - m[ACTS_SEEN]
    m[ACTS_SEEN] = seen

    paced = NEVER
    step = hold.ticks
    if beat.passes > 0:
        first = max(first, m[PASS_FROM])
        step = (beat.passes - 1) * beat.pace + max(beat.pace, hold.rest)
        last = burst_cycle(first, paced, step, beat, bursts - 1)
        m[PASS_FROM] = last + hold.rest
        m[MAC_FREE] = (last + kind.latency) * t.tck + hold.ticks
    elif step > 0:
        room = m[MAC_FREE] - (t.queue - 1) * step if m[SEQUENCES] == hold.sequences else m[MAC_FREE]
        late = room - (first + kind.latency) * t.tck
        if late > 0:
            first += -(-late // t.tck)
        last = first + (bursts - 1) * beat.pace
        finished = max((first + kind.latency) * t.tck, m[MAC_FREE]) + step
        if step > beat.pace * t.tck:
            paced = finished - t.queue * step
            last = burst_cycle(first, paced, step, beat, bursts - 1)
        m[MAC_FREE] = max(finished + (bursts - 1) * step, (last + kind.latency) * t.tck + step)
        m[SEQUENCES] = hold.sequences
    else:
        last = first + (bursts - 1) * beat.pace
    pattern = at.patterns + (train & at.trains_ring - 1) * PATTERN_SIZE
    m[pattern + FIRST] = first
    m[pattern + LAST] = last
    m[pattern + PACED] = paced
    m[pattern + STEP] = step

    for k in range(bursts - touched, bursts):
        g = (group + k) & (t.bank_groups - 1) if stream.rotates else group
        b = at.banks + (g * t.banks + bank) * BANK_SIZE
        g = at.groups + g * GROUP_SIZE
        cycle = burst_cycle(first, paced, step, beat, k) if k < bursts - 1 else last
        if kind.write:
            m[b + BANK_WRITE] = cycle
            m[g + GROUP_WRITE] = cycle
        else:
            m[b + BANK_READ] = cycle
            m[g + GROUP_READ] = cycle
    m[LAST_WRITE if kind.write else LAST_READ] = last
    m[FREE] = last + kind.clocks  # its row commands are before its first burst
    counters[N_WR if kind.write else N_RD] += bursts
    counters[N_TRAINS] = train + 1
    if logging:
        _log_bursts(t, amap, unit, stream, local, bursts, first, paced, step, bank, row, log)


@inlined
def _log_bursts(t: Timing, amap: MapArrays, unit: int, stream: Stream, local: int, bursts: int, first: int, paced: int,
                step: int, bank: int, row: int, log: Log) -> None:  # fmt: skip
    for k in range(bursts):
        group = column = 0
        for i in range(amap.digits.shape[0]):
            digit = amap.digits[i]
            part = (local + k >> digit[0] & digit[1]) << digit[3]
            if digit[2] == BANK_GROUP:
                group |= part
            elif digit[2] == COLUMN:
                column |= part
        cycle = burst_cycle(first, paced, step, stream.beat, k)
        write_command(log, cycle, WR if stream.kind.write else RD, unit, stream.ranks, group, bank, row, column)


@merged
def _below(amap: MapArrays, rank: int, atom: int) -> int:
    """Count the atoms of a rank whose linear address is below `atom`."""
    high = atom >> (amap.rank_lo + amap.rank_width)
    digit = atom >> amap.rank_lo & ((1 << amap.rank_width) - 1)
    local = high << amap.rank_lo
    if rank < digit:
        return local + (1 << amap.rank_lo)
    if rank == digit:
        return local + (atom & ((1 << amap.rank_lo) - 1))
    return local


@merged
def _hold(t: Timing, kind: Kind, array: Array, sequences: int) -> Hold:
    """What the MAC array does with the bursts of a row that works for some sequences."""
    ticks = array.holds[sequences] * t.ticks
    return Hold(sequences, ticks, kind.data - -ticks // t.tck)


@merged
def _ones(mask: int) -> int:
    """Count the bits of a mask that are set."""
    count = 0
    while mask != 0:
        mask &= mask - 1
        count += 1
    return count


@borrowing
def run_stream(t: Timing, amap: MapArrays, state: RankState, dimm: int, ranks: int, write: bool, rows: Rows, lists: Any,
               start: int, array: Array, log: Log) -> int:  # fmt: skip
    """Run an instruction on all ranks of a DIMM, and return when the last one is done, in picoseconds.

    start in clocks, when no stream before is still at work.
    """
    kind = t.writes if write else t.reads
    rotates = amap.rotating == 1 and kind.near * t.bank_groups >= kind.far
    run = 1 if amap.rotating == 1 and not rotates else 1 << amap.run_bits
    passes = t.queue if array.alternating else 0
    beat = Beat(kind.clocks, kind.latency, kind.near, kind.near if rotates else kind.far, t.tck, passes)
    hold = _hold(t, kind, array, array.sequences)
    digit = 0
    while digit < amap.digits.shape[0] and amap.digits[digit, 0] < amap.run_bits:
        digit += 1
    stream = Stream(kind, beat, start, ranks, rotates, run, digit)
    by_blocks = amap.rank_lo >= amap.run_bits  # every run lies in one rank: go through a row by blocks of one rank
    for i in range(rows.length):
        row = int(lists[rows.first + i]) if rows.listed == 1 else rows.first + i
        atom = rows.base + row * rows.stride
        end = atom + rows.atoms
        if rows.masks >= 0:
            sequences = _ones(int(lists[rows.masks + i]))
            if sequences != hold.sequences:
                hold = _hold(t, kind, array, sequences)
        visits = ((end - 1) >> amap.rank_lo) - (atom >> amap.rank_lo) + 1 if by_blocks else ranks
        for visit in range(visits):
            if by_blocks:
                block = (atom >> amap.rank_lo) + visit
                rank = block & ranks - 1
                local = (block >> amap.rank_width << amap.rank_lo) - (block << amap.rank_lo)
                stop = local + min(end, block + 1 << amap.rank_lo)
                local += max(atom, block << amap.rank_lo)
            else:
                rank = visit
                local, stop = _below(amap, rank, atom), _below(amap, rank, end)
            while local < stop:
                bursts = min(stop - local, run - (local & run - 1))
                _train(t, amap, state, stream, hold, dimm * ranks + rank, local, bursts, log)
                local += bursts
    done = start * t.tck
    for unit in range(dimm * ranks, (dimm + 1) * ranks):
        if write:
            done = max(done, (state.records[unit, LAST_WRITE] + kind.latency) * t.tck)
        else:
            done = max(done, state.records[unit, MAC_FREE])
    return -(-done // t.ticks)
