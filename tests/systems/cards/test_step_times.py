"""The tables by which serving times steps: what `forward` of systems on cards says, to the picosecond."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.llm.step import Step
from ndpsim.machine.dense_times import dense_picoseconds
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.sequences import Sequences

CASES = {
    "gpu-only": {"system": "gpu-only", "model": "llama2-7b"},
    "two cards": {"system": "tensor-parallel", "model": "opt-6.7b", "changes": {"gpu.count": 2}},
    "parallel block": {
        "system": "tensor-parallel", "model": "falcon-40b", "changes": {"gpu.count": 4, "gpu.card": "h100"},
    },
}  # fmt: skip
TOKENS, SEQUENCES = 96, 8


@pytest.fixture(scope="module")
def systems():
    made = {}
    for name, case in CASES.items():
        system = Run(Setup.of(batch=SEQUENCES, prompt=300, output=20, **case)).system
        made[name] = system, system.step_times(TOKENS, SEQUENCES)
    return made


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(CASES)))
def test_a_step_takes_as_long_by_tables_as_forward_says(systems, data, name):
    system, times = systems[name]
    count = data.draw(st.integers(1, SEQUENCES))
    new = data.draw(st.lists(st.integers(1, TOKENS // SEQUENCES), min_size=count, max_size=count))
    cached = data.draw(st.lists(st.integers(0, 300), min_size=count, max_size=count))
    logits = data.draw(st.integers(0, count))
    places = Sequences(system)
    for place, held in enumerate(cached):
        places.enter(place, held)
    end = places.forward(Step(tuple(new), tuple(cached), logits), 17)
    assert dense_picoseconds(times, np.array(new), np.array(cached), logits) == end - 17
