"""Long trains behind long ones, of which only the first burst has to be found.

A train is long if, between its first burst F and the last ones in its banks, all that came before F has expired, and so
have the row commands that the controller issues meanwhile for the next trains: `Kind.long` is a bound. All row commands
of trains up to the long one come before F. Those of a later train are then *early*, and expired by the last bursts, or
*late*: they wait, directly or in their queue, for one of the last bursts in a bank of the long train, or for what comes
after. So

- the first burst of the next train waits for the bursts before it and for the MAC array; its own row commands are
  early, unless it goes to another row of the same bank;
- what comes after the last burst does not depend on when commands before F were issued, nor on when early ones were.
  A long train behind a long one may therefore leave its row commands out of the state of its rank: whoever looks for
  them finds older ones, which have expired as well.

This is about times alone: open rows, bursts and counts are kept for every train.
"""

from typing import Any, NamedTuple

from ndpsim.dram.address_map import BANK, BANK_GROUP, ROW, MapArrays
from ndpsim.dram.ndp.command_bus import Beat
from ndpsim.dram.ndp.gaps import ALWAYS_SHORT, Kind, Timing
from ndpsim.dram.ndp.queue import LOCAL, WORK, bursts_of, sequences_in
from ndpsim.dram.ndp.rank_state import (
    BANK_READ,
    BANK_SIZE,
    BANK_WRITE,
    DUE,
    FIRST,
    FREE,
    GROUP_READ,
    GROUP_SIZE,
    GROUP_WRITE,
    LAST,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LAST_WRITE,
    LOADED,
    LONG,
    MAC_FREE,
    N_ACT,
    N_PRE,
    N_RD,
    N_TRAINS,
    N_WR,
    NEVER,
    OPEN_ROW,
    PACED,
    PASS_FROM,
    PATTERN_SIZE,
    SEQUENCES,
    STEP,
    TRAIN_SIZE,
    Log,
    RankState,
)
from ndpsim.dram.ndp.rows import Array, hold_for
from ndpsim.dram.ndp.train import refresh
from ndpsim.jit import merged, pointer_to


class Quiet(NamedTuple):
    """What `run_long` knows of a stream.

    long, again and opened: those of `Kind`. touched: banks of a long train. start: of the stream; after and
    after_in_group: from burst to burst in the rank and in a bank group; clocks, latency: of a burst; all in clocks.
    ahead, queue: depths of the controller. The row, bank and bank group of a burst are so many bits of its local
    address; a rank has `groups` bank groups with `banks` each. write: whether bursts are writes.
    """

    long: int
    touched: int
    again: int
    opened: int
    start: int
    after: int
    after_in_group: int
    clocks: int
    latency: int
    ahead: int
    queue: int
    row_shift: int
    row_mask: int
    bank_shift: int
    bank_mask: int
    group_shift: int
    group_mask: int
    groups: int
    banks: int
    write: bool


@merged
def quiet_stream(t: Timing, amap: MapArrays, kind: Kind, run: int, start: int) -> Quiet:
    """Return what `run_long` knows of a stream; its trains are all short if the address map is not made for it.

    It needs a row, bank and bank group of adjacent bits each. run: bursts of the longest train.
    """
    rotates = amap.rotating == 1 and run > 1
    long = kind.long[1 if rotates else 0]
    row_shift = row_mask = bank_shift = bank_mask = group_shift = group_mask = 0
    for i in range(amap.digits.shape[0]):
        low, mask, field = amap.digits[i, 0], amap.digits[i, 1], amap.digits[i, 2]
        if field == ROW:
            long = long if row_mask == 0 else ALWAYS_SHORT
            row_shift, row_mask = low, mask
        elif field == BANK:
            long = long if bank_mask == 0 else ALWAYS_SHORT
            bank_shift, bank_mask = low, mask
        elif field == BANK_GROUP:
            long = long if group_mask == 0 else ALWAYS_SHORT
            group_shift, group_mask = low, mask
    return Quiet(
        long, t.bank_groups if rotates else 1, kind.again[1 if rotates else 0],
        kind.opened[1 if rotates else 0], start,
        kind.after_write if kind.write else kind.after_read,
        kind.after_write_in_group if kind.write else kind.after_read_in_group,
        kind.clocks, kind.latency, t.ahead, t.queue,
        row_shift, row_mask, bank_shift, bank_mask, group_shift,
        group_mask, t.bank_groups, t.banks, kind.write,
    )  # fmt: skip


