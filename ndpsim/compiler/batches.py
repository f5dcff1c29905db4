"""A batch cut in groups of sequences, each of which one program computes.

A program is for a group of sequences whose values fit the buffer, at most 32 where masks say which of them need a row
(a mask has as many bits), else 255. Each group reads the rows that its sequences need:

    sequences   0 .......... 31 | 32 ......... 63 | 64
    masks       word 0          | word 1          | word 2       of each row, uint32
    programs    rows of word 0  | rows of word 1  | rows of word 2, one program after the other
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ndpsim.compiler.merge import MOST_SEQUENCES, Shares, joined
from ndpsim.compiler.tiles import cut
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.program import Joined


class SequenceGroup(NamedTuple):
    """Sequences of one program: how many; the rows of each DIMM; and bits of sequences beside each (or all)."""

    sequences: int
    rows: Shares
    masks: Shares | None


def groups_of(
    rows: Shares, masks: Sequence[Shares] | None, sequences: int, most: Callable[[int], int]
) -> Iterator[SequenceGroup]:
    """Cut a batch in groups.

    masks: for each 32 sequences, bits beside each row that say which of them need it; without masks, all need all.
    most: returns how many sequences a program has room for whose DIMMs have at most so many rows. Raises InputError if
    there are not as many masks as sequences.
    """
    if masks is None:
        for _, count in cut(sequences, _at_least_one(min(most(_longest(rows)), MOST_SEQUENCES))):
            yield SequenceGroup(count, rows, None)
        return
    words = cut(sequences, codes.ENTRY_BITS)
    if len(masks) != len(words):
        raise InputError(f"masks: expected {len(words)} for {sequences} sequences, found {len(masks)}")
    for (_, width), bits in zip(words, masks, strict=True):
        own, needs = (rows, bits) if len(words) == 1 else _needed(rows, bits, 0, width)
        tile = _at_least_one(most(_longest(own)))
        if width <= tile:
            yield SequenceGroup(width, own, needs)
            continue
        for first, count in cut(width, tile):
            yield SequenceGroup(count, *_needed(own, needs, first, count))


def _longest(rows: Shares) -> int:
    return max(rows.lengths() if isinstance(rows, Joined) else map(len, rows))


def _at_least_one(most: int) -> int:
    """Where not even one sequence has room, the compiler says what is lacking."""
    return max(most, 1)


def _needed(rows: Shares, masks: Shares, first: int, count: int) -> tuple[Joined, Joined]:
    """Return the rows that some of `count` sequences from bit `first` on need, and which of them."""
    given, bits = joined(rows), joined(masks)
    own = bits.values.astype(np.uint32) >> np.uint32(first) & np.uint32((1 << count) - 1)
    needed = own > 0
    starts = np.concatenate([[0], np.cumsum(needed)])[given.starts]
    return Joined(given.values[needed], starts), Joined(own[needed], starts)
