"""The predictor does what the paper says, neuron by neuron, and finds the neurons that foretell others."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hermes_predictor as oracle
from pydantic import ValidationError

from ndpsim.errors import InputError
from ndpsim.sparsity import correlation
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.presets import load_preset
from ndpsim.sparsity.prediction import predictor_kernel
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.sparsity.prediction.parents import correlation_table, parents_of
from ndpsim.sparsity.prediction.predictor import PredictionQuality, Predictor, PredictorRule, first_states
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader

NONE = np.full((1, 2), -1, dtype=np.int32)


def ruled(**changes):
    """The rule of section IV-C, with others of its numbers."""
    paper = {"part": "both", "rise": 4, "fall": 1, "weight": 6, "threshold": 15, "strict": True, "threshold_alone": 10}
    return PredictorRule(**paper | {"hot": 10} | changes)


def one_neuron(active_parents: int, state: int, **rule: object) -> bool:
    """Whether a neuron with two parents is predicted."""
    layout = NeuronLayout((2, 1))
    tables = [np.full((2, 2), -1, dtype=np.int32), np.array([[0, 1]], dtype=np.int32)]
    predictor = Predictor(layout, tables, (-1, 0), ruled(**rule))
    predictor.states[64] = state
    active = np.array([(1 << active_parents) - 1, 0], dtype=np.uint64)
    return bool(predictor.predict(active)[1])


@pytest.mark.parametrize(("strict", "least"), [(True, (16, 10, 4)), (False, (15, 9, 3))])
def test_least_states_with_0_1_and_2_active_parents_are_those_of_the_comparison(strict: bool, least: tuple[int, ...]):
    found = [[s for s in range(16) if one_neuron(n, s, strict=strict)] for n in range(3)]
    assert found == [list(range(first, 16)) for first in least]


def test_the_papers_example_neuron_6_goes_from_7_to_11_and_neuron_5_from_10_to_9():
    layout = NeuronLayout((8,))
    predictor = Predictor(layout, [np.full((8, 2), -1, dtype=np.int32)], (-1,), ruled())
    predictor.states[5:7] = 10, 7
    predictor.update(np.array([1 << 6], dtype=np.uint64))
    assert predictor.states[5:7].tolist() == [9, 11]
    assert predictor.hot().tolist() == [1 << 6]


@pytest.mark.parametrize(("p", "rises"), [(0.15, False), (0.25, True)])
def test_states_tend_upwards_once_a_neuron_fires_more_often_than_once_in_five_tokens(p: float, rises: bool):
    layout = NeuronLayout((6400,))
    predictor = Predictor(layout, [np.full((6400, 2), -1, dtype=np.int32)], (-1,), ruled())
    rng = np.random.default_rng(1)
    predictor.states[:] = 8
    for _ in range(400):
        predictor.update(layout.mask(rng.random(6400) < p))
    assert (predictor.states.mean() > 8) == rises


@pytest.mark.parametrize(
    ("layers", "hidden", "ffn", "kib"),
    [(32, 4096, 10752, 232), (32, 4096, 11008, 236), (40, 5120, 20480, 500), (80, 8192, 28672, 1440)],
)
def test_four_bits_a_neuron_come_to_the_published_and_derived_sizes(layers: int, hidden: int, ffn: int, kib: int):
    layout = NeuronLayout((hidden, ffn) * layers)
    tables = [np.full((n, 2), -1, dtype=np.int32) for n in layout.neurons]
    predictor = Predictor(layout, tables, (-1,) * len(layout.neurons), ruled())
    assert predictor.table_bytes[0] == kib * 1024
    assert predictor.table_bytes[1] == 4 * layers * (hidden + ffn)


def test_first_states_have_the_published_ends_and_rise():
    assert first_states(np.array([0.0, 0.0199, 0.02, 0.9, 0.9001, 1.0])).tolist() == [0, 0, 1, 14, 15, 15]
    frequencies = np.arange(513) / 512
    states = first_states(frequencies)
    assert states.tolist() == [oracle.first_state(f) for f in frequencies]
    assert set(states) == set(range(16))


@st.composite
def models(draw: st.DrawFn):
    neurons = tuple(draw(st.lists(st.integers(1, 140), min_size=1, max_size=4)))
    preceding = tuple(draw(st.integers(-1, g - 1)) for g in range(len(neurons)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tables = [
        rng.integers(-1, neurons[before] if before >= 0 else 0, (n, 2)).astype(np.int32)
        for n, before in zip(neurons, preceding, strict=True)
    ]
    rule = draw(
        st.fixed_dictionaries(
            {
                "part": st.sampled_from(["both", "token", "layer"]),
                "rise": st.integers(0, 15),
                "fall": st.integers(0, 15),
                "weight": st.integers(0, 20),
                "threshold": st.integers(0, 40),
                "strict": st.booleans(),
                "threshold_alone": st.integers(0, 15),
                "hot": st.integers(0, 15),
            }
        )
    )
    return neurons, preceding, tables, rule, rng


@settings(max_examples=60, deadline=None)
@given(models(), st.sampled_from([0.05, 0.5, 0.95]))
def test_states_and_predictions_equal_the_plain_description(model, density: float):
    neurons, preceding, tables, rule, rng = model
    layout, numbers = NeuronLayout(neurons), oracle.Numbers(**rule)
    predictor, quality = Predictor(layout, tables, preceding, ruled(**rule)), PredictionQuality(layout)
    frequencies = [rng.random(n) for n in neurons]
    predictor.start(frequencies)
    states = [[oracle.first_state(f) for f in group] for group in frequencies]
    counts = np.zeros((len(neurons), 4), dtype=np.int64)
    for _ in range(4):
        fired = [rng.random(n) < density for n in neurons]
        active = layout.mask(layout.spread(fired))
        mask = predictor.predict(active)
        flags = layout.flags(mask)
        for g, n in enumerate(neurons):
            for i in range(n):
                mine = [] if rule["part"] == "token" else [bool(fired[preceding[g]][p]) for p in tables[g][i] if p >= 0]
                states[g][i] = oracle.state_now(states[g][i], mine, numbers)
                expected = oracle.predicted(states[g][i], mine, numbers)
                assert flags[layout.of(g)][i] == expected
                counts[g, 2 * expected + bool(fired[g][i])] += 1
        hot = layout.flags(predictor.hot())
        for g in range(len(neurons)):
            assert predictor.states[layout.of(g)].tolist() == states[g]
            assert hot[layout.of(g)].tolist() == [s > numbers.hot for s in states[g]]
        predictor.update(active)
        quality.add(mask, active)
        for g in range(len(neurons)):
            states[g] = [oracle.moved(s, bool(f), numbers) for s, f in zip(states[g], fired[g], strict=True)]
    found = quality.true_negatives, quality.false_negatives, quality.false_positives, quality.true_positives
    assert np.stack(found, axis=1).tolist() == counts.tolist()
    empty = np.ones(layout.slots, dtype=bool)
    for g in range(len(neurons)):
        empty[layout.of(g)] = False
    assert not layout.flags(mask)[empty].any() and not predictor.states[empty].any()


def test_quality_is_shares_of_the_counts_and_not_a_number_where_there_is_nothing():
    layout = NeuronLayout((4, 4, 3))
    quality = PredictionQuality(layout)
    quality.add(np.array([0b0111, 0b0001, 0], dtype=np.uint64), np.array([0b1001, 0b0001, 0], dtype=np.uint64))
    by_group, whole = quality.shares(), quality.shares((0, 1))
    assert by_group.precision[:2].tolist() == [1 / 3, 1.0] and math.isnan(by_group.precision[2])
    assert by_group.recall[:2].tolist() == [1 / 2, 1.0] and by_group.accuracy.tolist() == [1 / 4, 1.0, 1.0]
    assert (whole.precision, whole.recall, whole.accuracy) == (2 / 4, 2 / 3, 5 / 8)


def test_masks_of_a_batch_are_the_union_of_its_sequences():
    rng = np.random.default_rng(3)
    fired = [rng.random((9, 3, n)) < 0.2 for n in (70, 5, 128)]
    trace = ActivationTrace.of(TraceHeader("m", (70, 5, 128), "drawn", "test", sequences=3), fired)
    layout = NeuronLayout((70, 5, 128))
    masks = layout.masks(trace, 2, 7)
    assert masks.shape == (5, layout.words) == (5, 5)
    for t in range(5):
        flags = layout.flags(masks[t])
        for g, f in enumerate(fired):
            assert flags[layout.of(g)].tolist() == f[t + 2].any(axis=0).tolist()
        assert layout.counts(masks[t]).tolist() == [int(f[t + 2].any(axis=0).sum()) for f in fired]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 300), st.integers(1, 20), st.integers(0, 2**32))
def test_parents_are_the_neurons_of_the_greatest_correlation(tokens, sequences, before, neurons, seed):
    rng = np.random.default_rng(seed)
    fired = [rng.random((tokens, sequences, n)) < rng.random(n) for n in (before, neurons)]
    trace = ActivationTrace.of(TraceHeader("m", (before, neurons), "drawn", "test", sequences=sequences), fired)
    found = parents_of(trace, 1, 0, tokens)
    for i in range(neurons):
        mine = fired[1][..., i].ravel().tolist()
        scores = [oracle.pearson(mine, fired[0][..., j].ravel().tolist()) for j in range(before)]
        best = sorted((s for s in scores if s > 1e-9), reverse=True)[:2]
        assert [scores[j] for j in found[i] if j >= 0] == pytest.approx(best)
        if len(best) == 2 and found[i, 0] == scores.index(max(scores)) and scores.count(best[0]) > 1:
            assert found[i, 0] < found[i, 1]


def test_a_profile_finds_the_partners_that_a_trace_was_generated_with():
    parameters = load_preset("paper").parameters(2, "llama2-70b")
    generator = ActivationGenerator(NeuronShape(2, 300, 500), parameters, seed=5)
    profile = generator.trace(800)
    table = correlation_table(profile, 0, 800)
    assert (table[0] == -1).all() and (table[1] == -1).all()
    for group in (2, 3):
        often = profile.fired(group, 0, 800).mean(axis=0) > 0.1
        right = np.sort(table[group], axis=1) == np.sort(generator.partners(group), axis=1)
        assert np.mean(right[often]) > 0.9


def test_the_parts_together_predict_better_than_each_alone():
    parameters = load_preset("paper").parameters(3, "llama2-70b")
    generator = ActivationGenerator(NeuronShape(3, 400, 1200), parameters, seed=6)
    trace = generator.trace(256)
    layout = NeuronLayout(trace.header.neurons)
    tables = [generator.partners(g) for g in range(6)]
    masks = layout.masks(trace, 0, 256)
    accuracy = {}
    for part in ("both", "token", "layer"):
        predictor = Predictor(layout, tables, trace.header.preceding, ruled(part=part))
        predictor.start([trace.fired(g, 0, 128).mean(axis=0) for g in range(6)])
        quality = PredictionQuality(layout)
        for active in masks[128:]:
            quality.add(predictor.predict(active), active)
            predictor.update(active)
        accuracy[part] = quality.shares((2, 3, 4, 5)).accuracy
    assert accuracy["both"] > max(accuracy["token"], accuracy["layer"])
    assert accuracy["both"] > 0.9


@pytest.mark.parametrize("widest", [(1 << 16) - 64, (1 << 16) - 1])
def test_parents_are_found_in_groups_of_any_width(widest: int):
    layout = NeuronLayout((widest, 3))
    last = widest - 1
    tables = [np.full((widest, 2), -1, np.int32), np.array([[last, 0], [last, -1], [-1, -1]], np.int32)]
    predictor = Predictor(layout, tables, (-1, 0), ruled())
    predictor.states[layout.of(1)] = 10
    active = np.zeros(layout.slots, np.bool_)
    for parents, predicted in (((), []), ((0,), [0]), ((last,), [0, 1]), ((1, last - 1), [])):
        active[:] = False
        active[list(parents)] = True
        found = layout.flags(predictor.predict(layout.mask(active)))[layout.of(1)]
        assert np.flatnonzero(found).tolist() == predicted


def test_kernels_without_the_compiler_give_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    layout = NeuronLayout((70, 90))
    tables = [np.full((70, 2), -1, dtype=np.int32), rng.integers(-1, 70, (90, 2)).astype(np.int32)]
    fired = [rng.random((130, 1, n)) < 0.3 for n in layout.neurons]
    trace = ActivationTrace.of(TraceHeader("m", layout.neurons, "drawn", "test", preceding=(-1, 0)), fired)

    def run() -> tuple[list[list[int]], list[int], list[list[int]]]:
        predictor = Predictor(layout, tables, (-1, 0), ruled())
        predictor.start([f.mean(axis=(0, 1)) for f in fired])
        masks = []
        for active in layout.masks(trace, 0, 12):
            masks.append(predictor.predict(active).tolist())
            predictor.update(active)
        return masks, predictor.states.tolist(), parents_of(trace, 1, 0, 130).tolist()

    compiled = run()
    for module, names in (
        (predictor_kernel, ("first_states", "predict", "_unpack", "_predict_group", "update")),
        (correlation, ("_strongest",)),
    ):
        for name in names:
            kernel = getattr(module, name)
            monkeypatch.setattr(module, name, getattr(kernel, "py_func", kernel))
    assert run() == compiled


def test_what_cannot_be_is_refused():
    layout = NeuronLayout((2, 1))
    two = np.full((2, 2), -1, dtype=np.int32)
    with pytest.raises(
        InputError, match=r"parents of group 1: expected 1 pairs of -1 to 1, found \(1, 2\) with 0 to 2"
    ):
        Predictor(layout, [two, np.array([[0, 2]], dtype=np.int32)], (-1, 0), ruled())
    with pytest.raises(InputError, match=r"parents of group 1: expected 1 pairs"):
        Predictor(layout, [two, two], (-1, 0), ruled())
    with pytest.raises(InputError, match=r"preceding: expected -1 or an earlier group than 0, found 0"):
        Predictor(layout, [two, NONE], (0, 0), ruled())
    with pytest.raises(InputError, match=r"expected one for each of 2 groups, found \(1, 2\)"):
        Predictor(layout, [two], (-1, 0), ruled())
    with pytest.raises(InputError, match=r"groups: expected \(2, 1\) values by group, found \(2, 2\)"):
        Predictor(layout, [two, NONE], (-1, 0), ruled()).start([np.zeros(2), np.zeros(2)])
    with pytest.raises(InputError, match=r"trace: expected \(2, 1\) neurons by group, found \(3,\)"):
        layout.masks(ActivationTrace.of(TraceHeader("m", (3,), "r", "s"), [np.zeros((1, 3), dtype=bool)]), 0, 1)
    with pytest.raises(ValidationError):
        ruled(part="neither")
