"""The correlation table of the predictor: for each neuron the two neurons that foretell it best, found in a profile.

Source of the model: Hermes (HPCA 2025), section IV-C: top-2 correlated neurons of the preceding layer, sampled offline.
How they are found is ours: the greatest Pearson correlation over the rows (tokens and sequences) of a profile, all
pairs counted. A conditional frequency would choose by chance among neurons that fired once, or those that always fire.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import njit
from ndpsim.sparsity.bits import popcount
from ndpsim.sparsity.correlation import columns
from ndpsim.sparsity.trace import ActivationTrace

PARENTS = 2
_BLOCK = 256
"""Candidates that are compared at a time: their bits and counts stay in the first-level cache."""


def correlation_table(
    trace: ActivationTrace, start: int, stop: int, progress: Callable[[int, int], None] | None = None
) -> list[NDArray[np.int32]]:
    """Find the parents of every neuron of a trace; see `parents_of`.

    Counting takes time with the square of the width: 1 s a layer of 28,672 neurons against as many over 512 rows on
    one core with vectors of 512 bits, 0.3 s against 8,192. Fewer rows save little and let chance choose: of generated
    traces in which partners correlate by 0.6, 128 rows find 26 % of the true ones and 512 find 62 %.

    Args:
        trace: a profile, not what is measured later.
        start: first token to look at.
        stop: the token behind the last.
        progress: called with the groups done and the groups to do.

    Returns:
        One int32[neurons, 2] a group.
    """
    found = []
    for group in range(trace.header.groups):
        found.append(parents_of(trace, group, start, stop))
        if progress is not None:
            progress(group + 1, trace.header.groups)
    return found


def parents_of(trace: ActivationTrace, group: int, start: int, stop: int) -> NDArray[np.int32]:
    """Find the neurons of the preceding group that those of a group are most correlated with.

    Returns:
        int32[neurons, 2], the strongest first and of equals the lower index; -1 where none is positively correlated,
        and everywhere in a group that none precedes.

    Raises:
        InputError: the trace does not have these tokens, or there are too many rows to count exactly.
    """
    header = trace.header
    before = header.preceding[group]
    chosen = np.full((header.neurons[group], PARENTS), -1, dtype=np.int32)
    rows = (stop - start) * header.sequences
    if rows >= 1 << 24:
        raise InputError(f"profile: expected fewer than 2^24 tokens of all sequences, found {rows}")
    here = trace.packed(group, start, stop)
    if before < 0 or not rows:
        return chosen
    of = _even(columns(here, header.neurons[group]))
    among = _even(columns(trace.packed(before, start, stop), header.neurons[before]))
    ones, among_ones = (np.bitwise_count(bits).sum(axis=1, dtype=np.int64) for bits in (of, among))
    order = np.argsort(among_ones, kind="stable")
    order = order[(among_ones[order] > 0) & (among_ones[order] < rows)].astype(np.int32)
    with np.errstate(over="ignore"):  # the product in a population count
        _strongest(of, ones, among[order], among_ones[order], order, rows, chosen)
    return chosen


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
