"""Which neurons of one group foretell those of another: Pearson correlation of their activity over tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.bits import popcount
from ndpsim.jit import njit

SAMPLED_NEURONS = 64
MAX_SAMPLED_TOKENS = 2048
MAX_ROWS = 1 << 24
"""Rows up to which pairs are counted exactly."""
_BLOCK = 256
"""Candidates that are compared at a time: their bits and counts stay in the first-level cache."""


def columns(rows: NDArray[np.uint8], neurons: int) -> NDArray[np.uint64]:
    """Turn packed rows of tokens into packed columns of neurons.

    Args:
        rows: uint8[tokens, sequences, ceil(neurons / 8)], as `ActivationTrace.packed` gives them.
        neurons: neurons of the group.

    Returns:
        uint64[neurons, ceil(tokens * sequences / 64)]: one bit a row, the bits beyond the last row are zero.
    """
    flat = rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2])
    fired = np.unpackbits(flat, axis=1, count=neurons, bitorder="little")
    packed = np.packbits(np.ascontiguousarray(fired.T), axis=1, bitorder="little")
    words = np.zeros((neurons, -(-len(flat) // 64) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint64)


def strongest(of: NDArray[np.uint64], among: NDArray[np.uint64], rows: int, top: int = 2) -> NDArray[np.int32]:
    """For each neuron the ``top`` neurons of another group that it is most correlated with.

    Args:
        of: the neurons to foretell, packed columns uint64[n, words] (see `columns`).
        among: the neurons to foretell them by, uint64[m, words], of the same rows.
        rows: rows that the columns hold, fewer than MAX_ROWS.
        top: how many to choose.

    Returns:
        int32[n, top], the strongest first and of equals the lower index; -1 where none is positively correlated.
    """
    of, among = _even(of), _even(among)
    ones, among_ones = _counts(of), _counts(among)
    order = np.argsort(among_ones, kind="stable")
    order = order[(among_ones[order] > 0) & (among_ones[order] < rows)].astype(np.int32)
    chosen = np.full((len(of), top), -1, dtype=np.int32)
    with np.errstate(over="ignore"):  # the product in a population count
        _strongest(of, ones, among[order], among_ones[order], order, rows, chosen)
    return chosen


def _counts(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.asarray(np.bitwise_count(words).sum(axis=1, dtype=np.int64))


def _even(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.pad(bits, ((0, 0), (0, bits.shape[1] % 2)))


@njit
def _insert(score: Any, candidate: Any, scores: Any, chosen: Any) -> None:
    """Put a candidate in its place: falling scores and, of equals, the lower number first."""
    at = len(scores)
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and candidate < chosen[at - 1])):
        if at < len(scores):
            scores[at] = scores[at - 1]
            chosen[at] = chosen[at - 1]
        at -= 1
    if at < len(scores):
        scores[at] = score
        chosen[at] = candidate


@njit
def _strongest(of: Any, ones: Any, among: Any, among_ones: Any, numbers: Any, rows: Any, chosen: Any) -> None:
    """Choose the candidates of the greatest Pearson correlation with each neuron.

    Args:
        of: bits of the neurons, uint64[n, words], words even.
        ones: set bits of each, int64[n].
        among: bits of the candidates, uint64[m, words], by rising number of set bits.
        among_ones: set bits of each, int64[m]: more than 0 and less than ``rows``.
        numbers: what each candidate is called, int32[m].
        rows: rows of the profile.
        chosen: to fill in, int32[n, top], -1 so far; stays so where no more candidates correlate.
    """
    words, top = of.shape[1], chosen.shape[1]
    scores = np.zeros(chosen.shape, dtype=np.float64)
    spread = np.sqrt(among_ones * (rows - among_ones) * 1.0)
    bits = np.empty((words, _BLOCK), dtype=np.uint64)
    both = np.empty(_BLOCK, dtype=np.uint64)
    for start in range(0, len(among), _BLOCK):
        stop = min(start + _BLOCK, len(among))
        bits[:] = 0
        for j in range(start, stop):
            for w in range(words):
                bits[w, j - start] = among[j, w]
        for i in range(len(of)):
            mine = ones[i]
            if mine == 0 or mine == rows:
                continue
            both[:] = 0
            for w in range(0, words, 2):
                x, y = of[i, w], of[i, w + 1]
                for j in range(_BLOCK):
                    both[j] += popcount(x & bits[w, j]) + popcount(y & bits[w + 1, j])
            # what a score needs of `both` is concave in the candidate's own count, so least at an end of the block
            least = scores[i, top - 1]
            first = least * spread[start] + mine * among_ones[start]
            last = least * spread[stop - 1] + mine * among_ones[stop - 1]
            enough = np.uint64(max(min(first, last) / rows - 1e-6, 0.0))
            worth = 0
            for j in range(_BLOCK):
                worth += both[j] >= enough
            if not worth:
                continue
            for j in range(stop - start):
                if both[j] >= enough:
                    excess = np.float64(rows * np.int64(both[j]) - mine * among_ones[start + j])
                    if excess > 0:
                        _insert(excess / spread[start + j], numbers[start + j], scores[i], chosen[i])


def layer_correlation(
    here: NDArray[np.uint8], neurons: int, preceding: NDArray[np.uint8], preceding_neurons: int
) -> float:
    """How well a group is foretold by the neurons of the group before it that were found to foretell it best.

    Of up to 64 neurons of the group, spread evenly over those that changed in the first half of the tokens, each is
    paired with the preceding neuron that it is most correlated with there; the figure is the mean Pearson correlation
    of the pairs over the second half, in which chance has had no say in the choice. A neuron without a correlated
    partner counts as 0; a pair of which one does not change in the second half does not count. In short traces
    partners are found by chance, and the figure is too low.

    Args:
        here: packed rows of the group, uint8[tokens, sequences, ceil(neurons / 8)].
        neurons: neurons of the group.
        preceding: packed rows of the preceding group, for the same tokens.
        preceding_neurons: neurons of that group.

    Returns:
        The figure; not-a-number where too few neurons change.
    """
    half, sequences = len(here) // 2, here.shape[1]
    of, among = columns(here[:half], neurons), columns(preceding[:half], preceding_neurons)
    ones = _counts(of)
    changing = np.flatnonzero((ones > 0) & (ones < half * sequences))
    if not changing.size:
        return np.nan
    sample = changing[np.linspace(0, changing.size - 1, min(SAMPLED_NEURONS, changing.size)).astype(np.int64)]
    best = strongest(of[sample], among, half * sequences, top=1)[:, 0]
    paired = best >= 0
    rest = (len(here) - half) * sequences
    x = columns(here[half:], neurons)[sample[paired]]
    y = columns(preceding[half:], preceding_neurons)[best[paired]]
    a, b, both = _counts(x), _counts(y), _counts(x & y)
    spread = np.sqrt((a * (rest - a)).astype(np.float64) * (b * (rest - b)))
    moving = spread > 0
    counted = int(moving.sum() + (~paired).sum())
    return float(((rest * both - a * b)[moving] / spread[moving]).sum() / counted) if counted else np.nan
