"""The figures of a trace equal what a slow reading of their definitions gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.sparsity.correlation import columns, layer_correlation, strongest
from ndpsim.sparsity.statistics import group_statistics, skew
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


def slow_sequence_similarity(fired: np.ndarray) -> float:
    shares = []
    tokens, sequences, _ = fired.shape
    for token in range(tokens):
        for sequence in range(sequences):
            here, there = (set(np.flatnonzero(fired[token, s % sequences])) for s in (sequence, sequence + 1))
            if here:
                shares.append(len(here & there) / len(here))
    return sum(shares) / len(shares) if shares and sequences > 1 else math.nan


def slow_hot(counts: list[int]) -> set[int]:
    hottest = sorted(range(len(counts)), key=lambda n: (-counts[n], n))[: math.ceil(len(counts) / 5)]
    return {n for n in hottest if counts[n]}


def slow_hot_changed(fired: np.ndarray) -> float:
    quarter = len(fired) // 4
    parts = fired[:quarter], fired[len(fired) - quarter :]
    before, after = (slow_hot([int(c) for c in part.sum(axis=(0, 1))]) for part in parts)
    return len(before - after) / len(before) if before and after else math.nan


@st.composite
def groups(draw: st.DrawFn) -> np.ndarray:
    tokens, sequences, neurons = draw(st.integers(1, 90)), draw(st.integers(1, 4)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((tokens, sequences, neurons)) < draw(st.sampled_from([0.0, 0.02, 0.2, 0.9, 1.0]))


@given(groups(), st.integers(1, 50))
def test_figures_equal_their_definitions_however_the_tokens_come_in_blocks(fired: np.ndarray, block: int):
    packed = np.packbits(fired, axis=2, bitorder="little")
    blocks = (packed[i : i + block] for i in range(0, len(packed), block))
    found = group_statistics(blocks, fired.shape[2], len(fired))
    counts = [int(c) for c in fired.sum(axis=(0, 1))]
    assert found.density == pytest.approx(fired.mean())
    for distance in (1, 10, 25):
        weighted = [(slow_similarity(fired[:, s], distance), s) for s in range(fired.shape[1])]
        rows = [sum(1 for t in range(len(fired) - distance) if fired[t, s].any()) for _, s in weighted]
        whole = sum(value * n for (value, _), n in zip(weighted, rows, strict=True) if n)
        expected = whole / sum(rows) if sum(rows) else math.nan
        assert getattr(found, f"similarity_{distance}") == pytest.approx(expected, nan_ok=True)
    assert found.sequence_similarity == pytest.approx(slow_sequence_similarity(fired), nan_ok=True)
    assert found.hot_changed == pytest.approx(slow_hot_changed(fired), nan_ok=True)
    if sum(counts):
        assert found.share_for_80 == slow_share_for_80(counts)
        assert found.gini == pytest.approx(slow_gini(counts), abs=1e-12)
        hottest = sorted(counts, reverse=True)[: math.ceil(len(counts) / 5)]
        assert found.hottest_20 == pytest.approx(sum(hottest) / sum(counts))
        union = fired.any(axis=1).sum() / (fired.sum() / fired.shape[1])
        assert found.union_growth == pytest.approx(union)
    else:
        assert math.isnan(found.share_for_80) and math.isnan(found.gini) and math.isnan(found.hottest_20)
        assert math.isnan(found.union_growth)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if 0 < x.sum() < x.size and 0 < y.sum() < y.size else math.nan


@settings(deadline=None)  # the first case loads the kernel
@given(groups(), st.integers(1, 40), st.integers(1, 4))
def test_the_strongest_partners_are_those_of_the_greatest_correlation(fired: np.ndarray, others: int, top: int):
    rng = np.random.default_rng(others)
    among = rng.random((*fired.shape[:2], others)) < 0.4
    x, y = (np.packbits(f, axis=2, bitorder="little") for f in (fired, among))
    rows = len(fired) * fired.shape[1]
    found = strongest(columns(x, fired.shape[2]), columns(y, others), rows, top)
    for neuron in range(fired.shape[2]):
        scores = [pearson(fired[..., neuron].ravel(), among[..., j].ravel()) for j in range(others)]
        best = sorted((j for j in range(others) if scores[j] > 1e-9), key=lambda j: -scores[j])[:top]
        assert len(best) == (found[neuron] >= 0).sum()
        for ours, slow in zip(found[neuron], best, strict=False):
            assert scores[ours] == pytest.approx(scores[slow])


def test_a_group_that_repeats_the_one_before_is_foretold_wholly_and_an_unrelated_one_not_at_all():
    rng = np.random.default_rng(1)
    first = rng.random((4000, 2, 50)) < 0.3
    shuffled = first[..., rng.permutation(50)]
    unrelated = rng.random(first.shape) < 0.3
    packed, same, other = (np.packbits(f, axis=2, bitorder="little") for f in (first, shuffled, unrelated))
    assert layer_correlation(same, 50, packed, 50) == 1.0
    assert abs(layer_correlation(other, 50, packed, 50)) < 0.02


def test_a_group_that_never_changes_has_no_correlation():
    rows = np.zeros((8, 1, 1), dtype=np.uint8)
    assert math.isnan(layer_correlation(rows, 8, rows, 8))


def test_even_activity_has_no_skew():
    assert skew(np.full(10, 7)) == (0.8, 0.2, 0.0)


def test_activity_of_one_neuron_is_all_skew():
    assert skew(np.array([0, 0, 9, 0])) == (0.25, 1.0, 0.75)


def test_the_spread_is_over_groups_that_have_the_figure():
    header = TraceHeader("m", (4, 4), "rule", "source")
    fired = [np.array([[1, 0, 0, 0]], dtype=bool), np.array([[1, 1, 1, 0]], dtype=bool)]
    found = ActivationTrace.of(header, fired).statistics()
    assert found.tokens == 1
    assert found.spread("density") == (0.25, 0.5, 0.75)
    assert np.isnan(found.spread("similarity_1")).all()
