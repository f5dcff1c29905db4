"""Which trains of an instruction go to which rank, in order: ranks work side by side, each through trains of its own.

Once dealt out, the trains of one rank are timed one after the other, so that what is known of it stays in registers.
"""

from typing import Any, NamedTuple

from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.rank_state import TRAIN_SIZE, WAITING, WAITS, RankState
from ndpsim.dram.stream_rows import Rows, first_atom, sequences_of
from ndpsim.jit import merged, pointer_to

LOCAL, BURSTS, WORKS_FOR = range(TRAIN_SIZE)
"""Places in the record of a train that waits: its first local address, its bursts, and for how many sequences."""


class Cursor(NamedTuple):
    """Where an instruction goes on: from an atom of its row `row`; -1: with the first one."""

    row: int
    atom: int


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
def _wait(state: RankState, dimm: int, ranks: int, rank: int, local: int, bursts: int, works_for: int) -> int:
    """Put a train behind those that wait for a rank, and count them."""
    m, queue = pointer_to(state.records[dimm * ranks + rank]), pointer_to(state.waiting[rank])
    waits = m[WAITS]
    queue[waits * TRAIN_SIZE + LOCAL] = local
    queue[waits * TRAIN_SIZE + BURSTS] = bursts
    queue[waits * TRAIN_SIZE + WORKS_FOR] = works_for
    m[WAITS] = waits + 1
    return waits + 1


@merged
def deal(amap: MapArrays, state: RankState, dimm: int, ranks: int, run: int, rows: Rows, lists: Any, batch: int,
         begin: Cursor) -> Cursor:  # fmt: skip
    """Deal trains of at most `run` bursts out to the ranks of a DIMM, none of which has any, and return where to go on.

    batch: for how many sequences rows work that have no mask.
    """
    by_runs = amap.rank_lo >= amap.run_bits  # every run lies in one rank
    block = run if by_runs else run * ranks  # of which a rank has one run, or as many bursts as there are ranks
    i, atom = begin.row, begin.atom
    waits = 0
    while i < rows.length:
        row_begin = first_atom(rows, lists, i)
        end = row_begin + rows.atoms
        works_for = sequences_of(rows, lists, i, batch)
        atom = row_begin if atom < 0 else atom
        while atom < end:
            stop = min(end, (atom | block - 1) + 1)
            if by_runs:
                rank = (atom >> amap.rank_lo ^ atom >> amap.rank_hash) & ranks - 1
                waits = _wait(state, dimm, ranks, rank, local_address(amap, atom), stop - atom, works_for)
            else:
                waits = 0
                for rank in range(ranks):
                    local, last = _below(amap, rank, atom), _below(amap, rank, stop)
                    while local < last:
                        bursts = min(last - local, run - (local & run - 1))
                        waits = max(waits, _wait(state, dimm, ranks, rank, local, bursts, works_for))
                        local += bursts
            atom = stop
            if waits + ranks > WAITING:
                return Cursor(i, atom) if atom < end else Cursor(i + 1, -1)
        i, atom = i + 1, -1
    return Cursor(i, atom)
