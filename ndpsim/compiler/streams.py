"""Encoded streams, kept for later tokens and layers.

What a DIMM runs depends on its number of rows, and a run has hundreds of different numbers: each is encoded once, and
a program is put together from copies.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import Words
from ndpsim.isa.program import Joined
from ndpsim.jit import njit

SETS_KEPT = 1 << 6
"""Sets of streams that an operator keeps: one for each plan."""
_WORDS_KEPT = 1 << 17  # of a set, 2 MiB: then it begins anew


class Streams:
    """What each DIMM runs for any number of rows, encoded at first use."""

    def __init__(self, encode: Callable[[int, int], Words], dimms: int) -> None:
        """Keep what `encode` returns for a DIMM and a number of rows, at least one word."""
        self._encode = encode
        self._words = np.empty((0, 2), np.uint64)
        self._places = np.zeros((0, dimms, 2), np.int64)  # by rows and DIMM: first word and the one behind the last
        self._used = 0

    def of(self, rows: Joined) -> Joined:
        """Return what all DIMMs run, each for its number of rows."""
        if self._used > _WORDS_KEPT:
            self._places[:], self._used = 0, 0
        while True:
            lacking, words, starts = _copied(self._words, self._places, rows.starts)
            if lacking < 0:
                return Joined(words, starts)
            self._add(lacking, int(rows.starts[lacking + 1] - rows.starts[lacking]))

    def _add(self, dimm: int, rows: int) -> None:
        words = self._encode(dimm, rows)
        begin, end = self._used, self._used + len(words)
        if end > len(self._words):
            self._words = np.concatenate([self._words, np.empty((end, 2), np.uint64)])
        if rows >= len(self._places):
            self._places = np.concatenate([self._places, np.zeros((rows + 1, *self._places.shape[1:]), np.int64)])
        self._words[begin:end] = words
        self._places[rows, dimm], self._used = (begin, end), end


@njit
def _copied(words: Words, places: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[int, Words, NDArray[np.int64]]:
    """Return -1, the words of all DIMMs, and where those of each begin; or first the DIMM whose stream is lacking.

    places: int64[rows, DIMMs, 2], equal where there is no stream; rows: where those of each DIMM begin.
    """
    dimms = len(rows) - 1
    starts = np.zeros(dimms + 1, np.int64)
    for dimm in range(dimms):
        count = rows[dimm + 1] - rows[dimm]
        if count >= len(places) or places[count, dimm, 0] == places[count, dimm, 1]:
            return dimm, words[:0], starts
        starts[dimm + 1] = starts[dimm] + places[count, dimm, 1] - places[count, dimm, 0]
    copied = np.empty((starts[dimms], 2), np.uint64)
    for dimm in range(dimms):
        shift = places[rows[dimm + 1] - rows[dimm], dimm, 0] - starts[dimm]
        for at in range(starts[dimm], starts[dimm + 1]):
            copied[at, 0], copied[at, 1] = words[at + shift, 0], words[at + shift, 1]
    return -1, copied, starts
