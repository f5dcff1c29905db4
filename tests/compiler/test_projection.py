from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_support import assert_reads, executed, machine, masks_of, numbers, same_bits, streams
from oracles import decode_step as oracle

from ndpsim.compiler.merge import shares_of
from ndpsim.compiler.placement import LayerShape, memory_image, place
from ndpsim.compiler.projection import Projection
from ndpsim.dimm.timing import time_program
from ndpsim.dram.ndp.rank_state import N_WR
from ndpsim.errors import InputError


@st.composite
def tokens(draw):
    """Draw a projection, active channels, and a machine whose buffer often holds a part of it only."""
    shape = LayerShape(
        neurons=draw(st.integers(1, 100)),
        width=draw(st.integers(1, 150)),
        activation=None,
        type=draw(st.sampled_from(["f16", "bf16"])),
    )
    batch, dimms, with_gpu = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.booleans())
    density = draw(st.sampled_from([0.5, 1.0, 0.1, 0.02]))
    room = draw(st.sampled_from([0.1, 0.3, 0.6, 1.0, None]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    # from a tile of one burst, a piece as long and one scale factor, to twice all scale factors
    need = batch * (8 * min(shape.width, 32) + 2) + 8
    buffer_bytes = 262144 if room is None else int(need + room * 4 * batch * -(-shape.neurons // dimms)) & ~3
    unit = machine(dimms, buffer_bytes, str(rng.choice(["interleaved", "row", "striped"])))
    placement = place(shape, unit, first_atom=int(rng.integers(0, 1000)))
    active = np.flatnonzero(rng.random(shape.neurons) < density)
    shares = shares_of(placement, rng.permutation(active))
    return SimpleNamespace(
        shape=shape, batch=batch, machine=unit, projection=Projection(unit, placement), placement=placement,
        shares=shares, active=active,
        weights=numbers(rng, shape.type, shape.neurons, shape.width), a=numbers(rng, shape.type, batch, shape.neurons),
        gpu=rng.standard_normal((batch, shape.width)).astype(np.float32) if with_gpu else None,
        masks=draw(st.just(None) | masks_of(shares, batch)),
    )  # fmt: skip


def compiled(case):
    return case.projection.compile(case.shares, case.batch, gpu=case.gpu is not None, masks=case.masks)


def result_of(case):
    program = compiled(case)
    images = memory_image(case.placement, {"up": case.weights})
    host_input = case.projection.host_input(case.a, case.shares, case.gpu)
    host_out = executed(program, case.machine, images, host_input)
    return case.projection.result(host_out, case.shares, case.batch, gpu=case.gpu is not None)


def channels(case):
    return [held[rows] for held, rows in zip(case.placement.neurons, case.shares, strict=True)]


@settings(max_examples=100, deadline=None)
@given(tokens())
def test_a_projection_gives_what_the_oracle_gives_bit_for_bit(case):
    expected = oracle.projection(case.weights, case.a, channels(case), case.gpu, case.shape.type, case.masks)
    assert same_bits(result_of(case), expected)


@settings(max_examples=60, deadline=None)
@given(tokens())
def test_a_projection_lies_within_the_stated_bound_of_the_exact_result(case):
    exact, bound = oracle.projection_and_bound(
        case.weights, case.a, channels(case), case.gpu, case.shape.type, case.masks
    )
    assert (np.abs(result_of(case) - exact) <= bound).all()


@settings(max_examples=60, deadline=None)
@given(tokens())
def test_every_weight_is_read_once_and_not_faster_than_it_can_be(case):
    run = time_program(compiled(case), case.machine)
    assert_reads(run, [len(rows) * case.shape.row_atoms * 64 for rows in case.shares])
    assert not run.counters[:, :, N_WR].any()


def small(dimms=3, width=40, neurons=6):
    unit = machine(dimms)
    return Projection(unit, place(LayerShape(neurons, width, None), unit))


def test_a_projection_is_lowered_to_these_instructions():
    # Channels 1 and 4 are rows 0 and 1 of DIMM 1. Buffer: 2 scale factors, y, an incoming piece.
    projection = small()
    program = projection.compile(shares_of(projection.placement, np.array([4, 1])), gpu=True)
    assert streams(program) == [
        ["recv [0x4], 160, 1", "hin [0xa4], 160", "add.f32 [0x4], [0xa4], [0x4], 40", "hout [0x4], 160", "end"],
        [
            "hin [0x0], 4",
            "mat.f16 m0, 0, 2, 40, 2",
            "fill [0x4], 0.0, 40",
            "list l0, 0, 2",
            "axpy m0, l0, [0x0], [0x4], 1",
            "send [0x4], 160, 0",
            "end",
        ],
        ["end"],
    ]


def test_without_an_active_channel_the_result_is_that_of_the_gpu():
    projection = small()
    nothing = shares_of(projection.placement, np.array([], int))
    gpu = np.arange(40, dtype=np.float32)[None]
    program = projection.compile(nothing, gpu=True)
    host_input = projection.host_input(np.zeros((1, 6), np.float16), nothing, gpu)
    images = memory_image(projection.placement, {"up": np.ones((6, 40), np.float16)})
    host_out = executed(program, projection.machine, images, host_input)
    assert same_bits(projection.result(host_out, nothing, gpu=True), gpu)


def test_results_that_do_not_fit_are_made_in_tiles_of_columns():
    unit = machine(8)
    projection = Projection(unit, place(LayerShape(8192, 10240, None), unit))
    shares = shares_of(projection.placement, np.arange(4096))
    columns = {batch: len(projection.plan(shares, batch, True).columns) for batch in (1, 4, 16)}
    assert columns == {1: 1, 4: 1, 16: 3}
    axpys = [sum(line.startswith("axpy") for line in lines) for lines in streams(projection.compile(shares, 16))]
    assert axpys == [3] * 8


@pytest.mark.parametrize(
    ("shares", "batch", "sentence"),
    [
        ([[0], [0]], 1, "layer: expected rows of 3 DIMMs, found 2"),
        ([[0], [2], [1]], 1, "layer: DIMM 1: expected rows from 0 to 1, found others"),
        ([[0], [1 << 32], [1]], 1, "layer: DIMM 1: expected rows from 0 to 1, found others"),
        ([[0], [-1], [1]], 1, "layer: DIMM 1: expected rows from 0 to 1, found others"),
        ([[0], [0.5], [1]], 1, "layer: DIMM 1: expected rows from 0 to 1, found others"),
        ([[0], [1], [1]], 0, "batch: expected 1 to 255, found 0"),
        ([[0], [1], [1]], 256, "batch: expected 1 to 255, found 256"),
    ],
)
def test_what_cannot_be_compiled_is_refused(shares, batch, sentence):
    with pytest.raises(InputError) as error:
        small().compile([np.array(rows) for rows in shares], batch)
    assert str(error.value) == sentence


@pytest.mark.parametrize("shape", [LayerShape(6, 40), LayerShape(6, 40, None, type="i8")])
def test_a_layer_that_is_no_projection_is_refused(shape):
    unit = machine(2)
    with pytest.raises(InputError, match="expected a single matrix of f16 or bf16"):
        Projection(unit, place(shape, unit))


def test_a_buffer_that_holds_no_tile_is_refused():
    unit = machine(2, buffer_bytes=128)
    projection = Projection(unit, place(LayerShape(6, 40, None), unit))
    with pytest.raises(InputError, match=r"dimm\.unit\.buffer_bytes: expected at least 320 for a vector, found 128"):
        projection.compile(shares_of(projection.placement, np.arange(6)))
