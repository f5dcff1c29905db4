"""A whole model in the DIMMs: what its programs read."""

import numpy as np
import pytest

from ndpsim.dimm.config import load_machine
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.ndp_model import NdpModel, Span
from ndpsim.machine.rows import deal

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


@pytest.mark.parametrize("batch", [2, 32, 33, 64, 255, 256])
@pytest.mark.parametrize("kind", ["attention", "ffn"])
def test_a_batch_multiplies_for_each_sequence_and_reads_for_each_32(machine, batch, kind):
    model, rng = NdpModel(machine, SHAPE, sequences=batch, capacity=16), np.random.default_rng(batch)
    neurons = min(SHAPE.hidden, SHAPE.ffn)
    needs = rng.random((batch, neurons)) < 0.2
    dimm, row = (np.arange(neurons) % 2).astype(np.uint8), (np.arange(neurons) // 2).astype(np.uint32)
    packed = np.zeros((batch, -(-neurons // 64) * 64), np.bool_)
    packed[:, :neurons] = needs
    rows, masks = deal(np.packbits(packed, axis=1, bitorder="little").view(np.uint64), dimm, row, 2)
    before = model.work
    span = model.sparse(kind, 0, rows, 0, gpu=True, masks=masks)
    width = SHAPE.attention_width + 2 * SHAPE.kv_width if kind == "attention" else (2 + SHAPE.gated) * SHAPE.hidden
    assert model.work.macs_f16 - before.macs_f16 == needs.sum() * width
    read = sum(needs[first : first + 32].any(axis=0).sum() for first in range(0, batch, 32))
    assert model.dram_bytes.sum() == read * model.neuron_bytes(kind)
    assert span.start == 0 < span.partial < span.end == model.timer.now_ps


def test_a_block_whose_values_do_not_fit_the_buffer_is_computed_for_fewer_sequences_at_a_time(machine):
    """Neither 2 x 12,000 bytes of values nor 6 x 4096 of inputs and results fit 256 KiB 16 times; the latter 10."""
    shape = SHAPE.with_overrides(layers=1, ffn=24_000, hidden=4096)
    model = NdpModel(machine, shape, sequences=16, capacity=16)
    shares = [np.arange(12_000, dtype=np.uint32)] * 2
    span = model.sparse("ffn", 0, shares, 0, gpu=True)
    assert model.work.macs_f16 == 16 * 24_000 * (2 + shape.gated) * 4096
    times = model.dram_bytes.sum() / (24_000 * model.neuron_bytes("ffn"))
    assert times == 2 and span.end == model.timer.now_ps


def test_dimms_that_are_too_few_are_refused_with_the_number_that_is_enough():
    """Each of 256 pairs has 2 GiB in all layers: 15 and a share of 13 GiB of weights fit a DIMM, 16 do not."""
    shape, sequences, capacity = load_shape("llama3.1-8b"), 32, 1 << 17
    with pytest.raises(InputError) as error:
        NdpModel(load_machine("hermes", dimms=8), shape, sequences, capacity)
    assert str(error.value) == (
        "dimm.count: expected at least 18 for the weights of llama3.1-8b and 32 KV caches of 131072 tokens, "
        "found 8 of 32 GiB"
    )
    NdpModel(load_machine("hermes", dimms=18), shape, sequences, capacity)
    with pytest.raises(InputError, match=r"^dimm\.count: expected at least 18 for"):
        NdpModel(load_machine("hermes", dimms=17), shape, sequences, capacity)


def test_a_cache_of_which_not_even_256_dimms_hold_one_pair_is_refused():
    with pytest.raises(
        InputError, match=r"^dimm\.count: expected more than 256 for .* and 1 KV cache of 4194304 tokens"
    ):
        NdpModel(load_machine("hermes", dimms=8), load_shape("llama3.1-8b"), 1, 1 << 22)
