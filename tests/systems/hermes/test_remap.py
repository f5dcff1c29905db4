"""The window remapping moves what the algorithm says, and leaves the DIMMs no less even than before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hermes_mapping as oracle

from ndpsim.errors import InputError
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.systems.hermes import remap
from ndpsim.systems.hermes.remap import Moves, WindowRemap


def observed(
    owner: list[int], activity: list[int], dimms: int, guard: str = "corrected", size: int = 10
) -> WindowRemap:
    """A group behind another one, after as many tokens as the most active neuron was active."""
    layout = NeuronLayout((3, len(owner)))
    window = WindowRemap(layout, [1, size], dimms, guard)  # type: ignore[arg-type]
    for token in range(max(activity, default=0)):
        window.observe(layout.mask(layout.spread([np.zeros(3, dtype=bool), np.array(activity) > token])))
    return window


def moves_of(
    owner: list[int], activity: list[int], dimms: int, guard: str = "corrected", most_bytes: int | None = None
) -> Moves:
    return observed(owner, activity, dimms, guard).remap(1, np.array(owner, np.uint8), most_bytes)


def test_the_heaviest_gives_to_the_lightest_and_the_second_to_the_second_last():
    moves = moves_of([0, 0, 0, 1, 2, 2, 3], [5, 4, 3, 1, 4, 3, 2], dimms=4)
    assert moves.pairs.tolist() == [[0, 1], [2, 3]]
    assert moves.before.tolist() == [12, 1, 7, 2] and moves.after.tolist() == [7, 6, 3, 6]
    assert sorted(zip(moves.neurons, moves.source, moves.target, strict=True)) == [(0, 0, 1), (4, 2, 3)]
    assert moves.pair_bytes.tolist() == [10, 10]


def test_moves_stop_when_the_next_one_would_not_bring_the_pair_closer():
    assert moves_of([0, 1], [5, 0], dimms=2).neurons.size == 0
    assert moves_of([0, 0, 1], [3, 2, 0], dimms=2).after.tolist() == [2, 3]
    assert moves_of([0, 0, 1], [3, 3, 3], dimms=2).neurons.size == 0


def test_the_literal_guard_moves_nothing_between_unequal_dimms_and_everything_between_equal_ones():
    uneven = [0, 0, 0, 0, 1, 1], [5, 5, 5, 2, 1, 0]
    assert moves_of(*uneven, dimms=2, guard="literal").neurons.size == 0
    assert moves_of(*uneven, dimms=2).after.tolist() == [7, 11]
    even = moves_of([0, 0, 1], [2, 1, 3], dimms=2, guard="literal")
    assert even.after.tolist() == [0, 6] and even.neurons.tolist() == [0, 1]


@pytest.mark.parametrize(("most_bytes", "moved"), [(0, 0), (9, 0), (10, 1), (29, 2), (None, 3)])
def test_a_pair_moves_no_more_bytes_than_granted(most_bytes: int | None, moved: int):
    moves = moves_of([0] * 6 + [1], [1] * 6 + [0], dimms=2, most_bytes=most_bytes)
    assert (len(moves.neurons), moves.pair_bytes.tolist()) == (moved, [10 * moved])


def test_an_odd_dimm_out_keeps_its_neurons_and_a_single_one_has_no_partner():
    moves = moves_of([0, 0, 1, 2], [5, 3, 4, 0], dimms=3)
    assert moves.pairs.tolist() == [[0, 2]] and moves.after.tolist() == [3, 4, 5]
    assert moves_of([0, 0], [5, 3], dimms=1).pair_bytes.size == 0


def test_a_new_window_forgets_the_old_one():
    window, dimm = observed([0, 0, 1], [4, 3, 0], dimms=2), np.array([0, 0, 1], np.uint8)
    assert window.observed == 4 and window.loads(1, dimm).tolist() == [7, 0]
    window.begin_window()
    assert window.observed == 0 and window.loads(1, dimm).tolist() == [0, 0]
    assert window.remap(1, dimm).neurons.size == 0


@st.composite
def groups(draw: st.DrawFn):
    dimms, neurons = draw(st.integers(1, 9)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    owner = np.minimum(rng.integers(0, dimms, neurons), rng.integers(0, dimms, neurons))
    activity = rng.binomial(draw(st.integers(0, 6)), draw(st.sampled_from([0.1, 0.5])), neurons)
    return owner.tolist(), activity.tolist(), dimms, draw(st.sampled_from([None, 0, 15, 40, 400]))


def compare(case: tuple, guard: str) -> list[tuple[int, int, int]]:
    owner, activity, dimms, most_bytes = case
    window = observed(owner, activity, dimms, guard)
    before = np.array(owner, np.uint8)
    moves = window.remap(1, before, most_bytes)
    assert before.tolist() == owner  # a proposal moves nothing
    most = len(owner) if most_bytes is None else most_bytes // 10
    expected = oracle.remap(owner, activity, dimms, most, guard == "literal")
    found = list(zip(moves.neurons.tolist(), moves.source.tolist(), moves.target.tolist(), strict=True))
    for heavy, light in moves.pairs.tolist():
        mine = [move for move in found if move[1] == heavy]
        assert mine == [move for move in expected if move[1] == heavy]
        assert all(target == light for _, _, target in mine)
    assert len(found) == len(expected)
    for neuron, _, target in found:
        owner[neuron] = target
    loads = np.bincount(owner, weights=activity, minlength=dimms)
    assert moves.after.tolist() == loads.tolist() == window.loads(1, np.array(owner, np.uint8)).tolist()
    assert moves.after.sum() == moves.before.sum() == sum(activity)
    if guard == "corrected":
        assert moves.after.max() <= moves.before.max() and moves.after.min() >= moves.before.min()
    return found


@settings(max_examples=150, deadline=None)
@given(groups(), st.sampled_from(["corrected", "literal"]))
def test_moves_equal_the_plain_algorithm(case: tuple, guard: str):
    compare(case, guard)


def test_kernels_without_the_compiler_give_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    owner, activity = rng.integers(0, 2, 90).tolist(), rng.integers(0, 6, 90).tolist()
    compiled = compare((owner.copy(), activity, 4, 200), "corrected")
    for name in ("_count", "_add", "_pairs", "_remap"):
        kernel = getattr(remap, name)
        monkeypatch.setattr(remap, name, getattr(kernel, "py_func", kernel))
    assert compare((owner, activity, 4, 200), "corrected") == compiled


def test_what_cannot_be_is_refused():
    layout = NeuronLayout((3,))
    with pytest.raises(InputError, match="dimms: expected 1 to 256, found 0"):
        WindowRemap(layout, [1], 0)
    with pytest.raises(InputError, match="guard: expected corrected or literal, found other"):
        WindowRemap(layout, [1], 2, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="neuron_bytes: expected 1 by group, found 2"):
        WindowRemap(layout, [1, 1], 2)
    window = WindowRemap(layout, [1], 2)
    with pytest.raises(InputError, match=r"dimm: expected 3 numbers of 0 to 1, found \(3,\) up to 2"):
        window.remap(0, np.full(3, 2, np.uint8))
    with pytest.raises(InputError, match=r"dimm: expected 3 numbers of 0 to 1, found \(2,\) up to 0"):
        window.remap(0, np.zeros(2, np.uint8))
    window.observed = remap.MAX_OBSERVED
    with pytest.raises(InputError, match="window: expected at most 65535 counts in a window, found more"):
        window.observe(np.zeros(1, dtype=np.uint64))
