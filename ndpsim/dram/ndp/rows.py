"""What an instruction brings to the stream engine: the rows of a matrix."""

from typing import Any, NamedTuple

from ndpsim.jit import merged


class StreamRows(NamedTuple):
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


@merged
def sequences_of(rows: StreamRows, lists: Any, i: int, batch: int) -> int:
    """Return for how many sequences row `i` of an instruction works."""
    if rows.masks < 0:
        return batch
    mask = int(lists[rows.masks + i])
    count = 0
    while mask != 0:  # which LLVM knows as a population count
        mask &= mask - 1
        count += 1
    return count


@merged
def first_atom(rows: StreamRows, lists: Any, i: int) -> int:
    """Return the first atom of row `i` of an instruction."""
    row = int(lists[rows.first + i]) if rows.listed == 1 else rows.first + i
    return rows.base + row * rows.stride
