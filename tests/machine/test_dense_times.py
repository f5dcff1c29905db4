"""Times of dense steps as tables: those of `dense_step` and of `forward`, to the picosecond."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import dense_step
from ndpsim.machine.dense_times import dense_picoseconds, dense_times, part_times

TOKENS, SEQUENCES = 300, 40
MODELS = ("llama3.1-8b", "opt-6.7b", "falcon-40b", "relu-lm")
CARDS = ("rtx4090", "h100", "t4")
SHAPES = {name: load_shape(name) for name in MODELS}
CONTEXT = min(shape.context for shape in SHAPES.values())


@st.composite
def steps(draw):
    """Chunks, prompts and decodes in any mixture, within the tables."""
    new, cached = [], []
    for _ in range(draw(st.integers(1, SEQUENCES))):
        most = min(TOKENS - sum(new) - (SEQUENCES - len(new)), 100)
        count = draw(st.one_of(st.just(1), st.integers(1, max(most, 1))))
        new.append(count)
        cached.append(draw(st.integers(0, CONTEXT - count)))
    return Step(tuple(new), tuple(cached), draw(st.integers(0, len(new))))


def seconds(model, shape, step, eager):
    parts = part_times(model, shape, TOKENS, SEQUENCES, eager=eager)
    times = dense_times(model, shape, parts.embedding + shape.layers * parts.layer, parts.head, eager=eager)
    return dense_picoseconds(times, np.array(step.new_tokens), np.array(step.cached_tokens), step.logit_tokens)


@pytest.fixture(scope="module")
def cards():
    return {name: GpuModel.load(name) for name in CARDS}


@settings(max_examples=150, deadline=None)
@given(step=steps(), model=st.sampled_from(MODELS), card=st.sampled_from(CARDS), eager=st.booleans())
def test_a_step_takes_as_long_by_tables_as_part_by_part(cards, step, model, card, eager):
    gpu, shape = cards[card], SHAPES[model]
    parts = dense_step(gpu, shape, step, eager=eager)
    assert seconds(gpu, shape, step, eager) == parts.embedding + shape.layers * parts.layer + parts.head
