"""What an activation trace looks like in numbers: how dense, how skewed, how steady, how alike its sequences are.

The papers name these figures without defining them; here each has one definition, `GroupStatistics`. Similarity is
the share of the neurons active at a token that are active at the other one too, not the Jaccard index: published
figures speak of the active neurons that tokens "share", and only so can independent tokens of a skewed block come to
the 70 % that are published for far ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DISTANCES = (1, 10, 25)


class GroupStatistics(NamedTuple):
    """Figures of one group; a figure that the trace is too short or too empty for is not-a-number.

    ``density``: active neurons of a token / neurons, mean over tokens and sequences.
    ``share_for_80``: the smallest share of the neurons that carries at least 80 % of all activations.
    ``hottest_20``: the share of all activations that falls on the hottest 20 % of the neurons, rounded up.
    ``gini``: Gini coefficient of the activations per neuron; 0 is even, 1 is all on one neuron.
    ``similarity_1``, ``similarity_10``, ``similarity_25``: of the neurons active at a token, the share that is also
    active so many tokens later in the same sequence; mean over the tokens with an active neuron. Independent tokens
    give the sum of the squares of the neurons' frequencies over their sum, which is the density where all are alike.
    ``sequence_similarity``: of the neurons active at a token, the share that is also active at the same token of the
    next sequence (the first follows the last); mean over tokens with an active neuron. One sequence has none.
    ``union_growth``: neurons active in at least one sequence at a token / neurons active in one, summed over tokens:
    the work of the batch in works of one sequence.
    ``hot_changed``: the share of the hottest 20 % of the neurons (rounded up) in the first quarter of the tokens that
    is no longer among the hottest 20 % in the last quarter, all sequences together; of equals the lower index is
    hotter, and a neuron that never fires is not hot. Short traces show chance as change.
    ``layer_correlation``: see `ndpsim.sparsity.correlation.layer_correlation`; groups that none precedes have none.
    """

    density: float
    share_for_80: float
    hottest_20: float
    gini: float
    similarity_1: float
    similarity_10: float
    similarity_25: float
    sequence_similarity: float
    union_growth: float
    hot_changed: float
    layer_correlation: float = np.nan


class Spread(NamedTuple):
    """Least, mean and greatest value over the groups; not-a-number where no group has the figure."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True)
class TraceStatistics:
    """Figures of a whole trace, group by group."""

    tokens: int
    groups: tuple[GroupStatistics, ...]

    def spread(self, figure: str) -> Spread:
        """Least, mean and greatest value over the groups of one figure, by its field name in `GroupStatistics`."""
        values = np.array([getattr(group, figure) for group in self.groups])
        values = values[~np.isnan(values)]
        if not values.size:
            return Spread(np.nan, np.nan, np.nan)
        return Spread(float(values.min()), float(values.mean()), float(values.max()))


class _Shares:
    """Mean over the rows with an active neuron of the share of them that is active in another row too."""

    def __init__(self) -> None:
        self.sum, self.rows = 0.0, 0

    def add(self, here: NDArray[np.uint8], there: NDArray[np.uint8]) -> None:
        size, both = _ones(here), _ones(here & there)
        self.sum += float((both[size > 0] / size[size > 0]).sum())
        self.rows += int((size > 0).sum())

    def mean(self) -> float:
        return self.sum / self.rows if self.rows else np.nan


def group_statistics(blocks: Iterable[NDArray[np.uint8]], neurons: int, tokens: int) -> GroupStatistics:
    """Walk once through the packed rows of a group.

    Args:
        blocks: consecutive runs of tokens, uint8[tokens, sequences, ceil(neurons / 8)], lowest bit first.
        neurons: neurons of the group.
        tokens: tokens of all blocks together.

    Returns:
        The figures, all but the correlation with the preceding group.
    """
    counts = np.zeros(neurons, dtype=np.int64)
    first, last = counts.copy(), counts.copy()
    later = [_Shares() for _ in DISTANCES]
    beside = _Shares()
    seen = sequences = union = 0
    tail: NDArray[np.uint8] | None = None
    for block in blocks:
        sequences = block.shape[1]
        counts += _counts(block, neurons)
        first += _counts(block[: max(tokens // 4 - seen, 0)], neurons)
        last += _counts(block[max(tokens - tokens // 4 - seen, 0) :], neurons)
        rows = block if tail is None else np.concatenate((tail, block))
        held = len(rows) - len(block)
        for shares, distance in zip(later, DISTANCES, strict=True):
            # a pair counts in the block that holds its later token, so that none is seen twice
            begin = max(held - distance, 0)
            earlier = rows[begin : max(len(rows) - distance, 0)]
            shares.add(earlier, rows[begin + distance : begin + distance + len(earlier)])
        if sequences > 1:
            beside.add(block, np.roll(block, -1, axis=1))
        union += int(_ones(np.bitwise_or.reduce(block, axis=1)).sum())
        seen += len(block)
        tail = rows[max(len(rows) - max(DISTANCES), 0) :]
    total = int(counts.sum())
    share_for_80, hottest_20, gini = skew(counts)
    adjacent, near, far = [shares.mean() for shares in later]
    return GroupStatistics(
        total / (tokens * sequences * neurons) if tokens else np.nan,
        share_for_80,
        hottest_20,
        gini,
        adjacent,
        near,
        far,
        beside.mean(),
        union * sequences / total if total else np.nan,
        _changed(first, last),
    )


def _ones(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Set bits along the last axis."""
    whole = rows.shape[-1] // 8 * 8
    words = np.ascontiguousarray(rows[..., :whole]).view(np.uint64)
    ones = np.bitwise_count(words).sum(axis=-1, dtype=np.int64)
    rest: NDArray[np.int64] = np.bitwise_count(rows[..., whole:]).sum(axis=-1, dtype=np.int64)
    return ones + rest


def _counts(block: NDArray[np.uint8], neurons: int) -> NDArray[np.int64]:
    rows = block.reshape(block.shape[0] * block.shape[1], block.shape[2])
    bits = np.unpackbits(rows, axis=1, count=neurons, bitorder="little")
    counts: NDArray[np.int64] = bits.sum(axis=0, dtype=np.int32).astype(np.int64)
    return counts


def _changed(first: NDArray[np.int64], last: NDArray[np.int64]) -> float:
    hot = -(-first.size // 5)
    # a stable sort, so that of equals the lower index is hotter
    before, after = (np.argsort(-counts, kind="stable")[:hot] for counts in (first, last))
    before, after = before[first[before] > 0], after[last[after] > 0]
    return float(1 - np.isin(before, after).mean()) if before.size and after.size else np.nan


def skew(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Share of neurons for 80 % of the activations, share of activations on the hottest 20 %, and Gini coefficient.

    Args:
        counts: activations per neuron, int64[neurons]; all three figures are not-a-number when all are zero.
    """
    total, n = int(counts.sum()), counts.size
    if total == 0:
        return np.nan, np.nan, np.nan
    carried = np.cumsum(np.sort(counts)[::-1])
    # in integers: 80 % of the total is reached where 5 * carried >= 4 * total
    enough = int(np.searchsorted(5 * carried, 4 * total, side="left")) + 1
    hottest = int(carried[(n + 4) // 5 - 1])
    rising = np.sort(counts)
    gini = float(((2 * np.arange(1, n + 1) - n - 1) * rising).sum() / (n * total))
    return enough / n, hottest / total, gini
