"""Long trains of whole passes in one bank, behind long ones: most of what an NDP-DIMM with alternating loads reads.

They are trains as in `quiet_train.py`, and the MAC array is so slow that neither tCCD nor an early row command binds
the first burst of one: it waits for its pass, unless it goes to another row of the bank of the train before, or a
refresh came between. Of the bursts in banks and bank groups, those of the last train alone can bind anything that
follows; they are all that is kept.
"""

from typing import Any

from ndpsim.dram.ndp.command_bus import Beat
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.dram.ndp.hidden import Quiet
from ndpsim.dram.ndp.queue import LOCAL, WORK, bursts_of, sequences_in
from ndpsim.dram.ndp.rank_state import (
    BANK_READ,
    BANK_SIZE,
    DUE,
    FIRST,
    FREE,
    GROUP_READ,
    GROUP_SIZE,
    LAST,
    LAST_PREA,
    LAST_READ,
    LAST_REF,
    LOADED,
    LONG,
    MAC_FREE,
    N_ACT,
    N_PRE,
    N_RD,
    N_TRAINS,
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


@merged
def _bank(q: Quiet, local: int) -> int:
    """Place of a bank among those of all bank groups."""
    return (local >> q.group_shift & q.group_mask) * q.banks + (local >> q.bank_shift & q.bank_mask)


@merged
def run_long_passes(t: Timing, q: Quiet, beat: Beat, array: Array, state: RankState, unit: int, queue: Any, j: int,
                    waits: int, log: Log) -> int:  # fmt: skip
    """Run the trains of a rank from the `j`-th on that are such ones, without a log.

    Returns the place of the first one that is not.
    """
    m, count, at = pointer_to(state.records[unit]), pointer_to(state.counters[unit]), state.places
    if j == 0 or m[LONG] < q.start or m[LOADED] != 0:
        return j
    hold = hold_for(array, beat, array.sequences)
    fits, nearest = False, max(q.after, q.after_in_group)
    known = span = passes = 0
    first, last, due, pass_from = m[LONG], m[LAST_READ], m[DUE], m[PASS_FROM]
    train, bursts, opens, closes, begun = count[N_TRAINS], 0, 0, 0, j
    all_bursts = count[N_RD]
    bank = _bank(q, queue[(j - 1) * TRAIN_SIZE + LOCAL])
    while j < waits:
        local, work = queue[j * TRAIN_SIZE + LOCAL], queue[j * TRAIN_SIZE + WORK]
        if work != known:
            known = work
            hold = hold_for(array, beat, sequences_in(work))
            if bursts != bursts_of(work):
                bursts = bursts_of(work)
                passes = bursts // beat.passes
            span = (passes - 1) * hold.step + (beat.passes - 1) * beat.pace
            fits = bursts >= q.long and passes * beat.passes == bursts
        if not fits or pass_from < last + nearest:
            break
        begin = m[at.patterns + (train - q.ahead & at.trains_ring - 1) * PATTERN_SIZE + FIRST] + 1
        before, first = last, pass_from
        while due <= begin:  # it is not by the start of the stream, in which there was a train already
            m[LAST_READ], m[FREE] = last, last + q.clocks
            refresh(t, state, unit, 0, log)
            due = m[DUE]
            begin = max(begin, m[LAST_REF] + t.ref_act)
            first = max(pass_from, max(begin, m[LAST_PREA] + t.prea_act) + q.opened)
        row = local >> q.row_shift & q.row_mask
        bank_before, bank = bank, _bank(q, local)
        opened = m[at.banks + bank * BANK_SIZE + OPEN_ROW]
        m[at.banks + bank * BANK_SIZE + OPEN_ROW] = row
        opens += opened != row
        closes += opened != row and opened >= 0
        if bank == bank_before and opened != row and opened >= 0:
            first = max(first, before + q.again)
        last = first + span
        pass_from = last + hold.rest
        pattern = at.patterns + (train & at.trains_ring - 1) * PATTERN_SIZE
        m[pattern + FIRST] = first
        m[pattern + LAST] = last
        m[pattern + PACED] = 0
        m[pattern + STEP] = hold.step
        all_bursts += bursts
        train += 1
        j += 1
    if j > begun:
        m[LONG], m[LAST_READ], m[FREE], m[PASS_FROM] = first, last, last + q.clocks, pass_from
        done = sequences_in(queue[(j - 1) * TRAIN_SIZE + WORK])
        m[MAC_FREE] = (last + q.latency) * beat.tck + array.holds[done, 0]
        m[SEQUENCES] = done
        m[at.banks + bank * BANK_SIZE + BANK_READ] = last
        m[at.groups + bank // q.banks * GROUP_SIZE + GROUP_READ] = last
        count[N_TRAINS], count[N_RD] = train, all_bursts
        count[N_ACT] += opens
        count[N_PRE] += closes
    return j
