"""Times of row and element-wise kernels: against a slow twin, against the data sheet, and against measurements."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.gpu_rows import BYTES, READS, microseconds

from ndpsim.gpu.card import card_names, cards_dir, load_card
from ndpsim.gpu.efficiency import predicted, prior
from ndpsim.gpu.fit import errors, fit_card, held_out, of_family, rows
from ndpsim.gpu.kernels import DTYPES, OP_NAMES, Kernels, kernels
from ndpsim.gpu.measured import read_measurements
from ndpsim.gpu.rows import PARAMETERS, ROWS, WORK

CARDS = [load_card(name) for name in card_names()]
cards = st.sampled_from(CARDS)
drawn_efficiencies = st.tuples(*(st.floats(parameter.low, parameter.high) for parameter in PARAMETERS)).map(np.array)


@st.composite
def operations(draw):
    op = draw(st.sampled_from(list(WORK)))
    shape = {"m": draw(st.integers(1, 5000)), "n": draw(st.integers(1, 60_000))}
    if op in ("rmsnorm", "layernorm"):
        shape["residual"] = draw(st.integers(0, 1))
    if op == "embedding":
        shape["rotation"] = draw(st.integers(0, 2))
    return op, draw(st.sampled_from(list(DTYPES))), shape


@settings(max_examples=300, deadline=None)
@given(st.lists(operations(), min_size=1, max_size=4), cards, drawn_efficiencies)
def test_times_are_those_of_the_slow_twin(table, card, values):
    named = {parameter.name: value for parameter, value in zip(PARAMETERS, values, strict=True)}
    wanted = [microseconds(*row, card, named) for row in table]
    assert ROWS.times(kernels(table), card, values) == pytest.approx(wanted, rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(operations(), cards, drawn_efficiencies)
def test_more_rows_never_take_less_time_except_where_indices_stop_being_walked(row, card, values):
    op, dtype, shape = row
    more = {**shape, "m": shape["m"] + (17 if op == "embedding" and shape["m"] > 16 else 1)}
    if op == "embedding" and shape["m"] <= 16:
        more["m"] = min(16, more["m"])
    few, many = ROWS.times(kernels([row, (op, dtype, more)]), card, values)
    assert many >= few * (1 - 1e-12)


@settings(max_examples=200, deadline=None)
@given(operations(), cards, drawn_efficiencies)
def test_no_kernel_beats_the_larger_of_its_two_memories(row, card, values):
    op, dtype, shape = row
    moved = (READS.get(op, 1) + 1) * shape["m"] * shape["n"] * BYTES[dtype]
    if shape.get("rotation"):
        moved /= 2
    assert float(ROWS.times(kernels([row]), card, values)[0]) > moved / (1.5 * card.l2_rate + card.memory_rate)


def test_every_row_operation_of_the_table_has_its_work():
    two_columns = kernels([(op, "fp16", {"m": 1, "n": 1}) for op in WORK])
    assert len(two_columns) == len(WORK) == 9


def of_rows(*names):
    paths = [path for name in names for path in sorted((cards_dir() / "measured").glob(f"{name}*.csv.gz"))]
    tables = [read_measurements(path) for path in paths]
    parts = [(rows(table, of_family(table, ROWS)), us[of_family(table, ROWS)]) for table, us in tables]
    joined = (np.concatenate(column) for column in zip(*(table for table, _ in parts), strict=True))
    return Kernels(*joined), np.concatenate([us for _, us in parts])


@pytest.fixture(scope="module")
def rtx4090():
    return fit_card(load_card("rtx4090"), *of_rows("rtx4090-llmservingsim"), "rtx4090-llmservingsim")


@pytest.mark.parametrize(
    ("card", "names", "most"),
    [("rtx4090", ["rtx4090-llmservingsim"], 0.10), ("a100-80", ["a100-80-vidur", "a100-80-llmcompass"], 0.07)],
)
def test_the_error_on_rows_left_out_of_the_fit(card, names, most):
    table, us = of_rows(*names)
    assert fit_card(load_card(card), table, us, card).fit.error["rows"] < most


def test_pytorch_kernels_of_the_a100_are_predicted_from_the_rtx_4090_alone(rtx4090):
    table, us = of_rows("a100-80-llmcompass")
    card = load_card("a100-80")
    found = errors(ROWS.times(table, card, predicted(ROWS, card, [rtx4090])), us)
    assert found.rows == 14 and found.mean < 0.15
    add, add_us = of_rows("a100-80-vidur")
    mine = (add.op == OP_NAMES.index("add")) & held_out(add)
    found = errors(ROWS.times(rows(add, mine), card, predicted(ROWS, card, [rtx4090])), add_us[mine])
    assert found.rows > 100 and found.mean < 0.15


def test_memory_with_check_bits_is_expected_to_be_slower():
    names = [parameter.name for parameter in PARAMETERS]
    a40, rtx3090 = (dict(zip(names, prior(ROWS, load_card(name)), strict=True)) for name in ("a40", "rtx3090"))
    assert a40["memory_share"] == pytest.approx(rtx3090["memory_share"] * 15 / 16)


@pytest.mark.slow
def test_a_million_shapes_a_second():
    card = load_card("rtx4090")
    table = kernels([(op, "fp16", {"m": m, "n": 4096}) for op in WORK for m in (1, 7, 300)])
    many = rows(table, np.arange(200_000) % len(table))
    ROWS.times(table, card, prior(ROWS, card))
    start = time.process_time()
    ROWS.times(many, card, prior(ROWS, card))
    assert time.process_time() - start < 0.2
