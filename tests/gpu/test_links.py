"""Copies and all-reduce: latency and rates, who is used when, and the error against measurements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.gpu.card import card_names, cards_dir, load_card
from ndpsim.gpu.fit import errors, held_out, rows
from ndpsim.gpu.kernels import OP_NAMES, kernels
from ndpsim.gpu.links import LINKS
from ndpsim.gpu.measured import read_measurements

CARDS = {name: load_card(name) for name in card_names()}
MB = 2**20


def time_of(card, op, **shape):
    return float(LINKS.times(kernels([(op, "fp16", shape)]), CARDS[card], np.ones(0))[0])


@pytest.mark.parametrize("op", ["h2d", "d2h"])
def test_a_large_pinned_copy_runs_at_most_of_the_link_and_a_pageable_one_at_the_hosts_pace(op):
    size = 1 << 30
    assert time_of("rtx4090", op, bytes=size) == pytest.approx(size / (0.82 * 31.5e3), rel=1e-3)
    assert time_of("rtx4090", op, bytes=size, pageable=1) == pytest.approx(size / 12e3, rel=1e-3)
    assert time_of("t4", op, bytes=size, pageable=1) == pytest.approx(size / (0.45 * 15.8e3), rel=1e-3)


def test_a_small_copy_takes_its_latency():
    assert time_of("h100", "h2d", bytes=1) == pytest.approx(5, abs=0.01)
    assert time_of("h100", "d2h", bytes=1, pageable=1) == pytest.approx(10, abs=0.01)


def test_one_card_has_nothing_to_reduce():
    assert [time_of(card, "all_reduce", bytes=MB, gpus=1) for card in ("a100-80", "rtx4090")] == [0, 0]


def test_two_cards_send_the_whole_buffer_once():
    added = time_of("a100-80", "all_reduce", bytes=6 * MB, gpus=2) - time_of(
        "a100-80", "all_reduce", bytes=2 * MB, gpus=2
    )
    assert added == pytest.approx(4 * MB / (0.79 * 300e3))


def test_a_ring_moves_the_buffer_twice_less_what_each_card_keeps():
    added = time_of("a100-80", "all_reduce", bytes=80 * MB, gpus=8) - time_of(
        "a100-80", "all_reduce", bytes=40 * MB, gpus=8
    )
    assert added == pytest.approx(2 * 7 / 8 * 40 * MB / (0.71 * 300e3))


def test_the_switch_of_hopper_adds_up():
    added = time_of("h100", "all_reduce", bytes=512 * MB, gpus=8) - time_of(
        "h100", "all_reduce", bytes=256 * MB, gpus=8
    )
    assert added == pytest.approx(9 / 8 * 256 * MB / (0.68 * 450e3))


def test_cards_without_nvlink_share_the_path_through_the_host():
    two, four = (time_of("rtx4090", "all_reduce", bytes=64 * MB, gpus=gpus) for gpus in (2, 4))
    assert two == pytest.approx(5.3 + 64 * MB / (0.615 * 31.5e3))
    assert four == pytest.approx(5.3 + 2 * 3.1 + 1.5 * 64 * MB / (0.48 * 31.5e3 / 4))


def test_a_bridge_joins_two_cards_and_more_use_pcie():
    shape = {"bytes": 4 * MB, "gpus": 2}
    assert time_of("a40", "all_reduce", **shape) < time_of("a10g", "all_reduce", **shape) / 1.5
    shape["gpus"] = 4
    assert time_of("a40", "all_reduce", **shape) == time_of("a10g", "all_reduce", **shape)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CARDS)), st.integers(2, 16), st.integers(1, 1 << 30))
def test_no_all_reduce_beats_its_link(card, gpus, size):
    links = [CARDS[card].pcie_gb_per_s, CARDS[card].nvlink_gb_per_s]
    assert time_of(card, "all_reduce", bytes=size, gpus=gpus) > size / (max(links) * 1e3)


@pytest.mark.parametrize(("card", "most"), [("a100-80", 0.05), ("h100", 0.045), ("h200", 0.045), ("l40s", 0.06)])
def test_the_error_on_rows_left_out_of_the_fit(card, most):
    table, us = read_measurements(cards_dir() / "measured" / f"{card}-aiconfigurator.csv.gz")
    mine = (table.op == OP_NAMES.index("all_reduce")) & held_out(table)
    found = errors(LINKS.times(rows(table, mine), CARDS[card], np.ones(0)), us[mine])
    assert found.rows > 30 and found.mean < most
