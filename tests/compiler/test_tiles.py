"""Feed-forward blocks of any batch, and the tiles in which they are computed."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_support import assert_reads, executed, machine, masks_of, numbers, same_bits, streams
from oracles import decode_step as oracle

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.merge import shares_of
from ndpsim.compiler.placement import LayerShape, memory_image, place
from ndpsim.compiler.tiles import Room, cut, plan_block
from ndpsim.dimm.timing import time_program
from ndpsim.dram.ndp.rank_state import N_WR
from ndpsim.errors import InputError


@st.composite
def tokens(draw, relu=False):
    """Draw a block, active neurons, and a machine whose buffer often holds a part of it only."""
    shape = LayerShape(
        neurons=draw(st.integers(1, 60)),
        width=draw(st.integers(1, 200)),
        activation="relu" if relu else draw(st.sampled_from(["relu", "silu", "gelu"])),
        gated=False if relu else draw(st.booleans()),
        type=draw(st.sampled_from(["f16", "bf16"])),
    )
    batch, dimms, with_gpu = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.booleans())
    density = draw(st.sampled_from([0.5, 1.0, 0.1, 0.02]))
    room = draw(st.sampled_from([0.0, 0.1, 0.3, 1.0, None]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    # the narrow values of all neurons, and beside them from one burst and two neurons, or a tile of the results, to all
    held, cols = -(-shape.neurons // dimms), min(shape.width, 32)
    need = 2 * batch * held + 16 + batch * max(2 * cols + 24, 8 * cols)
    more = batch * (10 * shape.width + 12 * held)
    buffer_bytes = 262144 if room is None else int(need + room * more) & ~3
    unit = machine(dimms, buffer_bytes, str(rng.choice(["interleaved", "row", "striped"])))
    active = np.flatnonzero(rng.random(shape.neurons) < density)
    placement = place(shape, unit, first_atom=int(rng.integers(0, 1000)))
    shares = shares_of(placement, rng.permutation(active))
    return SimpleNamespace(
        shape=shape, batch=batch, machine=unit, block=FeedForward(unit, placement), placement=placement,
        shares=shares, active=active,
        weights={name: numbers(rng, shape.type, shape.neurons, shape.width) for name in shape.matrices},
        x=numbers(rng, shape.type, batch, shape.width),
        gpu=rng.standard_normal((batch, shape.width)).astype(np.float32) if with_gpu else None,
        masks=draw(st.just(None) | masks_of(shares, batch)),
    )  # fmt: skip


def compiled(case):
    return case.block.compile(case.shares, case.batch, gpu=case.gpu is not None, masks=case.masks)


def result_of(case):
    program = compiled(case)
    host_input = case.block.host_input(case.x, case.shares, case.gpu)
    host_out = executed(program, case.machine, memory_image(case.placement, case.weights), host_input)
    return case.block.result(host_out, case.shares, case.batch, gpu=case.gpu is not None)


def plan_of(case):
    return case.block.plan(case.shares, case.batch, case.gpu is not None)


def neurons(case):
    return [held[rows] for held, rows in zip(case.placement.neurons, case.shares, strict=True)]


@settings(max_examples=150, deadline=None)
@given(tokens())
def test_a_block_gives_what_the_oracle_gives_bit_for_bit(case):
    expected = oracle.block(
        case.weights, case.x, neurons(case), case.gpu, plan_of(case).cols,
        kind=case.shape.type, activation=case.shape.activation, gated=case.shape.gated, masks=case.masks,
    )  # fmt: skip
    assert same_bits(result_of(case), expected)


@pytest.mark.parametrize(
    ("neurons_", "width", "buffer_bytes", "fused", "inputs", "rows", "results"),
    [
        (80, 100, 2900, True, 1, 1, 1),
        (480, 20, 780, True, 1, 14, 1),
        (80, 100, 1800, False, 1, 1, 1),
        (80, 100, 1300, False, 1, 1, 2),
        (80, 100, 1100, False, 1, 2, 4),
        (80, 100, 680, False, 2, 4, 4),
    ],
)
def test_each_order_and_every_kind_of_tile_gives_what_the_oracle_gives(
    neurons_, width, buffer_bytes, fused, inputs, rows, results
):
    rng = np.random.default_rng(buffer_bytes)
    shape, unit = LayerShape(neurons_, width, "silu", gated=True), machine(2, buffer_bytes)
    placement = place(shape, unit)
    case = SimpleNamespace(
        shape=shape, batch=2, machine=unit, block=FeedForward(unit, placement), placement=placement,
        shares=shares_of(placement, np.arange(neurons_)), x=numbers(rng, "f16", 2, width), gpu=None, masks=None,
        weights={name: numbers(rng, "f16", neurons_, width) for name in shape.matrices},
    )  # fmt: skip
    plan = plan_of(case)
    found = plan.fused, len(plan.columns), len(cut(neurons_ // 2, plan.sums.tile)), len(plan.sums.columns)
    assert found == (fused, inputs, rows, results)
    expected = oracle.block(
        case.weights, case.x, neurons(case), None, plan.cols, kind="f16", activation="silu", gated=True
    )
    assert same_bits(result_of(case), expected)


@settings(max_examples=60, deadline=None)
@given(tokens(relu=True))
def test_a_relu_block_lies_within_the_stated_bound_of_the_exact_result(case):
    exact, bound = oracle.block_and_bound(
        case.weights, case.x, neurons(case), case.gpu, plan_of(case).cols, case.shape.type, case.masks
    )
    assert (np.abs(result_of(case) - exact) <= bound).all()


@settings(max_examples=60, deadline=None)
@given(tokens())
def test_every_weight_is_read_once_and_not_faster_than_it_can_be(case):
    run = time_program(compiled(case), case.machine)
    assert_reads(run, [len(rows) * case.shape.neuron_bytes for rows in case.shares])
    assert not run.counters[:, :, N_WR].any()


def test_sixteen_sequences_of_a_70b_block_are_computed_in_tiles():
    unit = machine(8)
    placement = place(LayerShape(28672, 8192, "silu", gated=True), unit)
    active = np.arange(0, 28672, 5)
    program = FeedForward(unit, placement).compile(shares_of(placement, active), 16)
    heads = [line.split()[0] for line in streams(program)[0]]
    # three tiles of inputs, with two dot products each, and three of results
    assert (heads.count("hin"), heads.count("dot"), heads.count("axpy"), heads.count("hout")) == (4, 8, 3, 3)


def test_inputs_are_brought_again_for_each_tile_of_neurons():
    unit = machine(1, buffer_bytes=1024)
    block = FeedForward(unit, place(LayerShape(64, 256), unit))
    shares = shares_of(block.placement, np.arange(64))
    plan = block.plan(shares, 2, False)
    tiles = len(cut(64, plan.sums.tile))
    assert tiles > 1 and len(plan.columns) > 1
    (data,) = block.host_input(np.zeros((2, 256), np.float16), shares)
    assert len(data) == tiles * 2 * 256 * 2


@pytest.mark.parametrize(("batch", "rows"), [(1, 700), (4, 700), (5, 700), (8, 700), (16, 700), (4, 3584), (16, 3584)])
def test_no_other_tiles_take_fewer_stream_instructions(batch, rows):
    """Tries every number of tiles of inputs, results and neurons, and adds up the bytes that each would need."""
    width, buffer_bytes = 8192, 262144
    plan = plan_block(LayerShape(28672, width, "silu", gated=True), batch, rows, Room(buffer_bytes, 16, True, 4096))
    found = -(-rows // plan.sums.tile) * (2 * len(plan.columns) + len(plan.sums.columns))
    fewest = 1 << 30
    for inputs in range(1, 17):
        x = 2 * batch * -(-width // (32 * inputs)) * 32
        for results in range(1, 17):
            y = 4 * batch * -(-width // (32 * results)) * 32 + 4096
            for tiles in range(1, 33):
                tile = -(-rows // tiles)
                wide = 4 * batch * tile * (2 if inputs == 1 else 3)
                split = max(x + wide, y) + 2 * batch * rows + 16 <= buffer_bytes
                fused = inputs == results == 1 and x + y + batch * tile * 10 + 16 <= buffer_bytes
                if split or fused:
                    fewest = min(fewest, tiles * (2 * inputs + results))
    assert found <= fewest


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_tiles_of_columns_are_whole_bursts(batch):
    plan = plan_block(LayerShape(4096, 8190, "relu"), batch, 600, Room(131072, 16, True, 4096))
    for columns in (plan.columns, plan.sums.columns):
        assert all(first % 32 == 0 for first, _ in columns)
        assert sum(count for _, count in columns) == 8190


def test_more_neurons_than_a_dimm_has_room_for_are_refused():
    unit = machine(1)
    block = FeedForward(unit, place(LayerShape(28672, 8192), unit))
    with pytest.raises(InputError) as error:
        block.compile(shares_of(block.placement, np.arange(28672)), 16)
    assert str(error.value) == (
        "batch: expected at most 5 for a buffer of 262144 bytes and 28672 active neurons of a DIMM, found 16"
    )


def test_a_buffer_without_room_for_one_vector_is_refused_with_what_would_be_enough():
    placement = place(LayerShape(600, 40), machine(1))
    active = shares_of(placement, np.arange(600))
    with pytest.raises(InputError) as error:
        FeedForward(machine(1, 192), placement).compile(active, 3)
    # 80 bytes of inputs, 160 of results, 6 of the values of one neuron: the next multiple of 64
    assert str(error.value) == (
        "dimm.unit.buffer_bytes: expected at least 256 for a vector and 600 active neurons of a DIMM, found 192"
    )
    FeedForward(machine(1, 256), placement).compile(active, 1)


def test_tiles_of_columns_follow_the_return_queue_of_the_machine():
    """A tile of inputs takes at most some 96 bursts here; three tiles of 86 would do, were they not whole passes."""
    shape = LayerShape(4096, 8192, "relu")
    bursts = {queue: plan_block(shape, 16, 600, Room(200000, queue, True, 4096)).cols // 32 for queue in (8, 16, 64)}
    assert bursts == {8: 88, 16: 96, 64: 64}


@pytest.mark.parametrize("queue", [16, 32])
def test_the_return_queue_of_the_machine_is_that_of_its_plans(queue):
    unit = machine(2, 131072, queue=queue)
    block = FeedForward(unit, place(LayerShape(4096, 8192, "relu"), unit))
    shares = shares_of(block.placement, np.arange(1200))
    assert block.plan(shares, 16, True) is plan_block(block.placement.shape, 16, 640, Room(131072, queue, True, 4096))


def test_a_single_matrix_is_refused():
    unit = machine(2)
    with pytest.raises(InputError, match="expected a block with an activation, found a single matrix"):
        FeedForward(unit, place(LayerShape(6, 40, None), unit))
