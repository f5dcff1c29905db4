"""Where the neurons of a group lie in the DIMMs, and the rows that a token needs of each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.bits import lowest_bit
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.program import Joined
from ndpsim.jit import njit


class NeuronRows:
    """The DIMM and the row there of each neuron of a group, and which rows are free.

    dimm: uint8[neurons]; row: uint32[neurons]; free: uint32[dimms, rows], of each DIMM the first room[dimm] entries are
    its free rows, and the last of them is taken next.
    """

    def __init__(self, dimm: NDArray[np.uint8], dimms: int, rows: int) -> None:
        """Give each neuron a row of its DIMM. Raises InputError if one has fewer than it needs."""
        self.dimm = dimm
        self.row = np.empty(len(dimm), np.uint32)
        self.free = np.zeros((dimms, rows), np.uint32)
        self.room = np.zeros(dimms, np.int64)
        for d in range(dimms):
            own = np.flatnonzero(dimm == d)
            if len(own) > rows:
                raise InputError(f"placement: expected at most {rows} neurons of a group on a DIMM, found {len(own)}")
            self.row[own] = np.arange(len(own))
            self.room[d] = rows - len(own)
            self.free[d, : self.room[d]] = np.arange(rows - 1, len(own) - 1, -1)

    def move(self, neurons: NDArray[np.int64], targets: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Move neurons, one by one, to a free row of another DIMM; return which ones moved, as a DIMM may be full."""
        moved = np.zeros(len(neurons), np.bool_)
        _move(neurons, targets, self.dimm, self.row, self.free, self.room, moved)
        return moved

    def state(self) -> dict[str, NDArray[Any]]:
        """Return where all neurons are, and the free rows in the order in which they would be taken."""
        return {name: getattr(self, name).copy() for name in ("dimm", "row", "free", "room")}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        for name in ("dimm", "row", "free", "room"):
            getattr(self, name)[:] = state[name]


@njit
def _move(neurons: Any, targets: Any, dimm: Any, row: Any, free: Any, room: Any, moved: Any) -> None:
    for i in range(len(neurons)):
        neuron, target = neurons[i], targets[i]
        if room[target] == 0:
            continue
        source = dimm[neuron]
        free[source, room[source]] = row[neuron]
        room[source] += 1
        room[target] -= 1
        row[neuron], dimm[neuron], moved[i] = free[target, room[target]], target, True


def deal(
    cold: NDArray[np.uint64], dimm: NDArray[np.uint8], row: NDArray[np.uint32], dimms: int
) -> tuple[Joined, tuple[Joined, ...]]:
    """Deal neurons out to DIMMs; those that no sequence needs stay out.

    cold: uint64[sequences, words], the neurons that each sequence needs; dimm: uint8[neurons]; row: uint32[neurons].
    Returns, joined, the rows of all DIMMs, uint32[n], and for each 32 sequences bits beside each row for those that
    need it, uint32[n]; neurons keep their order on each DIMM. The bits mean nothing for a single sequence.
    """
    rows, masks, starts = _deal(cold, dimm, row, dimms)
    return Joined(rows, starts), tuple(Joined(word, starts) for word in masks)


@njit
def _deal(cold: Any, dimm: Any, row: Any, dimms: Any) -> Any:
    sequences, words = cold.shape
    union = cold[0].copy()
    for s in range(1, sequences):
        union |= cold[s]
    starts = np.zeros(dimms + 1, dtype=np.int64)
    for w in range(words):
        word = union[w]
        while word:
            starts[dimm[64 * w + lowest_bit(word)] + 1] += 1
            word &= word - np.uint64(1)
    for d in range(dimms):
        starts[d + 1] += starts[d]
    at = starts[:-1].copy()
    rows = np.empty(starts[dimms], dtype=np.uint32)
    masks = np.empty(((sequences + codes.ENTRY_BITS - 1) // codes.ENTRY_BITS, starts[dimms]), dtype=np.uint32)
    for w in range(words):
        word = union[w]
        while word:
            bit = lowest_bit(word)
            n = 64 * w + bit
            d = dimm[n]
            rows[at[d]] = row[n]
            if sequences > 1:
                for g in range(len(masks)):
                    need, first = np.uint32(0), g * codes.ENTRY_BITS
                    for s in range(first, min(first + codes.ENTRY_BITS, sequences)):
                        need |= np.uint32((cold[s, w] >> np.uint64(bit)) & np.uint64(1)) << np.uint32(s - first)
                    masks[g, at[d]] = need
            at[d] += 1
            word &= word - np.uint64(1)
    return rows, masks, starts
