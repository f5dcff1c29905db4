"""How often neurons fire, against a count bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.sparsity.frequency import frequencies
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.presets import load_preset
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_counts_are_those_of_the_bits(data):
    tokens, sequences = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 4))
    neurons = data.draw(st.integers(1, 40))
    fires = np.random.default_rng(data.draw(st.integers(0, 99))).random((tokens + 3, sequences, neurons)) < 0.6
    trace = ActivationTrace.of(TraceHeader("m", (neurons,), "drawn", "test", sequences=sequences), [fires])
    found = frequencies(trace, 0, tokens)
    assert found.each == pytest.approx(fires[:tokens].mean(axis=0), abs=1e-6)
    assert found.union == pytest.approx(fires[:tokens].any(axis=1).mean(axis=0), abs=1e-6)


def test_a_generated_trace_fires_as_densely_as_asked():
    shape = NeuronShape(2, 512, 2048)
    parameters = load_preset("paper").parameters(2, "llama2-70b")
    trace = ActivationGenerator(shape, parameters, seed=1, run_tokens=256, model="m").trace(128, 2, prompt_tokens=128)
    for group, density in ((0, 0.2), (1, 0.18)):
        assert frequencies(trace, group, 128).each.mean() == pytest.approx(density, abs=0.02)
