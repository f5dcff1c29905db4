"""The offline placement keeps its constraints, and takes no more than its gap over the best of all placements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hermes_placement as oracle

from ndpsim.errors import InputError
from ndpsim.systems.hermes import placement as placement_module
from ndpsim.systems.hermes.placement import (
    NeuronPlacement,
    PlacementProblem,
    by_value,
    place_greedily,
    place_optimally,
    place_randomly,
)

ROOM = 1 << 40


def skewed(groups: int = 4, neurons: int = 500, gpu_share: float = 0.2, **changes: object) -> PlacementProblem:
    """Groups in which few neurons fire often, and a GPU for a share of them that is ten times as fast as a DIMM."""
    rng = np.random.default_rng(groups)
    frequencies = [rng.random(neurons) ** (2 + g) for g in range(groups)]
    sizes = [1000 * (1 + g % 2) for g in range(groups)]
    fields: dict[str, object] = {
        "frequencies": frequencies,
        "neuron_bytes": sizes,
        "gpu_s": [size * 1e-12 for size in sizes],
        "dimm_s": [size * 1e-11 for size in sizes],
        "sync_s": 1e-8,
        "gpu_bytes": int(gpu_share * sum(sizes) * neurons),
        "dimm_bytes": [ROOM] * 3,
    }
    return PlacementProblem(**{**fields, **changes})  # type: ignore[arg-type]


def by_equations(problem: PlacementProblem, found: NeuronPlacement) -> float:
    units = [
        np.where(r, oracle.GPU, d.astype(np.int64)).tolist() for r, d in zip(found.resident, found.dimm, strict=True)
    ]
    frequencies = [f.tolist() for f in problem.frequencies]
    return oracle.seconds(units, frequencies, problem.gpu_s, problem.dimm_s, problem.sync_s, problem.dimms)


def check(problem: PlacementProblem, found: NeuronPlacement) -> None:
    assert found.objective_s == pytest.approx(by_equations(problem, found))
    assert problem.bytes_of(found.resident) <= problem.gpu_bytes
    stored = np.zeros(problem.dimms)
    for owners, f, size in zip(found.dimm, problem.frequencies, problem.neuron_bytes, strict=True):
        assert owners.shape == f.shape
        stored += size * np.bincount(owners, minlength=problem.dimms)
    assert (stored <= problem.dimm_bytes).all()


@st.composite
def tiny(draw: st.DrawFn):
    groups, dimms = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    neurons = [draw(st.integers(1, 2)) for _ in range(groups)]
    share = st.integers(0, 20).map(lambda n: n / 20)
    frequencies = [np.array(draw(st.lists(share, min_size=n, max_size=n))) for n in neurons]
    sizes = [draw(st.integers(1, 5)) for _ in neurons]
    gpu_s, dimm_s = ([draw(st.sampled_from([1e-6, 3e-6, 2e-5])) for _ in neurons] for _ in range(2))
    sync_s, gpu_bytes = draw(st.sampled_from([0.0, 1e-6])), draw(st.integers(0, 20))
    return PlacementProblem(frequencies, sizes, gpu_s, dimm_s, sync_s, gpu_bytes, [ROOM] * dimms)


@settings(max_examples=40, deadline=None)
@given(tiny())
def test_the_best_of_all_placements_lies_between_bound_and_objective_and_is_found_with_one_dimm(problem):
    found, greedy = place_optimally(problem, bundle=1), place_greedily(problem, bundle=1)
    best = oracle.least(
        [f.tolist() for f in problem.frequencies],
        problem.neuron_bytes,
        problem.gpu_s,
        problem.dimm_s,
        problem.sync_s,
        problem.gpu_bytes,
        problem.dimms,
    )
    for placement in (found, greedy, place_randomly(problem)):
        check(problem, placement)
        assert best <= placement.objective_s * (1 + 1e-9)
    assert found.finished and found.bound_s <= best * (1 + 1e-6) + 1e-12
    assert found.objective_s <= greedy.objective_s
    if problem.dimms == 1:
        assert found.objective_s == pytest.approx(best, rel=2e-4)


def test_greedy_nearly_equals_the_optimum_and_both_beat_chance():
    problem = skewed()
    found, greedy, chance = place_optimally(problem, 20), place_greedily(problem, 20), place_randomly(problem)
    for placement in (found, greedy, chance):
        check(problem, placement)
    assert found.finished and 0 <= found.gap < 2e-3
    assert found.objective_s <= greedy.objective_s < 1.005 * found.objective_s
    assert chance.objective_s > 1.3 * found.objective_s


def test_the_gpu_takes_no_more_than_it_computes_as_fast_as_the_dimms_the_rest():
    problem = skewed(gpu_share=1.0, sync_s=0.0)
    found = place_greedily(problem, 5)
    assert problem.bytes_of(found.resident) < 0.9 * problem.gpu_bytes
    for g, held in enumerate(found.resident):
        gpu = problem.gpu_s[g] * problem.frequencies[g][held].sum()
        dimms = problem.dimm_s[g] / 3 * problem.frequencies[g][~held].sum()
        assert gpu == pytest.approx(dimms, rel=0.01)


def test_the_hottest_of_a_group_are_resident_and_the_dimms_are_even_in_work_and_in_neurons_in_gpu_memory():
    problem = skewed()
    found = place_greedily(problem, 1)
    for f, held, owner in zip(problem.frequencies, found.resident, found.dimm, strict=True):
        assert f[held].min() >= f[~held].max()
        for side in (held, ~held):
            work = np.bincount(owner[side], weights=f[side], minlength=3)
            assert work.max() < work.min() + f[side].max()


def test_chance_depends_on_the_seed_alone_and_fills_the_gpu():
    problem = skewed()
    first, again, other = place_randomly(problem, 1), place_randomly(problem, 1), place_randomly(problem, 2)
    assert all((a == b).all() for a, b in zip(first.resident, again.resident, strict=True))
    assert any((a != b).any() for a, b in zip(first.resident, other.resident, strict=True))
    assert problem.gpu_bytes - 2000 < problem.bytes_of(first.resident) <= problem.gpu_bytes


def test_capacities_of_the_dimms_hold_for_all_neurons_and_uneven_dimms():
    problem = skewed(groups=2, neurons=100, dimm_bytes=[204_000, 51_000, 50_000])
    check(problem, place_greedily(problem, 10))
    check(problem, place_randomly(problem))
    with pytest.raises(InputError, match="dimm_bytes: expected room for 300000 bytes in whole neurons, found 299000"):
        place_greedily(skewed(groups=2, neurons=100, dimm_bytes=[200_000, 50_000, 49_000]), 64)


def test_a_solver_without_time_leaves_the_greedy_placement_and_says_so():
    problem = skewed()
    found = place_optimally(problem, 20, time_limit_s=0.0)
    assert not found.finished and found.objective_s <= place_greedily(problem, 20).objective_s
    assert 0 <= found.bound_s <= place_optimally(problem, 20).objective_s


def test_dealing_without_the_compiler_gives_the_same(monkeypatch):
    problem = skewed(groups=2, neurons=60, dimm_bytes=[60_000, 100_000, 60_000])
    compiled = place_greedily(problem, 7)
    deal = placement_module._deal
    monkeypatch.setattr(placement_module, "_deal", getattr(deal, "py_func", deal))
    plain = place_greedily(problem, 7)
    assert [d.tolist() for d in plain.dimm] == [d.tolist() for d in compiled.dimm]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu_s": [1.0]}, r"gpu_s: expected 2 positive numbers, one a group, found \[1.0\]"),
        ({"neuron_bytes": [8, 0]}, r"neuron_bytes: expected 2 positive numbers, one a group, found \[8, 0\]"),
        ({"frequencies": [np.ones(3), -np.ones(3)]}, "frequencies: expected finite numbers from 0 on, found others"),
        ({"frequencies": [np.ones(3), np.ones(0)]}, "frequencies: expected neurons in every group"),
        ({"sync_s": -1.0, "gpu_bytes": 3}, "sync_s, gpu_bytes: expected 0 or more, found -1.0 and 3"),
        ({"dimm_bytes": []}, "dimm_bytes: expected 1 to 256 DIMMs, found 0"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        skewed(groups=2, neurons=3, **change)


def by_hand(frequencies: list[list[float]], sizes: list[int], gpu_bytes: int) -> PlacementProblem:
    """One DIMM, with 20 us a neuron; the GPU takes 1 us."""
    groups, often = len(sizes), [np.array(one) for one in frequencies]
    return PlacementProblem(often, sizes, [1e-6] * groups, [2e-5] * groups, 0.0, gpu_bytes, [ROOM])


def test_the_optimum_is_two_small_neurons_where_greed_takes_the_large_one():
    """Of 6 bytes: 19 us saved for 4 bytes is more a byte than 14 - 0.7 = 13.3 us for 3, but these come twice."""
    problem = by_hand([[1.0], [0.7], [0.7]], [4, 3, 3], 6)
    greedy, found = place_greedily(problem, 1), place_optimally(problem, 1)
    assert [one.tolist() for one in greedy.resident] == [[True], [False], [False]]
    assert greedy.objective_s == pytest.approx((1 + 14 + 14) * 1e-6)
    assert [one.tolist() for one in found.resident] == [[False], [True], [True]]
    assert found.objective_s == pytest.approx((20 + 0.7 + 0.7) * 1e-6)
    assert found.bound_s == pytest.approx(found.objective_s, rel=1e-4) and found.finished


def test_greed_takes_what_saves_more_and_nothing_that_saves_no_time():
    assert [one.tolist() for one in place_greedily(by_hand([[0.5], [1.0]], [4, 4], 4), 1).resident] == [[False], [True]]
    assert place_greedily(by_hand([[1.0, 0.0]], [4], 8), 1).resident[0].tolist() == [True, False]


def test_the_integer_programme_is_not_solved_where_the_first_bound_is_met(monkeypatch: pytest.MonkeyPatch):
    from scipy import optimize

    solved, milp = [], optimize.milp

    def counted(*arguments: object, **named: object) -> object:
        solved.append(1)
        return milp(*arguments, **named)

    monkeypatch.setattr(optimize, "milp", counted)
    assert place_optimally(by_hand([[1.0], [0.7]], [4, 3], 0), 1).finished and len(solved) == 1
    assert place_optimally(by_hand([[1.0], [0.7], [0.7]], [4, 3, 3], 6), 1).finished and len(solved) == 3


def test_a_placement_that_takes_no_time_leaves_no_gap():
    assert NeuronPlacement((), (), 0.0).gap == 0.0
    assert NeuronPlacement((), (), 4.0, 3.0).gap == 0.25


def test_all_faults_are_told_at_once_and_bundles_have_neurons():
    with pytest.raises(InputError, match=r"dimm_s: .*; sync_s, gpu_bytes: "):
        skewed(groups=2, dimm_s=[], sync_s=-1.0)
    with pytest.raises(InputError, match="bundle: expected 1 or more neurons, found 0"):
        place_greedily(skewed(), 0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_are_sorted_by_value_and_equals_keep_their_order(kind: type):
    rng = np.random.default_rng(3)
    for numbers in (rng.random(500), rng.integers(0, 9, 500) / 8, np.array([0.0, 1e-40, -0.0, 2.0, 0.0]), np.empty(0)):
        values = numbers.astype(kind)
        assert by_value(values).tolist() == np.argsort(values, kind="stable").tolist()
        assert by_value(values, falling=True).tolist() == np.argsort(-values, kind="stable").tolist()
