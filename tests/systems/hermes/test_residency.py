"""Hot neurons displace the coldest resident ones, within the bytes that the caller grants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hermes_mapping as oracle

from ndpsim.errors import InputError
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.systems.hermes import residency
from ndpsim.systems.hermes.residency import Residency


def one_group(states: list[int], resident: list[int], size: int = 10) -> tuple[Residency, np.ndarray, np.ndarray]:
    """A layer of one group, the mask of its hot neurons (state above 10), and its states by slot."""
    layout = NeuronLayout((len(states),))
    flags = np.zeros(layout.slots, dtype=bool)
    flags[resident] = True
    slots = layout.spread([np.array(states, dtype=np.uint8)])
    return Residency(layout, [0], [size], layout.mask(flags)), layout.mask(slots > 10), slots


def test_the_hottest_comes_first_over_the_coldest():
    found = one_group([12, 3, 15, 0, 10, 7], resident=[1, 3, 5])
    swaps = found[0].swap(found[1], found[2], [1000])
    assert swaps.incoming.tolist() == [2, 0] and swaps.evicted.tolist() == [3, 1]
    assert (swaps.bytes.tolist(), swaps.waiting.tolist()) == ([20], [0])
    assert found[0].resident.tolist() == [0b100101]


@pytest.mark.parametrize(("most_bytes", "swapped"), [(-1, 0), (9, 0), (10, 1), (19, 1), (20, 2)])
def test_what_does_not_fit_waits(most_bytes: int, swapped: int):
    found, hot, states = one_group([12, 3, 15, 0], resident=[1, 3])
    swaps = found.swap(hot, states, [most_bytes])
    assert (len(swaps.incoming), swaps.bytes.tolist(), swaps.waiting.tolist()) == (
        swapped,
        [10 * swapped],
        [2 - swapped],
    )
    rest = found.swap(hot, states, [1000])
    assert len(rest.incoming) == 2 - swapped and rest.waiting.tolist() == [0]


def test_a_resident_neuron_as_hot_is_not_displaced():
    found, hot, states = one_group([12, 12, 13], resident=[1])
    swaps = found.swap(hot, states, [1000])
    assert (swaps.incoming.tolist(), swaps.evicted.tolist(), swaps.waiting.tolist()) == ([2], [1], [2])
    again = found.swap(hot, states, [1000])
    assert again.incoming.size == 0 and again.bytes.tolist() == [0] and again.waiting.tolist() == [2]


def test_each_layer_has_bytes_of_its_own():
    layout = NeuronLayout((3, 3))
    found = Residency(layout, [0, 1], [10, 10], np.array([1, 1], dtype=np.uint64))
    states = layout.spread([np.array([0, 15, 0], dtype=np.uint8)] * 2)
    swaps = found.swap(layout.mask(states > 10), states, [0, 1000])
    assert swaps.incoming.tolist() == [65] and found.resident.tolist() == [1, 2]
    assert swaps.bytes.tolist() == [0, 10] and swaps.waiting.tolist() == [1, 0]


@st.composite
def layers(draw: st.DrawFn):
    neurons = tuple(draw(st.lists(st.integers(1, 150), min_size=1, max_size=3)))
    sizes = [draw(st.integers(1, 9)) for _ in neurons]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    held, threshold = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0])), draw(st.integers(0, 15))
    return neurons, sizes, rng, held, threshold, draw(st.integers(0, 400))


def compare(case: tuple) -> tuple[list[int], list[int]]:
    """Swap in the second of three layers, as both do it; return what came and went."""
    neurons, sizes, rng, held, threshold, most_bytes = case
    layout = NeuronLayout((5, *neurons, 5))
    layer = [0, *(1 for _ in neurons), 2]
    states = layout.spread([rng.integers(0, 16, n).astype(np.uint8) for n in layout.neurons])
    resident = layout.spread([rng.random(n) < held for n in layout.neurons])
    found = Residency(layout, layer, [1, *sizes, 1], layout.mask(resident))
    hot = layout.mask(layout.spread([states[layout.of(g)] > threshold for g in range(len(layout.neurons))]))
    before = found.bytes()
    swaps = found.swap(hot, states, [0, most_bytes, 0])
    groups = [list(range(layout.of(g).start, layout.of(g).stop)) for g in range(1, len(neurons) + 1)]
    hot_slots = set(np.flatnonzero(layout.flags(hot)).tolist())
    mine = set(np.flatnonzero(resident).tolist())
    expected, after = oracle.swap(groups, sizes, mine, hot_slots, states.tolist(), most_bytes)
    assert list(zip(swaps.incoming.tolist(), swaps.evicted.tolist(), strict=True)) == expected
    assert set(np.flatnonzero(layout.flags(found.resident)).tolist()) == after
    assert swaps.bytes[1] <= most_bytes and found.bytes() == before
    assert swaps.bytes[1] == sum(sizes[g] for new, _ in expected for g in range(len(groups)) if new in groups[g])
    assert swaps.waiting[1] == len({n for group in groups for n in group if n in hot_slots and n not in after})
    return swaps.incoming.tolist(), swaps.evicted.tolist()


@settings(max_examples=150, deadline=None)
@given(layers())
def test_swaps_equal_the_plain_description(case: tuple):
    compare(case)


def test_kernels_without_the_compiler_give_the_same(monkeypatch):
    cases = [((70, 130), [3, 5], 0.4, 4, 100), ((9,), [2], 0.9, 0, 1000)]
    compiled = [compare((n, s, np.random.default_rng(1), h, t, m)) for n, s, h, t, m in cases]
    for name in ("_by_state", "_swap_layer", "_swap"):
        kernel = getattr(residency, name)
        monkeypatch.setattr(residency, name, getattr(kernel, "py_func", kernel))
    assert [compare((n, s, np.random.default_rng(1), h, t, m)) for n, s, h, t, m in cases] == compiled


def test_what_cannot_be_is_refused():
    layout = NeuronLayout((3,))
    with pytest.raises(InputError, match=r"expected 1, 1 and \(1,\), found 2, 1 and \(1,\)"):
        Residency(layout, [0, 1], [8], np.zeros(1, dtype=np.uint64))
    found, hot, states = one_group([12, 3], resident=[1])
    with pytest.raises(InputError, match="most_bytes: expected one for each of 1 layers, found 2"):
        found.swap(hot, states, [0, 0])
