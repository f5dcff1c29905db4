"""The NDP stream engine of one DIMM: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies it.

Nothing here ticks. Trains are taken in order, and for each one the cycles of its precharges, activates and first burst
follow from a few "earliest" times; all its other bursts follow from a formula. Row commands are issued ahead, so they
must keep clear of bursts of earlier trains: see `command_bus.py`. A row of a matrix is mostly in one rank, one row of
the banks, so all ranks of a DIMM go through an instruction together, each train in its rank, whatever others do.

Kernels count time in clocks of the rank (int64) and, where the MAC array is concerned, in ticks (int64): the largest
unit in which both a picosecond and the clock period are whole.
"""

from typing import Any

from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp.command_bus import Beat
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.dram.ndp.hidden import quiet_stream, run_long
from ndpsim.dram.ndp.hits import run_hits
from ndpsim.dram.ndp.passes import run_long_passes
from ndpsim.dram.ndp.queue import LOCAL, WORK, Cursor, bursts_of, deal, sequences_in
from ndpsim.dram.ndp.rank_state import LAST_WRITE, LOADED, MAC_FREE, TRAIN_SIZE, WAITS, Log, RankState
from ndpsim.dram.ndp.rows import Array, Rows, hold_for
from ndpsim.dram.ndp.train import Stream, run_train
from ndpsim.jit import borrowing, pointer_to


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
    digit = 0
    while digit < amap.digits.shape[0] and amap.digits[digit, 0] < amap.run_bits:
        digit += 1
    quiet = quiet_stream(t, amap, kind, run, start)
    stream = Stream(kind, beat, start, ranks, rotates, run, digit, quiet.long)
    unlogged = log.records.shape[0] == 0
    long_ones = unlogged and quiet.long <= min(rows.atoms, run)
    hits = unlogged and passes > 0 and amap.rotating == 0
    hold = hold_for(array, beat, array.sequences)
    first_unit = dimm * ranks
    for rank in range(ranks):
        state.records[first_unit + rank, LOADED] = 0  # the array was done with the stream before
    cursor = Cursor(0, -1)
    while cursor.row < rows.length:
        for rank in range(ranks):
            state.records[first_unit + rank, WAITS] = 0
        cursor = deal(amap, state, first_unit, ranks, run, rows, lists, array.sequences, cursor)
        for rank in range(ranks):
            unit = first_unit + rank
            queue, waits = pointer_to(state.waiting[rank]), state.records[unit, WAITS]
            j = 0
            while j < waits:
                if long_ones:
                    if quiet.touched == 1 and passes > 0:
                        j = run_long_passes(t, quiet, beat, array, state, unit, queue, j, waits, log)
                    j = run_long(t, quiet, beat, array, state, unit, queue, j, waits, log)
                    if j == waits:
                        break
                local, work = queue[j * TRAIN_SIZE + LOCAL], queue[j * TRAIN_SIZE + WORK]
                if sequences_in(work) != hold.sequences:
                    hold = hold_for(array, beat, sequences_in(work))
                run_train(t, amap, state, stream, hold, unit, local, bursts_of(work), log)
                j += 1
                if hits:
                    j = run_hits(t, amap, stream, hold, state, unit, queue, j, waits)
    done = start * t.tck
    for unit in range(first_unit, first_unit + ranks):
        if write:
            done = max(done, (state.records[unit, LAST_WRITE] + kind.latency) * t.tck)
        else:
            done = max(done, state.records[unit, MAC_FREE])
    return -(-done // t.ticks)
