"""The trains of one rank in an instruction, one after the other: the loop in which nearly all time of a run is spent.

Of every train it finds the cycle of the first burst, which waits for bursts before it, for the MAC array and for the
train's own row commands, and the cycle of the last. Only in the last of these do trains differ. Own row commands are

- PLACED: each gets its cycle, by a search for room on the command bus (`row_commands.open_banks`). Always right.
- HIDDEN: they are over before they are needed, or take a constant time (`hidden.py` says why). Long trains.
- NONE: the train goes on in the row of the train before, as those of keys and values do.

What is known of the rank stays in registers from train to train, and is stored behind the last one.
"""

from typing import Any, NamedTuple

from ndpsim.dram import address_map
from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp import gaps, rank_state
from ndpsim.dram.ndp import queue as trains
from ndpsim.dram.ndp.command_bus import Beat, burst_cycle
from ndpsim.dram.ndp.gaps import Timing, between
from ndpsim.dram.ndp.mac_array import Array, Load, alternating, load_of, overlapped
from ndpsim.dram.ndp.queue import bursts_of, sequences_in
from ndpsim.dram.ndp.rank_state import Places, RankState, write_command
from ndpsim.dram.ndp.row_commands import NdpRules, open_banks, place_of, refresh
from ndpsim.jit import merged, pointer_to


class Stream(NamedTuple):
    """One instruction as its ranks see it; times in clocks.

    ranks: of a DIMM, as the log counts them; rotates: whether consecutive bursts of a train are in different bank
    groups; run_bits: bits of a local address that say where in a run of one row a burst is; digit: see
    `row_commands.place_of`. long, again, opened: those of `Kind` for such trains; long is ALWAYS_SHORT if the address
    map does not have the row, the bank and the bank group in adjacent bits each, which shifts and masks describe.
    """

    rules: NdpRules
    beat: Beat
    queue: int
    write: bool
    start: int
    ranks: int
    rotates: bool
    run_bits: int
    digit: int
    long: int
    again: int
    opened: int
    row_shift: int
    row_mask: int
    bank_shift: int
    bank_mask: int
    group_shift: int
    group_mask: int


@merged
def stream_of(t: Timing, amap: MapArrays, write: bool, alternates: bool, start: int, ranks: int) -> Stream:
    """Return a stream of bursts of one kind that starts in clock `start`."""
    kind = t.writes if write else t.reads
    rotates = amap.rotating == 1 and kind.near * t.bank_groups >= kind.far
    run_bits = 0 if amap.rotating == 1 and not rotates else amap.run_bits
    digit = 0
    while digit < amap.digits.shape[0] and amap.digits[digit, 0] < amap.run_bits:
        digit += 1
    turns = 1 if rotates else 0
    long = kind.long[turns]
    row_shift = row_mask = bank_shift = bank_mask = group_shift = group_mask = 0
    for i in range(amap.digits.shape[0]):
        low, mask, field = amap.digits[i, 0], amap.digits[i, 1], amap.digits[i, 2]
        if field == address_map.ROW:
            long = long if row_mask == 0 else gaps.ALWAYS_SHORT
            row_shift, row_mask = low, mask
        elif field == address_map.BANK:
            long = long if bank_mask == 0 else gaps.ALWAYS_SHORT
            bank_shift, bank_mask = low, mask
        elif field == address_map.BANK_GROUP:
            long = long if group_mask == 0 else gaps.ALWAYS_SHORT
            group_shift, group_mask = low, mask
    passes = t.queue if alternates else 0
    beat = Beat(kind.clocks, kind.latency, kind.near, kind.near if rotates else kind.far, t.tck, passes)
    rules = NdpRules(
        pointer_to(t.table), kind.command, t.bank_groups, t.banks, t.ahead, t.interval, t.shared_bus,
        t.act_clocks, t.prea_clocks, t.ref_clocks, t.window, t.window_gap,
    )  # fmt: skip
    return Stream(
        rules, beat, t.queue, write, start, ranks, rotates, run_bits, digit, long, kind.again[turns],
        kind.opened[turns], row_shift, row_mask, bank_shift, bank_mask, group_shift, group_mask,
    )  # fmt: skip


class Registers(NamedTuple):
    """What changes with every train of a rank, as `RankState.records` and its counters have it between instructions.

    before: the latest burst of this kind; here: the first local address of the latest train in the queue, or -1;
    bursts, acts, pres: those that are not in the counters yet.
    """

    before: int
    due: int
    free: int
    pass_from: int
    loaded: int
    works_for: int
    long_from: int
    here: int
    train: int
    bursts: int
    acts: int
    pres: int


