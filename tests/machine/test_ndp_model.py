"""A whole model in the DIMMs: rows of neurons, dealing, and what its programs read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.dimm.config import load_machine
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.ndp_model import NdpModel, Rows, Span, deal

SHAPE = load_shape("relu-lm").with_overrides(layers=2)


@pytest.fixture(scope="module")
def machine():
    return load_machine("hermes", dimms=2)


def test_what_comes_behind_the_gpus_partial_result_waits_for_it():
    span = Span(start=100, end=500, partial=450)
    assert [span.after(ready) for ready in (0, 450, 470)] == [500, 500, 520]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 31), st.integers(0, 7)), min_size=1, max_size=200),
)
def test_needed_neurons_are_dealt_to_their_dimms_in_order(dimms, sequences, neurons):
    needs = np.array([need % (1 << sequences) for need, _ in neurons], np.uint32)
    dimm = np.array([d % dimms for _, d in neurons], np.uint8)
    row = np.arange(len(neurons), dtype=np.uint32) * 3
    packed = np.zeros((sequences, -(-len(neurons) // 64) * 64), np.bool_)
    packed[:, : len(neurons)] = needs >> np.arange(sequences, dtype=np.uint32)[:, None] & 1
    rows, masks = deal(np.packbits(packed, axis=1, bitorder="little").view(np.uint64), dimm, row, dimms)
    for d in range(dimms):
        own = [n for n in range(len(neurons)) if needs[n] and dimm[n] == d]
        assert rows.parts()[d].tolist() == [int(row[n]) for n in own]
        assert masks.parts()[d].tolist() == [int(needs[n]) for n in own]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 2)), max_size=60))
def test_neurons_that_move_never_share_a_row(moves):
    rows = Rows((np.arange(20) % 3).astype(np.uint8), 3, 9)
    for neuron, target in moves:
        if rows.dimm[neuron] != target and rows.room(target):
            rows.move(neuron, target)
    places = set(zip(rows.dimm.tolist(), rows.row.tolist(), strict=True))
    assert len(places) == 20 and all(row < 9 for _, row in places)
    assert [rows.room(d) for d in range(3)] == [9 - int((rows.dimm == d).sum()) for d in range(3)]


def test_too_many_neurons_for_the_rows_of_a_dimm_are_refused():
    with pytest.raises(InputError, match="expected at most 9 neurons of a group on a DIMM, found 10"):
        Rows(np.zeros(10, np.uint8), 2, 9)


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
