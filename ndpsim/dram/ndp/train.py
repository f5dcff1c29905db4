"""One train of bursts to an open row, in closed form, with its row commands and a refresh that falls due before it.

Trains are taken in order, and for each one the cycles of its precharges, activates and first burst follow from a few
"earliest" times; all its other bursts follow from a formula. Row commands are issued ahead, so they must keep clear of
bursts of earlier trains: see `command_bus.py`.
"""

from typing import NamedTuple

from ndpsim.dram.address_map import BANK, BANK_GROUP, COLUMN, ROW, MapArrays
from ndpsim.dram.ndp.command_bus import Beat, after_acts, after_bursts, burst_cycle
from ndpsim.dram.ndp.gaps import Kind, Timing
from ndpsim.dram.ndp.rank_state import (
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
    LOADED,
    LONG,
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
from ndpsim.dram.ndp.rows import Hold
from ndpsim.jit import inlined, merged, pointer_to


class Stream(NamedTuple):
    """One instruction as its ranks see it.

    start: in clocks; beat: of its bursts; ranks: of a DIMM, as the log counts them; rotates: whether consecutive bursts
    of a train are in different bank groups; run: bursts of the longest train, a power of two; digit: the first one of
    the address map that says more than where in a run a burst is. long: bursts of a long train, see `quiet_train.py`.
    """

    kind: Kind
    beat: Beat
    start: int
    ranks: int
    rotates: bool
    run: int
    digit: int
    long: int


@inlined
def refresh(t: Timing, state: RankState, unit: int, ranks: int, log: Log) -> None:
    """Do the refresh that is due."""
    m, counters = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    logging = log.records.shape[0] > 0
    begin = max(m[DUE], m[FREE])
    highest = -1
    b = state.places.banks + OPEN_ROW
    for _ in range(t.bank_groups):
        for _ in range(t.banks):
            highest = max(highest, m[b])
            m[b] = -1
            b += BANK_SIZE
    refresh = begin
    if highest >= 0:
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


@merged
def place_of(t: Timing, amap: MapArrays, stream: Stream, local: int) -> tuple[int, int, int]:
    """Bank group, bank and row of the burst at a local address."""
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
    return group, bank, row


@inlined
def run_train(t: Timing, amap: MapArrays, state: RankState, stream: Stream, hold: Hold, unit: int, local: int,
              bursts: int, log: Log) -> None:  # fmt: skip
    """Run one train of `bursts` bursts from local address `local` on."""
    kind, beat, at = stream.kind, stream.beat, state.places
    m, counters = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    logging = log.records.shape[0] > 0

    group, bank, row = place_of(t, amap, stream, local)
    touched = min(bursts, t.bank_groups) if stream.rotates else 1

    train = counters[N_TRAINS]
    # A train of an earlier stream began before the start of this one.
    earlier = at.patterns + (train - t.ahead & at.trains_ring - 1) * PATTERN_SIZE
    begin = max(stream.start, m[earlier + FIRST] + 1, m[LAST_REF] + t.ref_act)
    while m[DUE] <= begin:
        refresh(t, state, unit, stream.ranks, log)
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
    step = hold.step
    if beat.passes > 0:
        paced = m[LOADED] if m[SEQUENCES] == hold.sequences else 0
        if paced == 0:
            first = max(first, m[PASS_FROM])
        last = burst_cycle(first, paced, step, beat, bursts - 1)
        m[LOADED] = (paced + bursts) % beat.passes
        m[SEQUENCES] = hold.sequences
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
    m[LONG] = first if bursts >= stream.long else NEVER

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
