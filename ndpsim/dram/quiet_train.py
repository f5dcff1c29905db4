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

import numpy as np

from ndpsim.dram.address_map import BANK, BANK_GROUP, ROW, MapArrays
from ndpsim.dram.command_bus import Beat
from ndpsim.dram.rank_state import (
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
    Log,
    RankState,
)
from ndpsim.dram.stream_rows import Array, Rows, first_atom, hold_for, sequences_of
from ndpsim.dram.stream_timing import ALWAYS_SHORT, Kind, Timing
from ndpsim.dram.stream_train import refresh
from ndpsim.jit import borrowing, merged, pointer_to


class Quiet(NamedTuple):
    """What `quiet_rows` knows of a stream.

    long, again and opened: those of `Kind`. touched: banks of a long train. start: of the stream; after and
    after_in_group: from burst to burst in the rank and in a bank group; clocks, latency: of a burst; all in clocks.
    ahead, queue: depths of the controller. run: bursts of the longest train. An atom is in the rank first_unit +
    ((atom >> rank_lo ^ atom >> rank_hash) & rank_mask), and its row, bank and bank group are found alike; a rank has
    `groups` bank groups with `banks` each. write: whether bursts are writes.
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
    run: int
    first_unit: int
    rank_lo: int
    rank_hash: int
    rank_mask: int
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
def quiet_stream(t: Timing, amap: MapArrays, kind: Kind, beat: Beat, run: int, start: int, first_unit: int) -> Quiet:
    """Return what `quiet_rows` knows of a stream; its trains are all short if the address map is not made for it.

    It needs runs that lie in one rank, and a row, bank and bank group of adjacent bits each. first_unit: of the DIMM.
    """
    rotates = amap.rotating == 1 and run > 1
    long = kind.long[1 if rotates else 0] if amap.rank_lo >= amap.run_bits else ALWAYS_SHORT
    row_shift = row_mask = bank_shift = bank_mask = group_shift = group_mask = 0
    for i in range(amap.digits.shape[0]):
        low, mask, field = amap.digits[i, 0], amap.digits[i, 1], amap.digits[i, 2]
        low += amap.rank_width if low >= amap.rank_lo else 0
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
        kind.clocks, kind.latency, t.ahead, t.queue, run,
        first_unit, amap.rank_lo, amap.rank_hash, (1 << amap.rank_width) - 1,
        row_shift, row_mask, bank_shift, bank_mask, group_shift,
        group_mask, t.bank_groups, t.banks, kind.write,
    )  # fmt: skip


@merged
def _run_rows(touched: int, passing: bool, write: bool, t: Timing, q: Quiet, beat: Beat, array: Array, rows: Rows,
              lists: Any, state: RankState, i: int, atom: int, log: Log) -> tuple[int, int]:  # fmt: skip
    """As `quiet_rows`; for constants, LLVM drops what trains in `touched` banks, in passes or not, have no need of."""
    at = state.places
    in_rank, in_group = (LAST_WRITE, GROUP_WRITE) if write else (LAST_READ, GROUP_READ)
    in_bank, counter = (BANK_WRITE, N_WR) if write else (BANK_READ, N_RD)
    hold = hold_for(array, beat, array.sequences)
    fits = stale = False
    known = whole = extra = span = work = tail = queued = 0
    while i < rows.length:
        row_begin = first_atom(rows, lists, i)
        end = row_begin + rows.atoms
        atom = row_begin if atom < 0 else atom
        if rows.masks >= 0:
            sequences = sequences_of(rows, lists, i, 0)
            if sequences != hold.sequences:
                hold = hold_for(array, beat, sequences)
                stale = True
        while atom < end:
            bursts = min(end - atom, q.run - (atom & q.run - 1))
            if bursts != known:
                known = bursts
                whole = (bursts - 1) // beat.passes if passing else 0
                extra = bursts - 1 - whole * beat.passes
                stale = True
            if stale:
                stale = False
                fits = bursts >= q.long and extra >= touched - 1
                fits = fits and (passing or hold.ticks <= beat.pace * beat.tck)
                span = whole * hold.step + extra * beat.pace
                work, tail = bursts * hold.ticks, span * beat.tck + hold.ticks
                queued = (q.queue - 1) * hold.ticks
            unit = np.uint64(q.first_unit + ((atom >> q.rank_lo ^ atom >> q.rank_hash) & q.rank_mask))
            m, count = pointer_to(state.records[unit]), pointer_to(state.counters[unit])
            long_from = m[LONG]
            if not fits or long_from < q.start:
                return i, atom
            train = count[N_TRAINS]
            begin = m[at.patterns + (train - q.ahead & at.trains_ring - 1) * PATTERN_SIZE + FIRST] + 1
            first = NEVER
            while m[DUE] <= begin:  # it is not by the start of the stream, in which there was a train already
                refresh(t, state, unit, 0, log)
                begin = max(begin, m[LAST_REF] + t.ref_act)
                first = max(begin, m[LAST_PREA] + t.prea_act) + q.opened
            row = atom >> q.row_shift & q.row_mask
            bank = atom >> q.bank_shift & q.bank_mask
            group = atom >> q.group_shift & q.group_mask
            before = m[in_rank]
            first = max(first, before + q.after)
            acts = pres = 0
            for k in range(touched):
                g = (group + k) & (q.groups - 1)
                b = at.banks + (g * q.banks + bank) * BANK_SIZE
                first = max(first, m[at.groups + g * GROUP_SIZE + in_group] + q.after_in_group - k * beat.pace)
                opened, latest = m[b + OPEN_ROW], m[b + in_bank]
                closes = opened >= 0 and opened != row
                acts += opened != row
                pres += closes
                again = closes and latest >= long_from  # the bank is one of the last train
                if touched > 1 and again and latest != before - (touched - 1 - k) * beat.pace:
                    return i, atom
                first = max(first, before + q.again if again else NEVER)
            if passing:
                if m[LOADED] != 0 and m[SEQUENCES] == hold.sequences:
                    return i, atom  # it goes on with a pass
                first = max(first, m[PASS_FROM])
                m[LOADED] = extra + 1 if extra + 1 < beat.passes else 0
                m[SEQUENCES] = hold.sequences
                m[PASS_FROM] = first + span + hold.rest
                m[MAC_FREE] = (first + q.latency) * beat.tck + tail
            elif hold.ticks > 0:
                arrival = (first + q.latency) * beat.tck
                free = m[MAC_FREE]
                if free > arrival and (free - queued > arrival or m[SEQUENCES] != hold.sequences):
                    return i, atom
                m[MAC_FREE] = max(max(arrival, free) + work, arrival + tail)
                m[SEQUENCES] = hold.sequences
            last = first + span
            pattern = at.patterns + (train & at.trains_ring - 1) * PATTERN_SIZE
            m[pattern + FIRST] = first
            m[pattern + LAST] = last
            m[pattern + PACED] = 0 if passing else NEVER
            m[pattern + STEP] = hold.step
            m[LONG] = first
            m[in_rank] = last
            m[FREE] = last + q.clocks
            for k in range(touched):
                g = (group + bursts - 1 - k) & (q.groups - 1) if touched > 1 else group
                b = at.banks + (g * q.banks + bank) * BANK_SIZE
                m[b + OPEN_ROW] = row
                m[b + in_bank] = last - k * beat.pace
                m[at.groups + g * GROUP_SIZE + in_group] = last - k * beat.pace
            count[N_ACT] += acts
            count[N_PRE] += pres
            count[counter] += bursts
            count[N_TRAINS] = train + 1
            atom += bursts
        i += 1
        atom = -1
    return i, atom


@borrowing
def _passes_in_one_bank(
    t: Timing, q: Quiet, beat: Beat, array: Array, rows: Rows, lists: Any, state: RankState, i: int, atom: int, log: Log
) -> tuple[int, int]:
    return _run_rows(1, True, False, t, q, beat, array, rows, lists, state, i, atom, log)


@borrowing
def _in_any_banks(
    t: Timing, q: Quiet, beat: Beat, array: Array, rows: Rows, lists: Any, state: RankState, i: int, atom: int, log: Log
) -> tuple[int, int]:
    return _run_rows(q.touched, beat.passes > 0, q.write, t, q, beat, array, rows, lists, state, i, atom, log)


@borrowing
def quiet_rows(
    t: Timing, q: Quiet, beat: Beat, array: Array, rows: Rows, lists: Any, state: RankState, i: int, atom: int, log: Log
) -> tuple[int, int]:
    """Run long trains behind long ones, without a log, from an atom of row `i` on (-1: its first).

    Returns the row and the atom with which a train begins that is none of them; behind the last row, -1.
    """
    if q.touched == 1 and beat.passes > 0 and not q.write:
        return _passes_in_one_bank(t, q, beat, array, rows, lists, state, i, atom, log)
    return _in_any_banks(t, q, beat, array, rows, lists, state, i, atom, log)
