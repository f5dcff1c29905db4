"""The NDP stream engine of one DIMM: trains of bursts to open rows, in closed form; STREAM_CONTROLLER.md specifies it.

Nothing here ticks: trains are dealt out to their ranks (`queue.py`), and each rank takes its own in order
(`rank_loop.py`). Ranks are independent within an instruction.

Kernels count time in clocks of the rank (int64) and, where the MAC array is concerned, in ticks (int64): the largest
unit in which both a picosecond and the clock period are whole.
"""

from typing import Any

from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.dram.ndp.mac_array import Array
from ndpsim.dram.ndp.queue import Cursor, deal
from ndpsim.dram.ndp.rank_loop import run_rank, stream_of
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.dram.ndp.rows import StreamRows
from ndpsim.jit import inlined


@inlined
def run_stream(t: Timing, amap: MapArrays, state: RankState, dimm: int, ranks: int, write: bool, rows: StreamRows,
               lists: Any, start: int, array: Array, fast: bool, log: Any) -> int:  # fmt: skip
    """Run an instruction on all ranks of a DIMM, and return when the last one is done, in picoseconds.

    start: in clocks, when no stream before is still at work. fast: whether row commands that are hidden, or not needed,
    may be left out; the cycles are the same. log: a `Log`, which gets every command and so leaves none out, or None.
    """
    stream = stream_of(t, amap, write, array.alternating, start, ranks)
    first_unit = dimm * ranks
    for unit in range(first_unit, first_unit + ranks):
        state.records[unit, rank_state.LOADED] = 0  # the array was done with the stream before
    cursor = Cursor(0, -1)
    while cursor.row < rows.length:
        for unit in range(first_unit, first_unit + ranks):
            state.records[unit, rank_state.WAITS] = 0
        cursor = deal(amap, state, first_unit, ranks, stream.run_bits, rows, lists, array.sequences, cursor)
        for rank in range(ranks):
            run_rank(amap, stream, array, state, rank, first_unit + rank, fast, log)
    done = start * t.tck
    for unit in range(first_unit, first_unit + ranks):
        if write:
            done = max(done, (state.records[unit, rank_state.LAST_WRITE] + t.writes.latency) * t.tck)
        else:
            done = max(done, state.records[unit, rank_state.MAC_FREE])
    return -(-done // t.ticks)
