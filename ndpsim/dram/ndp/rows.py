"""What an instruction brings to the stream engine: the rows of a matrix, and what the MAC array does with them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ndpsim.dram.ndp.command_bus import Beat
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.jit import merged


class Rows(NamedTuple):
    """The `length` matrix rows of one instruction: from lists[first] on (listed = 1), or first, first + 1, ...

    masks: where in `lists` the first row's mask of the sequences that it works for is, or -1: all of them, every row.
    """

    base: int
    stride: int
    atoms: int
    listed: int
    first: int
    length: int
    masks: int


class Array(NamedTuple):
    """How the MAC array takes the bursts of an instruction.

    alternating: whether loads and work alternate, in passes. holds: what `holds_of` returns. sequences: of the batch.
    """

    alternating: bool
    holds: Any
    sequences: int


class Hold(NamedTuple):
    """What the MAC array does with the bursts of a row.

    sequences: for which it works. ticks: for which a rank's slice holds a burst, or a whole pass. rest: the least
    clocks from the last burst of a pass to the first of the next. step: clocks from the first burst of a pass to that
    of the next in its train; where there are no passes, ticks.
    """

    sequences: int
    ticks: int
    step: int
    rest: int


def holds_of(timing: Timing, picoseconds: npt.ArrayLike) -> NDArray[np.int64]:
    """Return int64[..., 2] of the ticks and the rest of a `Hold`.

    picoseconds: for which a slice of the MAC array holds a burst or a pass, by number of sequences along the last axis;
    0: it takes bursts at once, as in writes.
    """
    ticks = np.asarray(picoseconds, np.int64) * timing.ticks
    return np.stack([ticks, timing.reads.data + -(-ticks // timing.tck)], axis=-1)


@merged
def hold_for(array: Array, beat: Beat, sequences: int) -> Hold:
    """What the MAC array does with the bursts of a row that works for some sequences."""
    ticks, rest = array.holds[sequences, 0], array.holds[sequences, 1]
    step = (beat.passes - 1) * beat.pace + max(beat.pace, rest) if beat.passes > 0 else ticks
    return Hold(sequences, ticks, step, rest)


@merged
def sequences_of(rows: Rows, lists: Any, i: int, batch: int) -> int:
    """For how many sequences row `i` of an instruction works."""
    if rows.masks < 0:
        return batch
    mask = int(lists[rows.masks + i])
    count = 0
    while mask != 0:  # which LLVM knows as a population count
        mask &= mask - 1
        count += 1
    return count


@merged
def first_atom(rows: Rows, lists: Any, i: int) -> int:
    """First atom of row `i` of an instruction."""
    row = int(lists[rows.first + i]) if rows.listed == 1 else rows.first + i
    return rows.base + row * rows.stride
