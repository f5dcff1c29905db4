"""Generated traces are what GENERATOR.md says, bit for bit, and have the figures that were asked for."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles.activation_generator import Letters, SlowGenerator

import ndpsim
from ndpsim.errors import InputError
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.hotness import share_of_80
from ndpsim.sparsity.generation.parameters import GroupParameters
from ndpsim.sparsity.trace import ActivationTrace

PLAIN = GroupParameters(
    density=0.2, layer_correlation=0.5, hot_changed=0.3, share_for_80=0.35, similarity_1=0.9, persistence_25=0.2
)


@st.composite
def parameters(draw: st.DrawFn, near: float = 0.97) -> GroupParameters:
    """Any parameters that a group can have but for the correlation, which depends on the layer before."""
    density = draw(st.floats(0.02, 0.6))
    share = 0.8 * density + (0.8 - 0.8 * density) * draw(st.floats(0.1, 0.9))
    persistence = draw(st.floats(0, near))
    far = persistence**25 + (persistence - persistence**25) * draw(st.floats(0, 1))
    sequences = draw(st.none() | st.floats(density + 0.01, 0.99))
    correlation, changed = draw(st.floats(0, 0.3)), draw(st.floats(0, 0.6))
    skew = {"share_for_80": share} if draw(st.booleans()) else {"gini": draw(st.floats(0.05, 0.9 * (1 - density)))}
    return GroupParameters(
        density,
        correlation,
        changed,
        persistence_1=persistence,
        persistence_25=far,
        sequence_similarity=sequences,
        **skew,
    )


def one_kind(parameters: GroupParameters, layers: int = 2, neurons: int = 2000, **options: int) -> ActivationGenerator:
    return ActivationGenerator(NeuronShape(layers, 0, neurons), {"ffn": [parameters] * layers}, **options)


def oracle(generator: ActivationGenerator, kind: str) -> SlowGenerator:
    layers = [
        Letters(tuple(c.p), c.refreshed, c.held, c.common, c.follows, c.handed, c.drift, c.reseated)
        for c in generator.chances[kind]
    ]
    number = ("attention", "ffn").index(kind)
    return SlowGenerator(generator.seed, number, getattr(generator.shape, kind), layers, generator.run_tokens)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_bit_is_that_of_the_slow_generator(data: st.DataObject):
    layers = data.draw(st.integers(1, 4))
    shape = NeuronShape(layers, data.draw(st.integers(0, 70)), data.draw(st.integers(1, 70)))
    run = data.draw(st.integers(1, 200))
    seed, tokens, sequences = data.draw(st.integers(0, 2**63 - 1)), data.draw(st.integers(1, 70)), 2
    chosen = {
        kind: [data.draw(parameters()) for _ in range(layers)] if data.draw(st.booleans()) else [PLAIN] * layers
        for kind in ("attention", "ffn")
    }
    try:
        generator = ActivationGenerator(shape, chosen, seed=seed, run_tokens=run)
    except InputError:
        assume(False)
    start, first = data.draw(st.integers(0, 400)), data.draw(st.integers(0, 9))
    for group, (layer, kind) in enumerate(generator.header().places()):
        slow = oracle(generator, kind)
        for sequence in (first, first + sequences - 1):
            rows = generator.rows(group, start, start + tokens, sequence)
            fired = np.unpackbits(rows, axis=1, count=slow.neurons, bitorder="little")
            for token in {0, tokens // 2, tokens - 1}:
                expected = [slow.active(layer, n, start + token, sequence) for n in range(slow.neurons)]
                assert list(fired[token]) == expected


@settings(max_examples=30, deadline=None)
@given(parameters(), st.integers(0, 300), st.integers(0, 300), st.integers(1, 130), st.randoms())
def test_any_part_is_the_same_by_itself_and_in_any_order(asked, start, length, run, random):
    asked = replace(asked, layer_correlation=0.0)
    whole = one_kind(asked, neurons=75, run_tokens=run, seed=3)
    parts = [(group, sequence) for group in range(2) for sequence in range(2)]
    expected = {part: whole.rows(part[0], 0, 600, part[1])[start : start + length] for part in parts}
    again = one_kind(asked, neurons=75, run_tokens=run, seed=3)
    random.shuffle(parts)
    for group, sequence in parts:
        found = again.rows(group, start, start + length, sequence)
        np.testing.assert_array_equal(found, expected[group, sequence])


def test_a_file_is_what_the_trace_in_memory_is_and_the_same_bytes_each_time(tmp_path: Path):
    shape = NeuronShape(3, 33, 70)
    generator = ActivationGenerator(shape, {kind: [PLAIN] * 3 for kind in ("attention", "ffn")}, seed=9, model="m")
    reports = []
    for name in ("a.h5", "b.h5"):
        generator.write(
            tmp_path / name, 150, 3, first_sequence=2, prompt_tokens=40, progress=lambda *r: reports.append(r)
        )
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert reports == [(i, 6) for i in range(1, 7)] * 2
    memory = generator.trace(150, 3, first_sequence=2, prompt_tokens=40)
    with ActivationTrace.read(tmp_path / "a.h5") as trace:
        assert trace.header == memory.header
        assert trace.header.places() == [(layer, kind) for layer in range(3) for kind in ("attention", "ffn")]
        assert trace.header.preceding == (-1, -1, 0, 1, 2, 3)
        assert (trace.header.model, trace.header.seed, trace.header.prompt_tokens) == ("m", 9, 40)
        for group in range(6):
            rows = trace.packed(group, 0, 150)
            np.testing.assert_array_equal(rows, memory.packed(group, 0, 150))
            for sequence in range(3):
                np.testing.assert_array_equal(rows[:, sequence], generator.rows(group, 0, 150, 2 + sequence))


def test_many_sequences_are_seated_as_few_are():
    asked = replace(PLAIN, sequence_similarity=0.4)
    many = one_kind(asked, layers=1, neurons=40, run_tokens=20).trace(50, 70).packed(0, 0, 50)
    for sequence in (0, 3, 69):
        alone = one_kind(asked, layers=1, neurons=40, run_tokens=20).rows(0, 0, 50, sequence)
        np.testing.assert_array_equal(many[:, sequence], alone)


def test_another_seed_gives_another_trace():
    assert (one_kind(PLAIN, seed=1).rows(0, 0, 9) != one_kind(PLAIN, seed=2).rows(0, 0, 9)).any()


def digest() -> str:
    shape = NeuronShape(3, 33, 70)
    asked = replace(PLAIN, sequence_similarity=0.3)
    generator = ActivationGenerator(shape, {kind: [asked] * 3 for kind in ("attention", "ffn")}, run_tokens=30)
    trace = generator.trace(100, 2)
    figures = str([tuple(round(x, 9) for x in group) for group in trace.statistics().groups])
    return hashlib.sha256(figures.encode() + b"".join(trace.packed(g, 0, 100).tobytes() for g in range(6))).hexdigest()


def test_without_the_compiler_the_trace_and_its_figures_are_the_same():
    path = os.pathsep.join([str(Path(ndpsim.__file__).parents[2]), str(Path(__file__).parents[2])])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest()
    assert run.stderr == ""


@settings(max_examples=12, deadline=None)
@given(parameters(near=0.5), st.integers(0, 99))
def test_density_and_skew_are_as_asked(asked: GroupParameters, seed: int):
    """Within 0.01 for the density, 0.03 for the skew, where nothing drifts and little is held."""
    asked = replace(asked, hot_changed=0.0, persistence_25=asked.persistence_1**25, sequence_similarity=None)
    assume(asked.density > 0.05)
    found = one_kind(asked, layers=1, seed=seed).trace(3000, 2).statistics().groups[0]
    assert found.density == pytest.approx(asked.density, abs=0.01)
    if asked.gini is None:
        assert found.share_for_80 == pytest.approx(asked.share_for_80, abs=0.03)
    else:
        assert found.gini == pytest.approx(asked.gini, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(parameters(), st.integers(0, 99), st.integers(300, 2000))
def test_similarities_are_as_asked(asked: GroupParameters, seed: int, run: int):
    """Within 0.03, whatever is held or drifts, for tokens and between sequences."""
    assume(asked.density > 0.05)
    try:
        generator = one_kind(asked, neurons=8000, seed=seed, run_tokens=run)
    except InputError:
        assume(False)
    found = generator.trace(300, 4).statistics().groups[1]
    chances = generator.chances["ffn"][1]
    assert found.density == pytest.approx(asked.density, abs=0.02)
    for distance in (1, 10, 25):
        assert getattr(found, f"similarity_{distance}") == pytest.approx(chances.similarity(distance), abs=0.03)
    assert found.sequence_similarity == pytest.approx(chances.sequence_similarity(), abs=0.03)
    if asked.sequence_similarity is not None:
        assert chances.sequence_similarity() == pytest.approx(asked.sequence_similarity, abs=0.01)


@pytest.mark.parametrize(("near", "far"), [(0.93, 0.7), (0.75, 0.66), (0.99, 0.95), (0.7, 0.69)])
def test_similarities_that_are_asked_for_as_such_are_expected_and_measured(near: float, far: float):
    asked = replace(PLAIN, density=0.18, share_for_80=0.2, similarity_1=near, similarity_25=far, persistence_25=None)
    generator = one_kind(replace(asked, hot_changed=0.05), neurons=8000)
    chances = generator.chances["ffn"][0]
    found = generator.trace(256, 2).statistics().groups[0]
    for distance, similarity in ((1, near), (25, far)):
        assert chances.similarity(distance) == pytest.approx(similarity, abs=1e-3)
        assert getattr(found, f"similarity_{distance}") == pytest.approx(similarity, abs=0.02)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.18, 0.3), st.floats(0, 0.6), st.integers(0, 99))
def test_hotness_drifts_as_asked(density: float, changed: float, seed: int):
    """Within 0.08, where hot neurons are clearly hotter than others and the trace is as long as the run."""
    asked = GroupParameters(
        density, 0.2, changed, share_for_80=max(0.2, 0.9 * density), persistence_1=0.1, persistence_25=0.0
    )
    found = one_kind(asked, neurons=8000, seed=seed, run_tokens=1600).trace(1600).statistics().groups[1]
    assert found.hot_changed == pytest.approx(changed, abs=0.08)


def test_drift_flattens_the_skew_of_a_run_by_as_much_as_changing_ranks_does():
    asked = GroupParameters(0.18, 0.0, 0.52, share_for_80=0.2, persistence_1=0.1, persistence_25=0.0)
    generator = one_kind(asked, layers=1, neurons=8000, run_tokens=1000)
    chances = generator.chances["ffn"][0]
    rng = np.random.default_rng(0)
    moved = np.where(rng.random(chances.p.size) < chances.drift, rng.random(chances.p.size), 0)
    frequencies = np.sort(chances.p * (1 - moved) + rng.permutation(chances.p) * moved)[::-1]
    found = generator.trace(1000).statistics().groups[0].share_for_80
    assert found == pytest.approx(share_of_80(frequencies), abs=0.01)
    assert found > 0.25


@settings(max_examples=8, deadline=None)
@given(st.floats(0.15, 0.5), st.floats(0.05, 0.95), st.floats(0, 0.5), st.integers(0, 99))
def test_neurons_are_correlated_with_the_layer_before_as_asked(
    density: float, asked: float, persistence: float, seed: int
):
    """Within 0.06, with the partners that are named and with those found in the trace."""
    share = 0.8 * density + 0.3 * (0.8 - 0.8 * density)
    group = GroupParameters(
        density, asked, 0.0, share_for_80=share, persistence_1=persistence, persistence_25=persistence**25
    )
    generator = one_kind(group, layers=3, neurons=300, seed=seed)
    trace = generator.trace(2000)
    found = trace.statistics().groups
    assert np.isnan(found[0].layer_correlation)
    assert (generator.partners(0) == -1).all()
    for layer in (1, 2):
        here, there = (trace.fired(group, 0, 2000).astype(np.float64) for group in (layer, layer - 1))
        partners = generator.partners(layer)
        often = np.flatnonzero((here.mean(axis=0) > 0.05) & (here.mean(axis=0) < 0.95))
        named = [np.corrcoef(here[:, n], there[:, p])[0, 1] for n in often for p in partners[n] if there[:, p].any()]
        assert np.nanmean(named) == pytest.approx(asked, abs=0.06)
        assert found[layer].layer_correlation == pytest.approx(asked, abs=0.12 if asked < 0.2 else 0.06)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"density": 0.0}, "density: expected more than 0 and less than 1, found 0"),
        (
            {"density": 0.3, "share_for_80": 0.2},
            "share_for_80: expected 0.240 to 0.800, all that a density of 0.3 allows",
        ),
        ({"share_for_80": 0.9}, "share_for_80: expected 0.160 to 0.800, all that a density of 0.2 allows, found 0.9"),
        ({"share_for_80": None}, "share_for_80: expected it or gini, found none"),
        ({"gini": 0.3}, "share_for_80: expected it or gini, found both"),
        ({"gini": 0.9, "share_for_80": None}, "gini: expected 0.000 to 0.8"),
        (
            {"similarity_1": 0.2},
            r"similarity_1: expected 0\.\d+ to 0.99\d with this density, skew and drift, found 0.2",
        ),
        ({"similarity_1": None, "persistence_1": 1.5}, "persistence_1: expected 0.000 to 1.000, found 1.5"),
        ({"persistence_25": 0.99}, "persistence_25: expected 0.00"),
        ({"hot_changed": 0.7}, "hot_changed: expected 0.000 to 0.600, found 0.7"),
        ({"layer_correlation": -0.1}, "layer_correlation: expected 0.000 to 1.000, found -0.1"),
        ({"sequence_similarity": 0.1}, "sequence_similarity: expected 0.200 to 1.000 with this density, found 0.1"),
    ],
)
def test_what_no_group_can_be_is_refused(change: dict[str, float | None], says: str):
    with pytest.raises(InputError, match=f"ffn: layer 0: {says}"):
        one_kind(replace(PLAIN, **change))


def test_all_faults_of_all_layers_are_told_at_once():
    wrong = replace(PLAIN, hot_changed=0.7, sequence_similarity=0.1)
    with pytest.raises(InputError) as caught:
        ActivationGenerator(NeuronShape(2, 8, 8), {"attention": [PLAIN, wrong], "ffn": [wrong, PLAIN]})
    found = [" ".join(part.split()[:4]) for part in str(caught.value).split("; ")]
    assert found == [
        "attention: layer 1: hot_changed:",
        "attention: layer 1: sequence_similarity:",
        "ffn: layer 0: hot_changed:",
        "ffn: layer 0: sequence_similarity:",
    ]


def test_layers_of_very_different_pace_cannot_be_strongly_correlated():
    fast = replace(PLAIN, similarity_1=None, persistence_1=0.0, persistence_25=0.0, layer_correlation=0.9)
    slow = replace(fast, persistence_1=0.9, persistence_25=0.8)
    with pytest.raises(InputError, match="ffn: layer 1: layer_correlation: expected at most 0"):
        ActivationGenerator(NeuronShape(2, 0, 8), {"ffn": [fast, slow]})


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((0, 1, 1), "layers: expected 1 to 4096, found 0"),
        ((1, -1, 1), "attention: expected 0 to"),
        ((1, 0, 0), "attention, ffn: expected neurons in at least one of the two"),
    ],
)
def test_a_shape_without_neurons_is_refused(shape: tuple[int, int, int], says: str):
    with pytest.raises(InputError, match=says):
        NeuronShape(*shape)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"seed": -1}, "seed: expected 0 to"), ({"run_tokens": 0}, "run_tokens: expected 1 to 16777216, found 0")],
)
def test_options_out_of_range_are_refused(options: dict[str, int], says: str):
    with pytest.raises(InputError, match=says):
        one_kind(PLAIN, **options)


def test_parts_outside_the_model_are_refused(tmp_path: Path):
    generator = one_kind(PLAIN, neurons=9)
    with pytest.raises(InputError, match="group: expected 0 to 1, found 2"):
        generator.rows(2, 0, 1)
    with pytest.raises(InputError, match="token: expected 0 to 16777216, found -1"):
        generator.rows(0, -1, 1)
    with pytest.raises(InputError, match="sequence: expected 0 to 1073741824, found -1"):
        generator.rows(0, 0, 1, -1)
    for wrong in ({"tokens": 0}, {"tokens": 5, "sequences": 0}, {"tokens": 5, "prompt_tokens": 6}):
        with pytest.raises(InputError, match=f"{list(wrong)[-1]}: expected"):
            generator.write(tmp_path / "t.h5", **wrong)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="ffn: expected parameters of 2 layers, found 1"):
        ActivationGenerator(NeuronShape(2, 0, 9), {"ffn": [PLAIN]})


if __name__ == "__main__":
    print(digest())
