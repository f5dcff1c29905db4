"""Which neurons of one group foretell those of another: Pearson correlation of their activity over tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.jit import merged, njit

SAMPLED_NEURONS = 64
MAX_SAMPLED_TOKENS = 2048


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


@merged
def _ones(x: Any) -> Any:
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    # sums of bytes by shifts: a product would overflow, which the interpreter warns of
    x += x >> np.uint64(8)
    x += x >> np.uint64(16)
    x += x >> np.uint64(32)
    return np.int64(x & np.uint64(0x7F))


@njit
def _counts(words: Any) -> Any:
    ones = np.zeros(len(words), dtype=np.int64)
    for i in range(len(words)):
        for w in range(words.shape[1]):
            ones[i] += _ones(words[i, w])
    return ones


@njit
def _strongest(of: Any, ones: Any, among: Any, among_ones: Any, rows: Any, top: Any) -> Any:
    chosen = np.full((len(of), top), -1, dtype=np.int32)
    scores = np.empty(top, dtype=np.float64)
    # what a score is divided by for the sake of the preceding neuron; zero marks one that never changes
    spread = np.sqrt(among_ones * (rows - among_ones) * 1.0)
    for i in range(len(of)):
        scores[:] = 0.0
        mine = ones[i]
        if mine == 0 or mine == rows:
            continue
        for j in range(len(among)):
            if spread[j] == 0.0:
                continue
            both = 0
            for w in range(of.shape[1]):
                both += _ones(of[i, w] & among[j, w])
            score = (rows * both - mine * among_ones[j]) / spread[j]
            if score > scores[top - 1]:
                at = top - 1
                while at > 0 and score > scores[at - 1]:
                    scores[at] = scores[at - 1]
                    chosen[i, at] = chosen[i, at - 1]
                    at -= 1
                scores[at] = score
                chosen[i, at] = j
    return chosen


def strongest(of: NDArray[np.uint64], among: NDArray[np.uint64], rows: int, top: int = 2) -> NDArray[np.int32]:
    """For each neuron the ``top`` neurons of another group that it is most correlated with.

    Args:
        of: the neurons to foretell, packed columns uint64[n, words] (see `columns`).
        among: the neurons to foretell them by, uint64[m, words], of the same rows.
        rows: rows that the columns hold.
        top: how many to choose.

    Returns:
        int32[n, top], the strongest first and of equals the lower index; -1 where none is positively correlated. It
        takes about a nanosecond a pair and word: 28,672 neurons against as many, over 128 tokens, a second or two.
    """
    return np.asarray(_strongest(of, _counts(of), among, _counts(among), rows, top))


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
