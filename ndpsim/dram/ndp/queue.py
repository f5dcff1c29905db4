"""Which trains of an instruction go to which rank, in order: ranks work side by side, each through trains of its own.

Once dealt out, the trains of one rank are timed one after the other, so that what is known of it stays in registers.
"""

from typing import Any, NamedTuple

import numpy as np

from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.dram.ndp.rows import StreamRows, first_atom, sequences_of
from ndpsim.jit import merged, pointer_to

LOCAL, WORK = range(rank_state.TRAIN_SIZE)
"""Places in the record of a train that waits: its first local address, and what `work_of` says of it."""
_WORD = 32


class Cursor(NamedTuple):
    """Where an instruction goes on: from an atom of its row `row`; -1: with the first one."""

    row: int
    atom: int


@merged
def work_of(bursts: int, sequences: int) -> int:
    """Bursts of a train, and for how many sequences it works, as one word."""
    return sequences << _WORD | bursts


@merged
def bursts_of(work: int) -> int:
    """Bursts of a train."""
    return work & ((1 << _WORD) - 1)


@merged
def sequences_in(work: int) -> int:
    """For how many sequences a train works."""
    return work >> _WORD


@merged
def local_address(amap: MapArrays, atom: int) -> int:
    """Address inside its rank of an atom."""
    above = atom >> (amap.rank_lo + amap.rank_width) << amap.rank_lo
    return above | atom & ((1 << amap.rank_lo) - 1)


@merged
def _below(amap: MapArrays, rank: int, atom: int) -> int:
    """Count the atoms of a rank whose linear address is below `atom`."""
    digit = atom >> amap.rank_lo & ((1 << amap.rank_width) - 1)
    if rank == digit:
        return local_address(amap, atom)
    local = atom >> (amap.rank_lo + amap.rank_width) << amap.rank_lo
    return local + (1 << amap.rank_lo) if rank < digit else local


@merged
def _wait(state: RankState, unit: int, rank: int, local: int, work: int) -> int:
    """Put a train behind those that wait for a rank, and count them."""
    m, queue = pointer_to(state.records[np.uint64(unit)]), pointer_to(state.waiting[np.uint64(rank)])
    waits = m[rank_state.WAITS]
    queue[waits * rank_state.TRAIN_SIZE + LOCAL] = local
    queue[waits * rank_state.TRAIN_SIZE + WORK] = work
    m[rank_state.WAITS] = waits + 1
    return waits + 1


@merged
def deal(amap: MapArrays, state: RankState, first_unit: int, ranks: int, run_bits: int, rows: StreamRows, lists: Any,
         batch: int, begin: Cursor) -> Cursor:  # fmt: skip
    """Deal trains out to the ranks of a DIMM, none of which has any, and return where to go on.

    first_unit: the first rank of the DIMM. run_bits: a train has at most 2**run_bits bursts. batch: for how many
    sequences rows work that have no mask.
    """
    run = 1 << run_bits
    by_runs = amap.rank_lo >= amap.run_bits  # every run lies in one rank
    block = run if by_runs else run * ranks  # of which a rank has one run, or as many bursts as there are ranks
    i, atom = begin.row, begin.atom
    waits = 0
    while i < rows.length:
        row_begin = first_atom(rows, lists, i)
        end = row_begin + rows.atoms
        sequences = sequences_of(rows, lists, i, batch)
        atom = row_begin if atom < 0 else atom
        while atom < end:
            stop = min(end, (atom | block - 1) + 1)
            if by_runs:
                rank = (atom >> amap.rank_lo ^ atom >> amap.rank_hash) & ranks - 1
                work = work_of(stop - atom, sequences)
                waits = _wait(state, first_unit + rank, rank, local_address(amap, atom), work)
            else:
                waits = 0
                for rank in range(ranks):
                    local, last = _below(amap, rank, atom), _below(amap, rank, stop)
                    while local < last:
                        bursts = min(last - local, run - (local & run - 1))
                        waits = max(waits, _wait(state, first_unit + rank, rank, local, work_of(bursts, sequences)))
                        local += bursts
            atom = stop
            if waits + ranks > rank_state.WAITING:
                return Cursor(i, atom) if atom < end else Cursor(i + 1, -1)
        i, atom = i + 1, -1
    return Cursor(i, atom)
