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
from ndpsim.dram.command_bus import Beat
from ndpsim.dram.quiet_train import quiet_rows, quiet_stream
from ndpsim.dram.rank_state import LAST_WRITE, LOADED, MAC_FREE, Log, RankState
from ndpsim.dram.stream_rows import Array, Rows, first_atom, hold_for, sequences_of
from ndpsim.dram.stream_timing import Timing
from ndpsim.dram.stream_train import Stream, run_train
from ndpsim.jit import borrowing, merged


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
    quiet = quiet_stream(t, amap, kind, beat, run, start, dimm * ranks)
    stream = Stream(kind, beat, start, ranks, rotates, run, digit, quiet.long)
    quick = log.records.shape[0] == 0 and quiet.long <= min(rows.atoms, run)
    by_runs = amap.rank_lo >= amap.run_bits  # every run lies in one rank: go through a row run by run
    hold = hold_for(array, beat, array.sequences)
    state.records[dimm * ranks : (dimm + 1) * ranks, LOADED] = 0  # the array was done with the stream before
    i, atom = 0, -1
    while i < rows.length:
        if quick:
            i, atom = quiet_rows(t, quiet, beat, array, rows, lists, state, i, atom, log)
            if i == rows.length:
                break
        begin = first_atom(rows, lists, i)
        end = begin + rows.atoms
        sequences = sequences_of(rows, lists, i, array.sequences)
        if sequences != hold.sequences:
            hold = hold_for(array, beat, sequences)
        rank, visits, hashed = 0, ranks, 0
        if by_runs:
            begin = max(begin, atom)
            rank, visits, hashed = begin >> amap.rank_lo & ranks - 1, 1, begin >> amap.rank_hash & ranks - 1
            end = min(end, (begin | run - 1) + 1)
            atom = end
        for unit in range(rank, rank + visits):
            local, stop = _below(amap, unit, begin), _below(amap, unit, end)
            while local < stop:
                bursts = min(stop - local, run - (local & run - 1))
                run_train(t, amap, state, stream, hold, dimm * ranks + (unit ^ hashed), local, bursts, log)
                local += bursts
        if not by_runs or atom == first_atom(rows, lists, i) + rows.atoms:
            i, atom = i + 1, -1
    done = start * t.tck
    for unit in range(dimm * ranks, (dimm + 1) * ranks):
        if write:
            done = max(done, (state.records[unit, LAST_WRITE] + kind.latency) * t.tck)
        else:
            done = max(done, state.records[unit, MAC_FREE])
    return -(-done // t.ticks)
