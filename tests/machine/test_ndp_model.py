"""A whole model in the DIMMs: what its programs read."""

import numpy as np
import pytest

from ndpsim.dimm.config import load_machine
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.ndp_model import NdpModel, Span

SHAPE = load_shape("relu-lm").with_overrides(layers=2)


@pytest.fixture(scope="module")
def machine():
    return load_machine("hermes", dimms=2)


def test_what_comes_behind_the_gpus_partial_result_waits_for_it():
    span = Span(start=100, end=500, partial=450)
    assert [span.after(ready) for ready in (0, 450, 470)] == [500, 500, 520]


def test_programs_read_the_rows_that_they_name_and_no_others(machine):
    model = NdpModel(machine, SHAPE, sequences=1, capacity=16)
    shares = [np.arange(5, dtype=np.uint32), np.arange(2, dtype=np.uint32)]
    before = model.dram_bytes
    first = model.sparse("ffn", 1, shares, 0, gpu=True)
    assert (model.dram_bytes - before).tolist() == [count * model.neuron_bytes("ffn") for count in (5, 2)]
    assert first.start < first.partial < first.end
    before = model.dram_bytes
    second = model.sparse("attention", 0, shares, first.end + 10**6, gpu=False)
    assert (model.dram_bytes - before).tolist() == [count * model.neuron_bytes("attention") for count in (5, 2)]
    assert second.start == first.end + 10**6 and second.partial == second.end


def test_attention_reads_the_cached_tokens_and_writes_the_new_one(machine):
    model = NdpModel(machine, SHAPE, sequences=3, capacity=16)
    before = model.dram_bytes.sum()
    model.attend(0, np.array([7, 1, 16]), 0)
    row = SHAPE.head_width * 2
    burst = -(-row // 64) * 64
    assert model.dram_bytes.sum() - before == 2 * SHAPE.kv_heads * burst * (7 + 1 + 16 + 3)
