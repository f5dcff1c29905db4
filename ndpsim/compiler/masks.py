"""Masks of rows: which sequences of a batch need a row, as list sections of programs hold them.

A masked DIMM has its rows in the first half of its list section and their masks, in the same order, in the second.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import Shares, joined
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder
from ndpsim.isa.program import Joined
from ndpsim.jit import njit

_list, _mask = encoder("list"), encoder("mask")


def list_sections(name: str, rows: Joined, masks: Shares | None, batch: int) -> Joined:
    """Return the list sections of all DIMMs, uint32: their rows, and their masks if there are any.

    masks: a number for each row whose bit s says whether sequence s needs it. Raises InputError if the batch has more
    sequences than a mask has bits, if there is not one mask for each row, or if a mask names no sequence of the batch
    or one beyond it; `name` is that of the layer.
    """
    if masks is None:
        return rows
    if batch > codes.ENTRY_BITS:
        raise InputError(f"batch: expected at most {codes.ENTRY_BITS} with masks, found {batch}")
    given = joined(masks)
    if given.starts.tolist() != rows.starts.tolist():
        raise InputError(f"{name}: expected as many masks as rows, {rows.lengths()}, found {given.lengths()}")
    most = (1 << batch) - 1
    sections = np.empty(2 * len(rows.values), np.uint32)
    dimm = _fill(rows.values, given.values, rows.starts, most, sections)
    if dimm >= 0:
        raise InputError(f"{name}: DIMM {dimm}: expected masks from 1 to {most}, found others")
    return Joined(sections, 2 * rows.starts)


@njit
def _fill(
    rows: NDArray[np.uint32],
    masks: NDArray[np.integer],
    starts: NDArray[np.int64],
    most: int,
    sections: NDArray[np.uint32],
) -> int:
    """Write all sections; return the first DIMM with a mask that is not from 1 to `most`, or -1."""
    for dimm in range(len(starts) - 1):
        begin, end = starts[dimm], starts[dimm + 1]
        sections[2 * begin : begin + end] = rows[begin:end]
        given, place = masks[begin:end], sections[begin + end : 2 * end]
        wrong = 0
        for k in range(len(given)):  # to the end, so that several are handled at once
            mask = np.int64(given[k])
            wrong += int(mask < 1 or mask > most)
            place[k] = mask & 0xFFFFFFFF
        if wrong:
            return dimm
    return -1


def listed(first: int, count: int, masks: int | None) -> list[int]:
    """Set l0 to `count` entries of the list section from `first` on, with the masks that begin at `masks`, if any."""
    return [_list(0, first, count)] if masks is None else [_list(0, first, count), _mask(0, masks)]