@merged
def run_long(
    t: Timing, q: Quiet, beat: Beat, array: Array, state: RankState, unit: int, queue: Any, j: int, waits: int, log: Log
) -> int:
    """Run the trains of a rank from the `j`-th on that are long and behind long ones, without a log.

    Returns the place of the first train that is no such one.
    """
    at, touched, write, passing = state.places, q.touched, q.write, beat.passes > 0
    in_rank, in_group = (LAST_WRITE, GROUP_WRITE) if write else (LAST_READ, GROUP_READ)
    in_bank, counter = (BANK_WRITE, N_WR) if write else (BANK_READ, N_RD)
    m, count = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
    long_from = m[LONG]
    if long_from < q.start:
        return j
    hold = hold_for(array, beat, array.sequences)
    fits = False
    known = whole = extra = span = work = tail = queued = 0
    before, due, free = m[in_rank], m[DUE], m[MAC_FREE]
    pass_from, loaded, works_for = m[PASS_FROM], m[LOADED], m[SEQUENCES]
    train, all_bursts, all_acts, all_pres = count[N_TRAINS], count[counter], count[N_ACT], count[N_PRE]
    begun = j
    while j < waits:
        local, what = queue[j * TRAIN_SIZE + LOCAL], queue[j * TRAIN_SIZE + WORK]
        bursts, sequences = bursts_of(what), sequences_in(what)
        if what != known:
            hold = hold_for(array, beat, sequences)
            known = what
            whole = (bursts - 1) // beat.passes if passing else 0
            extra = bursts - 1 - whole * beat.passes
            fits = bursts >= q.long and extra >= touched - 1
            fits = fits and (passing or hold.ticks <= beat.pace * beat.tck)
            span = whole * hold.step + extra * beat.pace
            work, tail = bursts * hold.ticks, span * beat.tck + hold.ticks
            queued = (q.queue - 1) * hold.ticks
        if not fits or (passing and loaded != 0 and works_for == sequences):  # the latter goes on with a pass
            break
        begin = m[at.patterns + (train - q.ahead & at.trains_ring - 1) * PATTERN_SIZE + FIRST] + 1
        first = NEVER
        while due <= begin:  # it is not by the start of the stream, in which there was a train already
            m[in_rank], m[FREE] = before, before + q.clocks
            refresh(t, state, unit, 0, log)
            due = m[DUE]
            begin = max(begin, m[LAST_REF] + t.ref_act)
            first = max(begin, m[LAST_PREA] + t.prea_act) + q.opened
        row = local >> q.row_shift & q.row_mask
        bank = local >> q.bank_shift & q.bank_mask
        group = local >> q.group_shift & q.group_mask
        first = max(first, before + q.after)
        acts = pres = 0
        lost = False
        for k in range(touched):
            g = (group + k) & (q.groups - 1)
            b = at.banks + (g * q.banks + bank) * BANK_SIZE
            first = max(first, m[at.groups + g * GROUP_SIZE + in_group] + q.after_in_group - k * beat.pace)
            opened, latest = m[b + OPEN_ROW], m[b + in_bank]
            closes = opened >= 0 and opened != row
            acts += opened != row
            pres += closes
            again = closes and latest >= long_from  # the bank is one of the last train
            lost = lost or (touched > 1 and again and latest != before - (touched - 1 - k) * beat.pace)
            first = max(first, before + q.again if again else NEVER)
        if lost:
            break
        if passing:
            first = max(first, pass_from)
            pass_from = first + span + hold.rest
            loaded = extra + 1 if extra + 1 < beat.passes else 0
            free = (first + q.latency) * beat.tck + tail
        elif hold.ticks > 0:
            arrival = (first + q.latency) * beat.tck
            if free > arrival and (free - queued > arrival or works_for != sequences):
                break
            free = max(max(arrival, free) + work, arrival + tail)
        works_for = sequences
        last = first + span
        pattern = at.patterns + (train & at.trains_ring - 1) * PATTERN_SIZE
        m[pattern + FIRST] = first
        m[pattern + LAST] = last
        m[pattern + PACED] = 0 if passing else NEVER
        m[pattern + STEP] = hold.step
        for k in range(touched):
            g = (group + bursts - 1 - k) & (q.groups - 1) if touched > 1 else group
            b = at.banks + (g * q.banks + bank) * BANK_SIZE
            m[b + OPEN_ROW] = row
            m[b + in_bank] = last - k * beat.pace
            m[at.groups + g * GROUP_SIZE + in_group] = last - k * beat.pace
        long_from, before = first, last
        all_acts += acts
        all_pres += pres
        all_bursts += bursts
        train += 1
        j += 1
    if j > begun:
        m[LONG], m[in_rank], m[FREE] = long_from, before, before + q.clocks
        m[MAC_FREE], m[PASS_FROM], m[LOADED], m[SEQUENCES] = free, pass_from, loaded, works_for
        count[N_TRAINS], count[counter], count[N_ACT], count[N_PRE] = train, all_bursts, all_acts, all_pres
    return j