@merged
def load_registers(m: Any, count: Any, in_rank: int) -> Registers:
    """Return the registers of a rank; in_rank: where the latest burst of this kind is kept."""
    return Registers(
        m[in_rank], m[rank_state.DUE], m[rank_state.MAC_FREE], m[rank_state.PASS_FROM], m[rank_state.LOADED],
        m[rank_state.SEQUENCES], m[rank_state.LONG], -1, count[rank_state.N_TRAINS], 0, 0, 0,
    )  # fmt: skip


@merged
def store_registers(m: Any, count: Any, in_rank: int, counter: int, clocks: int, r: Registers) -> None:
    """Store the registers of a rank behind its last train; counter: that of the bursts; clocks: of one on the bus."""
    m[in_rank], m[rank_state.FREE] = r.before, r.before + clocks  # row commands are before the first burst
    m[rank_state.MAC_FREE], m[rank_state.PASS_FROM] = r.free, r.pass_from
    m[rank_state.LOADED], m[rank_state.SEQUENCES], m[rank_state.LONG] = r.loaded, r.works_for, r.long_from
    count[rank_state.N_TRAINS] = r.train
    count[counter] += r.bursts
    count[rank_state.N_ACT] += r.acts
    count[rank_state.N_PRE] += r.pres


@merged
def _bank(stream: Stream, local: int) -> int:
    """Return the number of a bank among those of all bank groups."""
    group, bank = local >> stream.group_shift & stream.group_mask, local >> stream.bank_shift & stream.bank_mask
    return group * stream.rules.banks + bank


@merged
def run_whole_passes(stream: Stream, array: Array, m: Any, count: Any, at: Places, queue: Any, j: int, waits: int,
                     apart: int, unit: int, r: Registers) -> tuple[int, Registers]:  # fmt: skip
    """Run trains from the `j`-th on as long as each reads whole passes of one bank, and its row commands are HIDDEN.

    They are most of what a DIMM with alternating loads reads; this special way makes a run of a model a quarter faster.
    The train before is long and has left no pass unfinished. The first burst waits for its pass only, unless the train
    goes to another row of the same bank: the pass begins no earlier than `apart` clocks, the gap in a bank group,
    behind the last burst. Of bursts in banks and bank groups those of the last train alone are kept: all others have
    expired. Returns the index of the first train that does not qualify, and the registers.
    """
    rules, beat = stream.rules, stream.beat
    before, due, pass_from, first, train = r.before, r.due, r.pass_from, r.long_from, r.train
    load, known, whole = Load(0, 0, 0, 0, 0, 0, 0, 0), 0, False
    begun, bursts, acts, pres = j, 0, 0, 0
    bank = _bank(stream, r.here)
    while j < waits:
        local, work = queue[j * rank_state.TRAIN_SIZE + trains.LOCAL], queue[j * rank_state.TRAIN_SIZE + trains.WORK]
        if work != known:
            known = work
            load = load_of(array, beat, bursts_of(work), sequences_in(work))
            whole = load.bursts >= stream.long and load.left == 0
        earlier = at.patterns + (train - rules.ahead & at.trains_ring - 1) * rank_state.PATTERN_SIZE
        if not whole or pass_from < before + apart:
            break
        first, begin = pass_from, m[earlier + rank_state.FIRST] + 1
        if due <= begin:
            m[rank_state.LAST_READ], m[rank_state.FREE] = before, before + beat.clocks
            begin = refresh(rules, m, count, at, begin, unit, stream.ranks, None)
            due = m[rank_state.DUE]
            closed = m[rank_state.LAST_PREA] + between(rules.table, gaps.PREA, gaps.ACT, gaps.RANK)
            first = max(first, max(begin, closed) + stream.opened)
        row = local >> stream.row_shift & stream.row_mask
        bank_before, bank = bank, _bank(stream, local)
        b = at.banks + bank * rank_state.BANK_SIZE + rank_state.OPEN_ROW
        opened = m[b]
        m[b] = row
        acts += opened != row
        pres += opened != row and opened >= 0
        if bank == bank_before and opened != row and opened >= 0:
            first = max(first, before + stream.again)
        before = first + load.span
        pass_from = before + load.rest
        pattern = at.patterns + (train & at.trains_ring - 1) * rank_state.PATTERN_SIZE
        m[pattern + rank_state.FIRST] = first
        m[pattern + rank_state.LAST] = before
        m[pattern + rank_state.PACED] = 0
        m[pattern + rank_state.STEP] = load.step
        bursts += load.bursts
        train += 1
        j += 1
    if j == begun:
        return j, r
    m[at.banks + bank * rank_state.BANK_SIZE + rank_state.BANK_READ] = before
    last = (j - 1) * rank_state.TRAIN_SIZE
    here, done = queue[last + trains.LOCAL], sequences_in(queue[last + trains.WORK])
    group = here >> stream.group_shift & stream.group_mask
    m[at.groups + group * rank_state.GROUP_SIZE + rank_state.GROUP_READ] = before
    free = (before + beat.latency) * beat.tck + array.holds[done, 0]
    return j, Registers(
        before, due, free, pass_from, 0, done, first, here, train, r.bursts + bursts, r.acts + acts, r.pres + pres
    )


