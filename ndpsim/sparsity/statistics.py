"""What an activation trace looks like in numbers: how dense, how skewed, how steady from token to token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DISTANCES = (1, 10)
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.int64)


class LayerStatistics(NamedTuple):
    """Figures of one layer; a figure that the trace is too short or too empty for is not-a-number.

    ``density``: active neurons of a token / neurons, mean over tokens.
    ``share_for_80``: the smallest share of the neurons that carries at least 80 % of all activations.
    ``hottest_20``: the share of all activations that falls on the hottest 20 % of the neurons, rounded up.
    ``gini``: Gini coefficient of the activations per neuron; 0 is even, 1 is all on one neuron.
    ``similarity_1``, ``similarity_10``: of the neurons active at a token, the share that is also active one or ten
    tokens later; mean over the tokens with an active neuron. Independent tokens would give about the density.
    """

    density: float
    share_for_80: float
    hottest_20: float
    gini: float
    similarity_1: float
    similarity_10: float


class Spread(NamedTuple):
    """Least, mean and greatest value over the layers."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True)
class TraceStatistics:
    """Figures of a whole trace, layer by layer."""

    tokens: int
    layers: tuple[LayerStatistics, ...]

    def spread(self, figure: str) -> Spread:
        """Least, mean and greatest value over the layers of one figure, by its field name in `LayerStatistics`."""
        values = np.array([getattr(layer, figure) for layer in self.layers])
        return Spread(float(values.min()), float(values.mean()), float(values.max()))


def layer_statistics(blocks: Iterable[NDArray[np.uint8]], neurons: int) -> LayerStatistics:
    """Walk once through the packed rows of a layer.

    Args:
        blocks: consecutive runs of tokens, uint8[tokens, ceil(neurons / 8)], lowest bit first.
        neurons: neurons of the layer.
    """
    counts = np.zeros(neurons, dtype=np.int64)
    tokens = 0
    shared = np.zeros(len(DISTANCES))
    pairs = np.zeros(len(DISTANCES), dtype=np.int64)
    reach = max(DISTANCES)
    tail = np.empty((0, (neurons + 7) // 8), dtype=np.uint8)
    for block in blocks:
        counts += np.unpackbits(block, axis=1, count=neurons, bitorder="little").sum(axis=0, dtype=np.int64)
        tokens += len(block)
        rows = np.concatenate((tail, block))
        active = _ONES[rows].sum(axis=1)
        for i, distance in enumerate(DISTANCES):
            # a pair counts in the block that holds its later token, so that none is seen twice
            first = max(len(tail) - distance, 0)
            earlier = rows[first : max(len(rows) - distance, 0)]
            later = rows[first + distance : first + distance + len(earlier)]
            size = active[first : first + len(earlier)]
            both = _ONES[earlier & later].sum(axis=1)
            shared[i] += float((both[size > 0] / size[size > 0]).sum())
            pairs[i] += int((size > 0).sum())
        tail = rows[max(len(rows) - reach, 0) :]
    density = float(counts.sum() / (tokens * neurons)) if tokens else np.nan
    similar = [float(s / n) if n else np.nan for s, n in zip(shared, pairs, strict=True)]
    return LayerStatistics(density, *skew(counts), *similar)


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
