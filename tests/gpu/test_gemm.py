"""Times of matrix products: against a slow twin, and against what no card can beat."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.gemm import FORMATS, microseconds

from ndpsim.gpu.card import card_names, load_card
from ndpsim.gpu.efficiency import efficiencies, prior
from ndpsim.gpu.gemm import GEMM, PARAMETERS, SPLITS, TILES
from ndpsim.gpu.kernels import DTYPES, kernels
from ndpsim.gpu.model import GpuModel

CARDS = [load_card(name) for name in card_names()]
LOW, HIGH = (np.array([getattr(parameter, bound) for parameter in PARAMETERS]) for bound in ("low", "high"))


def time_of(card, values, op="gemm", dtype="fp16", **shape):
    return float(GEMM.times(kernels([(op, dtype, shape)]), card, values)[0])


def table(dtype, shapes):
    return kernels([("gemm", dtype, dict(zip("mnk", shape, strict=True))) for shape in shapes])


cards = st.sampled_from(CARDS)
dtypes = st.sampled_from(list(DTYPES))
drawn_efficiencies = st.tuples(*(st.floats(parameter.low, parameter.high) for parameter in PARAMETERS)).map(np.array)
sizes = st.one_of(st.integers(1, 300), st.integers(1, 30_000), st.sampled_from([16, 17, 64, 128, 256, 4096, 11008]))


@st.composite
def products(draw):
    op = draw(st.sampled_from(["gemm", "gemv", "sparse_gemm"]))
    shape = {"m": 1 if op == "gemv" else draw(sizes), "n": draw(sizes), "k": draw(sizes)}
    if draw(st.booleans()):
        shape["rotation"] = draw(st.integers(0, 8))
    if op == "sparse_gemm" and draw(st.booleans()):
        shape["row"] = draw(st.integers(0, 30_000))
    return op, draw(dtypes), shape


def test_the_oracle_knows_the_same_number_formats():
    assert {name: (kind.weight, kind.activation) for name, kind in DTYPES.items()} == {
        name: kind[:2] for name, kind in FORMATS.items()
    }


@settings(max_examples=300, deadline=None)
@given(st.lists(products(), min_size=1, max_size=4), cards, drawn_efficiencies)
def test_times_are_those_of_the_slow_twin(rows, card, values):
    named = {parameter.name: value for parameter, value in zip(PARAMETERS, values, strict=True)}
    wanted = [microseconds(*row, card, named) for row in rows]
    assert GEMM.times(kernels(rows), card, values) == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(products(), cards, drawn_efficiencies)
def test_no_product_beats_the_data_sheet(row, card, values):
    op, dtype, shape = row
    shape.pop("rotation", None)
    kind = DTYPES[dtype]
    found = time_of(card, values, op, dtype, **shape)
    flops = 2 * shape["m"] * shape["n"] * shape["k"]
    assert found > kind.weight * shape["n"] * shape["k"] / card.memory_rate  # weights come from DRAM
    assert found > flops / (1.1 * card.rate(kind.rate))  # 1.1: clocks above the data sheet's


@settings(max_examples=200, deadline=None)
@given(cards, dtypes, st.integers(1, 64), sizes, sizes, st.integers(0, 30_000), drawn_efficiencies)
def test_gathered_rows_take_at_least_the_time_of_their_bytes_and_of_a_dense_product(card, dtype, m, n, k, row, values):
    length = row or k
    fetched = n * k * (DTYPES[dtype].weight + 128 / length)
    gathered = time_of(card, values, "sparse_gemm", dtype, m=m, n=n, k=k, row=row)
    assert gathered > fetched / card.memory_rate
    longer = time_of(card, values, "sparse_gemm", dtype, m=m, n=n, k=k, row=2 * length)
    assert longer <= gathered * (1 + 1e-12)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_fewer_weight_bytes_never_take_longer_where_memory_decides(card):
    shapes = [(m, n, k) for m in (1, 2, 8, 16) for n in (4096, 11008, 28672) for k in (2048, 4096, 14336)]
    values = efficiencies(GEMM, card)
    fp16, int8, int4 = (
        GEMM.times(table(dtype, shapes), card, values) for dtype in ("fp16", "int8-weights", "int4-weights")
    )
    assert (int8 < fp16).all() and (int4 < int8).all()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
@pytest.mark.parametrize("dtype", ["fp16", "int8-weights"])
def test_a_larger_product_is_never_much_faster(card, dtype):
    """A given tile and split never get faster, but beyond half a tile, and where each part of a split has two steps at
    last, one more tile or split may be chosen. It halves a latency at best that is a fifth of the time with launch.
    """
    ms = sorted({1, 2, 4, 8, 16, 64, 100, 128, 256, 1000, *(int(t) // 2 + d for t in TILES[:, 0] for d in (0, 1))})
    ks = sorted({64, 100, 1000, 11008, *(int(128 * s) + d for s in SPLITS for d in (-1, 0))})
    ns = [1, 64, 65, 500, 1024, 4096, 11008, 30_000]
    shapes = np.array([(m, n, k) for m in ms for n in ns for k in ks])
    for values in (prior(GEMM, card), efficiencies(GEMM, card)):
        times = GEMM.times(table(dtype, shapes.tolist()), card, values).reshape(len(ms), len(ns), len(ks))
        for axis in range(3):
            least_after = np.flip(np.minimum.accumulate(np.flip(times, axis), axis), axis)
            assert (least_after / times).min() > 0.9


def test_an_l2_that_holds_the_weights_saves_their_way_from_dram():
    card = load_card("rtx4090")
    values = prior(GEMM, card)
    cold, hot, too_many = (time_of(card, values, m=1, n=4096, k=4096, rotation=copies) for copies in (0, 1, 6))
    assert hot < 0.7 * cold
    assert cold * 0.98 < too_many <= cold  # 6 copies of 34 MB outgrow 72 MB


def test_waves_quantize_the_time_of_large_products():
    card = load_card("a100-80")
    values = prior(GEMM, card)
    whole, one_more = (time_of(card, values, m=256 * 108, n=128 * width, k=4096) for width in (8, 8.0625))
    assert one_more / whole > 1.05


@pytest.mark.slow
@pytest.mark.parametrize("op", ["gemm", "sparse_gemm"])
def test_a_million_shapes_take_seconds_at_most(op):
    rng = np.random.default_rng(1)
    shapes = rng.integers(1, 10_000, (50_000, 3)).tolist()
    rows = kernels([(op, "fp16", dict(zip("mnk", shape, strict=True))) for shape in shapes])
    card = load_card("h100")
    values = prior(GEMM, card)
    GEMM.times(rows, card, values)
    began = time.process_time()
    GEMM.times(rows, card, values)
    assert len(rows) / (time.process_time() - began) > 200_000


@pytest.mark.parametrize("name", card_names())
def test_weights_in_the_l2_are_never_slower_than_weights_in_memory(name):
    hot, cold = (gemv_us(name, rotation) for rotation in (1, 0))
    assert hot <= cold * (1 + 1e-9)
    if name == "l40s":  # 96 MB, and a memory that is slow beside them
        assert hot < 0.8 * cold


def gemv_us(name, rotation):
    shape = {"m": 1, "n": 4096, "k": 2048, "rotation": rotation}
    return GpuModel.load(name).microseconds(kernels([("gemm", "fp16", shape)]))[0]