@merged
def run_rank(amap: MapArrays, stream: Stream, array: Array, state: RankState, rank: int, unit: int, fast: bool,
             log: Any) -> None:  # fmt: skip
    """Run the trains that wait for a rank, the `unit`-th of the machine and the `rank`-th of its DIMM.

    fast: whether own row commands may be HIDDEN or NONE; never so with a log, which needs them.
    """
    rules, beat, at, write, start = stream.rules, stream.beat, state.places, stream.write, stream.start
    m, count = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    queue, waits = pointer_to(state.waiting[rank]), m[rank_state.WAITS]
    table, column, groups = rules.table, rules.column, rules.bank_groups
    fast = fast and log is None
    alternates = beat.passes > 0
    may_hit = fast and alternates and amap.rotating == 0
    may_run = fast and alternates and not stream.rotates and stream.long < gaps.ALWAYS_SHORT
    in_rank, other = rank_state.LAST_READ, rank_state.LAST_WRITE
    in_group, in_bank, counter = rank_state.GROUP_READ, rank_state.BANK_READ, rank_state.N_RD
    if write:
        in_rank, other = rank_state.LAST_WRITE, rank_state.LAST_READ
        in_group, in_bank, counter = rank_state.GROUP_WRITE, rank_state.BANK_WRITE, rank_state.N_WR
    after = between(table, column, column, gaps.RANK)
    after_in_group = between(table, column, column, gaps.BANK_GROUP)
    earliest = max(start, m[other] + between(table, gaps.RD if write else gaps.WR, column, gaps.RANK))
    ready = max(start, m[rank_state.LAST_REF] + between(table, gaps.REF, gaps.ACT, gaps.RANK))
    r = load_registers(m, count, in_rank)
    load, known, steady = Load(0, 0, 0, 0, 0, 0, 0, 0), 0, False
    group = bank = row = 0
    placed = -1  # the train of which these are the place
    j = 0
    while j < waits:
        if may_run and r.here >= 0 and r.loaded == 0 and r.long_from >= start:
            apart = max(after, after_in_group)
            j, r = run_whole_passes(stream, array, m, count, at, queue, j, waits, apart, unit, r)
            if j == waits:
                break
            ready = max(ready, m[rank_state.LAST_REF] + between(table, gaps.REF, gaps.ACT, gaps.RANK))
        before, due, free, pass_from, loaded, works_for, long_from, here, train, bursts, acts, pres = r
        local, work = queue[j * rank_state.TRAIN_SIZE + trains.LOCAL], queue[j * rank_state.TRAIN_SIZE + trains.WORK]
        if work != known:
            known = work
            load = load_of(array, beat, bursts_of(work), sequences_in(work))
            steady = fast and load.bursts >= stream.long and load.even >= (groups if stream.rotates else 1)
        touched = min(load.bursts, groups) if stream.rotates else 1
        goes_on = loaded if alternates and works_for == load.sequences else 0  # with so many bursts of a pass
        earlier = at.patterns + (train - rules.ahead & at.trains_ring - 1) * rank_state.PATTERN_SIZE
        begin = max(ready, m[earlier + rank_state.FIRST] + 1)
        refreshed = due <= begin
        if refreshed:
            m[in_rank], m[rank_state.FREE] = before, max(m[rank_state.FREE], before + beat.clocks)
            begin = refresh(rules, m, count, at, begin, unit, stream.ranks, log)
            due, ready = m[rank_state.DUE], begin
        first = max(earliest, before + after)
        none = may_hit and here == placed and (local ^ here) >> stream.run_bits == 0 and not refreshed
        none = none and works_for == load.sequences and load.bursts < stream.long
        none = none and loaded + load.bursts <= beat.passes
        placed = local
        if none:
            first = max(first, before + after_in_group)  # the place is that of the train before
        elif stream.long < gaps.ALWAYS_SHORT:
            group = local >> stream.group_shift & stream.group_mask
            bank = local >> stream.bank_shift & stream.bank_mask
            row = local >> stream.row_shift & stream.row_mask
        else:
            group, bank, row = place_of(amap, groups, stream.digit, local)
        hidden = steady and long_from >= start and goes_on == 0
        opens = closes = 0
        own = first
        if hidden:
            if refreshed:
                closed = m[rank_state.LAST_PREA] + between(table, gaps.PREA, gaps.ACT, gaps.RANK)
                own = max(begin, closed) + stream.opened
            for k in range(touched):
                number = (group + k) & (groups - 1)
                b = at.banks + (number * rules.banks + bank) * rank_state.BANK_SIZE
                g = at.groups + number * rank_state.GROUP_SIZE
                own = max(own, m[g + in_group] + after_in_group - k * beat.pace)
                opened = m[b + rank_state.OPEN_ROW]
                if opened != row:
                    opens += 1
                    if opened >= 0:
                        closes += 1
                        if m[b + in_bank] >= long_from:  # the bank is one of the last train
                            own = max(own, before + stream.again)
                            if m[b + in_bank] != before - (touched - 1 - k) * beat.pace:
                                hidden = False
        if hidden:
            first = max(first, own)
            acts += opens
            pres += closes
        elif not none:
            own = open_banks(
                rules, beat, m, count, at, train, begin, group, bank, row, touched, unit, stream.ranks, log
            )
            first = max(first, own)

        paced, even = rank_state.NEVER, load.even
        last = first + load.span
        if alternates:
            paced, even = goes_on, load.even if goes_on == 0 else 1
            first, last, loaded = alternating(beat, load, first, pass_from, goes_on)
            pass_from = last + load.rest
            free = (last + beat.latency) * beat.tck + load.ticks
            works_for = load.sequences
        elif load.step > 0:
            same = works_for == load.sequences
            first, last, paced, free = overlapped(beat, stream.queue, load.step, load.bursts, same, first, free)
            works_for = load.sequences

        pattern = at.patterns + (train & at.trains_ring - 1) * rank_state.PATTERN_SIZE
        m[pattern + rank_state.FIRST] = first
        m[pattern + rank_state.LAST] = last
        m[pattern + rank_state.PACED] = paced
        m[pattern + rank_state.STEP] = load.step
        for k in range(touched):
            number = (group + load.bursts - 1 - k) & (groups - 1) if stream.rotates else group
            b = at.banks + (number * rules.banks + bank) * rank_state.BANK_SIZE
            cycle = last - k * beat.pace
            if k >= even:
                cycle = burst_cycle(first, paced, load.step, beat, load.bursts - 1 - k)
            m[b + rank_state.OPEN_ROW] = row
            m[b + in_bank] = cycle
            m[at.groups + number * rank_state.GROUP_SIZE + in_group] = cycle
        if log is not None:
            _log_bursts(amap, stream, unit, local, load.bursts, first, paced, load.step, bank, row, log)
        long_from = first if load.bursts >= stream.long else rank_state.NEVER
        bursts += load.bursts
        r = Registers(
            last, due, free, pass_from, loaded, works_for, long_from, local, train + 1, bursts, acts, pres
        )  # fmt: skip
        j += 1
    if waits > 0:
        store_registers(m, count, in_rank, counter, beat.clocks, r)


@merged
def _log_bursts(amap: MapArrays, stream: Stream, unit: int, local: int, bursts: int, first: int, paced: int, step: int,
                bank: int, row: int, log: Any) -> None:  # fmt: skip
    for k in range(bursts):
        group = column = 0
        for i in range(amap.digits.shape[0]):
            part = (local + k >> amap.digits[i, 0] & amap.digits[i, 1]) << amap.digits[i, 3]
            if amap.digits[i, 2] == address_map.BANK_GROUP:
                group |= part
            elif amap.digits[i, 2] == address_map.COLUMN:
                column |= part
        cycle = burst_cycle(first, paced, step, stream.beat, k)
        command = rank_state.WR if stream.write else rank_state.RD
        write_command(log, cycle, command, unit, stream.ranks, group, bank, row, column)
