"""Short trains that go on in the row of the train before, as those of keys and values do: without a row command."""

from typing import Any

from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp.gaps import Timing
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
    LAST_READ,
    LOADED,
    LONG,
    MAC_FREE,
    N_RD,
    N_TRAINS,
    NEVER,
    PACED,
    PASS_FROM,
    PATTERN_SIZE,
    STEP,
    TRAIN_SIZE,
    RankState,
)
from ndpsim.dram.ndp.rows import Hold
from ndpsim.dram.ndp.train import Stream, place_of
from ndpsim.jit import merged, pointer_to


@merged
def run_hits(t: Timing, amap: MapArrays, stream: Stream, hold: Hold, state: RankState, unit: int, queue: Any, j: int,
             waits: int) -> int:  # fmt: skip
    """Run reads of a rank from its `j`-th train on, as long as each lies in the run of the train before.

    Loads and work of the MAC array alternate, bursts of a train stay in one bank, and all of these fit the pass at
    hand. The train before is one of this stream, for as many sequences as `hold`. It waited for all that came before
    it, so that these wait for its bursts and for their pass alone. Returns the place of the first train that is no such
    one.
    """
    m, counters, at = pointer_to(state.records[unit]), pointer_to(state.counters[unit]), state.places
    kind, beat = stream.kind, stream.beat
    local = queue[(j - 1) * TRAIN_SIZE + LOCAL]
    last, loaded, pass_from = m[LAST_READ], m[LOADED], m[PASS_FROM]
    gap = max(kind.after_read, kind.after_read_in_group)
    train, due = counters[N_TRAINS], m[DUE]
    before, reads = j, counters[N_RD]
    while j < waits:
        work = queue[j * TRAIN_SIZE + WORK]
        bursts = bursts_of(work)
        hit = (queue[j * TRAIN_SIZE + LOCAL] ^ local) >> amap.run_bits == 0 and bursts < stream.long
        begin = m[at.patterns + (train - t.ahead & at.trains_ring - 1) * PATTERN_SIZE + FIRST] + 1
        hit = hit and sequences_in(work) == hold.sequences
        if not hit or due <= begin or loaded + bursts > beat.passes:
            break
        first = max(last + gap, pass_from if loaded == 0 else NEVER)
        last = first + (bursts - 1) * beat.pace
        pattern = at.patterns + (train & at.trains_ring - 1) * PATTERN_SIZE
        m[pattern + FIRST] = first
        m[pattern + LAST] = last
        m[pattern + PACED] = loaded
        m[pattern + STEP] = hold.step
        loaded = loaded + bursts if loaded + bursts < beat.passes else 0
        pass_from = last + hold.rest
        reads += bursts
        train += 1
        j += 1
    if j > before:
        group, bank, _ = place_of(t, amap, stream, local)
        m[at.banks + (group * t.banks + bank) * BANK_SIZE + BANK_READ] = last
        m[at.groups + group * GROUP_SIZE + GROUP_READ] = last
        m[LAST_READ] = last
        m[FREE] = last + kind.clocks
        m[LOADED], m[PASS_FROM] = loaded, pass_from
        m[MAC_FREE] = (last + kind.latency) * t.tck + hold.ticks
        m[LONG] = NEVER
        counters[N_RD] = reads
        counters[N_TRAINS] = train
    return j
