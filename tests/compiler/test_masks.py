"""Rows that work for some sequences of a batch only: what is compiled, what is refused, and what it saves."""

import numpy as np
import pytest
from operator_support import executed, machine, numbers, same_bits, streams

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.merge import shares_of
from ndpsim.compiler.placement import LayerShape, memory_image, place
from ndpsim.compiler.projection import Projection
from ndpsim.dimm.energy import ndp_work
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import time_program
from ndpsim.errors import InputError
from ndpsim.isa.program import Joined, to_bytes

BLOCK = LayerShape(neurons=60, width=96, activation="silu", gated=True)
CHANNELS = LayerShape(neurons=60, width=96, activation=None)


def operator(shape, dimms=3, buffer_bytes=262144):
    unit = machine(dimms, buffer_bytes)
    return (FeedForward if shape.activation else Projection)(unit, place(shape, unit))


def rows_of(compiler, *active):
    return shares_of(compiler.placement, np.array(active, int))


def result(compiler, inputs, weights, shares, masks):
    program = compiler.compile(shares, len(inputs), masks=masks)
    host_input = compiler.host_input(inputs, shares)
    host_out = executed(program, compiler.machine, memory_image(compiler.placement, weights), host_input)
    return compiler.result(host_out, shares, len(inputs))


def drawn(compiler, batch, seed=0):
    """Inputs and weights of an operator."""
    rng, shape = np.random.default_rng(seed), compiler.placement.shape
    inputs = numbers(rng, "f16", batch, shape.width if shape.activation else shape.neurons)
    return inputs, {name: numbers(rng, "f16", shape.neurons, shape.width) for name in shape.matrices}


def test_a_masked_block_is_lowered_to_these_instructions():
    # Neurons 1 and 4 are rows 0 and 1 of DIMM 1, whose masks are the entries 2 and 3 of its list section.
    block = operator(LayerShape(neurons=6, width=40))
    program = block.compile(rows_of(block, 4, 1), 2, masks=[np.array(m, np.uint32) for m in ([], [1, 3], [])])
    assert streams(program)[1] == [
        "mat.f16 m0, 0, 2, 40, 2",
        "mat.f16 m1, 4, 2, 40, 2",
        "hin [0x0], 160",
        "fill [0xe8], 0.0, 80",
        "list l0, 0, 2",
        "mask l0, 2",
        "dot m0, l0, [0x0], [0xa0], 2",
        "relu [0xa0], [0xa0], 4",
        "cvt.f32.f16 [0xa0], [0xd0], 4",
        "axpy m1, l0, [0xd0], [0xe8], 2",
        "send [0xe8], 320, 0",
        "end",
    ]
    assert [lists.tolist() for lists in program.lists.parts()] == [[], [0, 1, 1, 3], []]


def test_each_tile_of_rows_has_its_own_masks():
    projection = operator(LayerShape(neurons=9, width=32, activation=None), dimms=1, buffer_bytes=276)
    program = projection.compile(rows_of(projection, *range(9)), 2, masks=[np.arange(9, dtype=np.uint32) % 3 + 1])
    lines = [line for line in streams(program)[0] if line.split()[0] in ("list", "mask", "axpy")]
    assert [line.split()[0] for line in lines] == ["list", "mask", "axpy"] * 3
    assert [line for line in lines if "axpy" not in line] == [
        "list l0, 0, 4", "mask l0, 9", "list l0, 4, 4", "mask l0, 13", "list l0, 8, 1", "mask l0, 17",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [BLOCK, CHANNELS], ids=["block", "projection"])
def test_rows_that_work_for_all_sequences_give_what_they_give_without_masks(shape):
    compiler = operator(shape)
    shares, (inputs, weights) = rows_of(compiler, *range(0, 60, 2)), drawn(compiler, 32)
    full = [np.full(len(rows), 0xFFFFFFFF, np.uint32) for rows in shares]
    dense = result(compiler, inputs, weights, shares, None)
    assert same_bits(result(compiler, inputs, weights, shares, full), dense)
    assert np.isfinite(dense).all() and dense.any()


