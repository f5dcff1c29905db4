"""The figures of a trace equal what a slow reading of their definitions gives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.sparsity.statistics import layer_statistics, skew
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader


def slow_similarity(fired: np.ndarray, distance: int) -> float:
    shares = []
    for token in range(len(fired) - distance):
        here, later = set(np.flatnonzero(fired[token])), set(np.flatnonzero(fired[token + distance]))
        if here:
            shares.append(len(here & later) / len(here))
    return sum(shares) / len(shares) if shares else math.nan


def slow_share_for_80(counts: list[int]) -> float:
    carried = 0
    for used, count in enumerate(sorted(counts, reverse=True), start=1):
        carried += count
        if 10 * carried >= 8 * sum(counts):
            return used / len(counts)
    raise AssertionError


def slow_gini(counts: list[int]) -> float:
    apart = sum(abs(a - b) for a in counts for b in counts)
    return apart / (2 * len(counts) * sum(counts))


@st.composite
def layers(draw: st.DrawFn) -> np.ndarray:
    tokens, neurons = draw(st.integers(1, 45)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((tokens, neurons)) < draw(st.sampled_from([0.0, 0.02, 0.2, 0.9, 1.0]))


@given(layers(), st.integers(1, 50))
def test_figures_equal_their_definitions_however_the_tokens_come_in_blocks(fired: np.ndarray, block: int):
    packed = np.packbits(fired, axis=1, bitorder="little")
    found = layer_statistics((packed[i : i + block] for i in range(0, len(packed), block)), fired.shape[1])
    counts = [int(c) for c in fired.sum(axis=0)]
    assert found.density == pytest.approx(fired.mean())
    assert found.similarity_1 == pytest.approx(slow_similarity(fired, 1), nan_ok=True)
    assert found.similarity_10 == pytest.approx(slow_similarity(fired, 10), nan_ok=True)
    if sum(counts):
        assert found.share_for_80 == slow_share_for_80(counts)
        assert found.gini == pytest.approx(slow_gini(counts), abs=1e-12)
        hottest = sorted(counts, reverse=True)[: math.ceil(len(counts) / 5)]
        assert found.hottest_20 == pytest.approx(sum(hottest) / sum(counts))
    else:
        assert math.isnan(found.share_for_80) and math.isnan(found.gini) and math.isnan(found.hottest_20)


def test_even_activity_has_no_skew():
    assert skew(np.full(10, 7)) == (0.8, 0.2, 0.0)


def test_activity_of_one_neuron_is_all_skew():
    assert skew(np.array([0, 0, 9, 0])) == (0.25, 1.0, 0.75)


def test_the_spread_is_over_layers():
    header = TraceHeader("m", (4, 4), "rule", "source")
    fired = [np.array([[1, 0, 0, 0]], dtype=bool), np.array([[1, 1, 1, 0]], dtype=bool)]
    found = ActivationTrace.of(header, fired).statistics()
    assert found.tokens == 1
    assert found.spread("density") == (0.25, 0.5, 0.75)
