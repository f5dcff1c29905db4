"""A whole model in the DIMMs: what its programs read."""

import numpy as np
import pytest

from ndpsim.dimm.config import load_machine
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.ndp_model import NdpModel, ProgramSpan
from ndpsim.machine.rows import deal

SHAPE = load_shape("relu-lm").with_overrides(layers=2)


@pytest.fixture(scope="module")
def machine():
    return load_machine("hermes", dimms=2)


def test_what_comes_behind_the_gpus_partial_result_waits_for_it():
    span = ProgramSpan(start=100, end=500, partial=450)
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


def test_the_gpus_part_is_waited_for_by_the_first_of_several_programs(machine):
    rows = [np.arange(9, dtype=np.uint32)] * 2
    masks = [[np.full(9, bits, np.uint32)] * 2 for bits in (0xFFFFFFFF, 7)]
    both, first = (NdpModel(machine, SHAPE, sequences=35, capacity=16) for _ in range(2))
    whole = both.sparse("ffn", 0, rows, 0, gpu=True, masks=masks)
    alone = first.sparse("ffn", 0, rows, 0, gpu=True, masks=masks[:1], sequences=32)
    assert whole.partial == alone.partial < alone.end < whole.end
    assert whole.after(whole.partial + 100) == whole.end + 100
    without = both.sparse("ffn", 0, rows, whole.end, gpu=False, masks=masks)
    assert without.partial == without.end


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


def test_layers_lie_one_behind_the_other_with_an_eighth_more_rows_than_their_share():
    """Of relu-lm, 128 wide with 1024 neurons, on three DIMMs; an atom has 64 bytes.

    128 rows are 43 on the fullest DIMM, and 6 more: 49, of 384 numbers in FP16 or 12 atoms. 1024 are 342 and 43: 385,
    of two vectors of 128 numbers or 8 atoms. Two sequences of four heads are 8 pairs, 3 on a DIMM: keys and values of
    16 tokens take an atom each.
    """
    model = NdpModel(load_machine("hermes", dimms=3), SHAPE, sequences=2, capacity=16)
    assert model.rows == {"attention": 49, "ffn": 385}
    assert (model.neuron_bytes("attention"), model.neuron_bytes("ffn")) == (768, 512)
    layer = 49 * 12 + 385 * 8 + 3 * 16 * 2
    for number in range(2):
        qkv, ffn = model.projections[number].placement, model.blocks[number].placement
        kv = model.attentions[number].placement
        assert [one.name for one in (qkv, ffn, kv)] == [f"layer{number}.{n}" for n in ("attention", "ffn", "cache")]
        assert [one.first_atom - number * layer for one in (qkv, ffn, kv)] == [0, 588, 3668]
        assert (qkv.shape.neurons, qkv.shape.width, qkv.shape.gated) == (147, 384, False)
        assert (ffn.shape.neurons, ffn.shape.width, ffn.shape.activation) == (1155, 128, "relu")
    assert kv.end == 2 * layer
    assert len(model.projections) == len(model.blocks) == len(model.attentions) == 2


def test_a_gated_block_has_three_vectors_a_neuron_and_shared_heads_make_a_narrower_projection(machine):
    shape = SHAPE.with_overrides(layers=1, kv_heads=2, gated=True, activation="silu")
    model = NdpModel(machine, shape, sequences=1, capacity=16)
    assert model.neuron_bytes("ffn") == 3 * 256
    assert model.neuron_bytes("attention") == (128 + 2 * 64) * 2  # queries of four heads, keys and values of two


def test_contexts_are_told_by_place_with_zero_where_no_sequence_runs(machine):
    model = NdpModel(machine, SHAPE, sequences=4, capacity=16)
    assert model.contexts(Step((1, 1), (8, 5), sequences=(3, 1))).tolist() == [0, 6, 0, 9]


def test_a_program_begins_when_it_is_asked_for_and_not_before_the_one_before_it_has_ended(machine):
    model = NdpModel(machine, SHAPE, sequences=1, capacity=16)
    shares = [np.arange(5, dtype=np.uint32), np.arange(2, dtype=np.uint32)]
    first = model.sparse("ffn", 0, shares, 5_000_000, gpu=False)
    assert first.start == 5_000_000 and model.timer.now_ps == first.end
    second = model.sparse("ffn", 0, shares, 0, gpu=False)
    assert second.start == first.end
    third = model.attend(0, np.array([4]), second.end + 123)
    assert third.start == second.end + 123 and third.partial == third.end


def test_only_sequences_that_run_are_computed(machine):
    """Five and two rows of 384 numbers for one, two and three of three sequences."""
    shares = [np.arange(5, dtype=np.uint32), np.arange(2, dtype=np.uint32)]
    for running in (1, 2, None):
        model = NdpModel(machine, SHAPE, sequences=3, capacity=16)
        model.sparse("attention", 0, shares, 0, gpu=False, sequences=running)
        assert model.work.macs_f16 == 7 * 384 * (running or 3)
        assert model.dram_bytes.tolist() == [5 * 768, 2 * 768]
        assert model.dram_bytes.sum() == 64 * model.counters[:, :, 3].sum()  # nothing but reads


def test_a_row_works_for_the_sequences_of_its_mask(machine):
    model = NdpModel(machine, SHAPE, sequences=3, capacity=16)
    shares = [np.arange(2, dtype=np.uint32), np.arange(1, dtype=np.uint32)]
    masks = [np.array([0b101, 0b010], np.uint32), np.array([0b111], np.uint32)]
    model.sparse("attention", 0, shares, 0, gpu=False, masks=[masks])
    assert model.work.macs_f16 == 6 * 384


def test_a_model_goes_on_from_its_state(machine):
    shares = [np.arange(5, dtype=np.uint32), np.arange(2, dtype=np.uint32)]
    first, second = (NdpModel(machine, SHAPE, sequences=1, capacity=16) for _ in range(2))
    first.sparse("ffn", 0, shares, 1000, gpu=True)
    state = first.state()
    kept = {name: one.copy() for name, one in state.items()}
    second.restore(state)
    assert second.stream_ps.tolist() == first.stream_ps.tolist() and first.stream_ps.min() > 0
    spans = [model.sparse("attention", 1, shares, 0, gpu=False) for model in (first, second)]
    assert spans[0] == spans[1] and first.work == second.work
    assert first.stream_ps.tolist() == second.stream_ps.tolist()
    assert first.counters.tolist() == second.counters.tolist()
    assert {name: one.tolist() for name, one in state.items()} == {name: one.tolist() for name, one in kept.items()}