@pytest.mark.parametrize("shape", [BLOCK, CHANNELS], ids=["block", "projection"])
def test_each_sequence_gets_what_it_would_get_alone(shape):
    compiler = operator(shape)
    shares, (inputs, weights) = rows_of(compiler, *range(60)), drawn(compiler, 3)
    bits = np.random.default_rng(1).integers(1, 8, 60).astype(np.uint32)
    masks = [bits[neurons] for neurons in compiler.placement.neurons]
    together = result(compiler, inputs, weights, shares, masks)
    for sequence in range(3):
        own = rows_of(compiler, *np.flatnonzero(bits >> sequence & 1))
        alone = result(compiler, inputs[sequence : sequence + 1], weights, own, None)
        assert same_bits(together[sequence : sequence + 1], alone)


def test_a_mask_spares_products_and_no_row():
    block = operator(BLOCK)
    shares = rows_of(block, *range(60))
    masks = [np.full(len(rows), 0b0101, np.uint32) for rows in shares]
    dense, spared = (
        ndp_work(resolve(block.compile(shares, 4, masks=given), 262144).require_clean()) for given in (None, masks)
    )
    assert dense.macs_f16 == 4 * 60 * 3 * 96
    assert spared.macs_f16 == 2 * 60 * 3 * 96
    assert spared.vector_operations == dense.vector_operations and spared.link_bytes == dense.link_bytes


def test_a_batch_whose_rows_are_each_for_one_sequence_takes_a_fraction_of_the_time():
    projection = operator(LayerShape(neurons=600, width=1024, activation=None))
    shares = rows_of(projection, *range(600))
    masks = [np.uint32(1) << np.arange(len(rows), dtype=np.uint32) % 16 for rows in shares]
    dense, spared = (
        time_program(projection.compile(shares, 16, masks=given), projection.machine) for given in (None, masks)
    )
    assert spared.dram_bytes == dense.dram_bytes
    # a rank reads a burst of 32 values in 2.5 ns and multiplies it in 1 ns for each sequence that needs it
    assert 5 < dense.stream_ps() / spared.stream_ps() < 16 / 2.5


def test_joined_masks_give_the_same_program():
    block = operator(BLOCK)
    shares = rows_of(block, *range(60))
    masks = [np.arange(len(rows), dtype=np.uint32) % 15 + 1 for rows in shares]
    listed = block.compile(shares, 4, masks=masks)
    assert to_bytes(block.compile(Joined.of(shares), 4, masks=Joined.of(masks))) == to_bytes(listed)


def test_without_an_active_row_there_is_nothing_to_mask():
    projection = operator(CHANNELS)
    nothing = rows_of(projection)
    masks = [np.array([], np.uint32)] * 3
    assert streams(projection.compile(nothing, 4, masks=masks)) == streams(projection.compile(nothing, 4))


@pytest.mark.parametrize("shape", [BLOCK, CHANNELS], ids=["block", "projection"])
@pytest.mark.parametrize(
    ("masks", "batch", "sentence"),
    [
        ([[1], [3]], 2, "layer: expected as many masks as rows, [1, 1, 1], found [1, 1]"),
        ([[1], [3, 1], []], 2, "layer: expected as many masks as rows, [1, 1, 1], found [1, 2, 0]"),
        ([[1], [0], [1]], 2, "layer: DIMM 1: expected masks from 1 to 3, found others"),
        ([[1], [3], [4]], 2, "layer: DIMM 2: expected masks from 1 to 3, found others"),
        ([[-1], [3], [1]], 2, "layer: DIMM 0: expected masks from 1 to 3, found others"),
        ([[1.5], [3], [1]], 2, "layer: DIMM 0: expected masks from 1 to 3, found others"),
        ([[1], [1], [1 << 32]], 32, "layer: DIMM 2: expected masks from 1 to 4294967295, found others"),
        ([[1], [1], [1]], 33, "batch: expected at most 32 with masks, found 33"),
        ([[1], [1], [1]], 0, "batch: expected 1 to 255, found 0"),
    ],
)
def test_masks_that_cannot_be_are_refused(shape, masks, batch, sentence):
    compiler = operator(shape)
    with pytest.raises(InputError) as error:
        compiler.compile(rows_of(compiler, 0, 1, 2), batch, masks=[np.array(own) for own in masks])
    assert str(error.value) == sentence
