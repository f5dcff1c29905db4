"""The synthetic traces against the recipes in which the published comparisons of other simulators were made."""

import numpy as np
import pytest

from ndpsim.dram.address_map import HOST_FIELDS, host_map
from ndpsim.dram.requests.synthetic import MAX_REQUESTS, NAMES, synthetic
from ndpsim.dram.standard.standard import load_standard
from ndpsim.errors import InputError

N = 1_000_000
DDR4 = load_standard("DDR4-3200AA", ranks=2)


def columns(trace, size=77_777):
    return [np.concatenate(column) for column in zip(*trace.blocks(size), strict=True)]


def test_the_random_traces_are_the_first_draws_of_one_generator():
    rng = np.random.default_rng(12345)
    draws = [rng.integers(0, (8 << 30) // 64, count) * 64 for count in (N, N, 200_000)]
    for name, draw in zip(("random", "mixed", "chase"), draws, strict=True):
        assert np.array_equal(columns(synthetic(name, len(draw), DDR4))[0], draw)


def test_a_shorter_trace_is_the_start_of_a_longer_one():
    for name in NAMES:
        for short, long in zip(
            columns(synthetic(name, 1000, DDR4)), columns(synthetic(name, 3000, DDR4), 500), strict=True
        ):
            assert np.array_equal(short, long[:1000])


def test_every_third_request_of_mixed_is_a_write_and_all_others_are_reads():
    for name in NAMES:
        write = columns(synthetic(name, 1000, DDR4))[1]
        assert write.tolist() == ([0, 0, 1] * 334)[:1000] if name == "mixed" else not write.any()


def test_only_a_chase_depends_each_request_on_the_one_ahead():
    for name in NAMES:
        trace = synthetic(name, 1000, DDR4)
        after = columns(trace, 7)[3]
        assert after.tolist() == ([0] + [1] * 999 if name == "chase" else [0] * 1000)
        assert (trace.length, trace.timed, trace.dependent) == (1000, False, name == "chase")


def test_sequential_takes_one_burst_after_the_other():
    assert columns(synthetic("sequential", 1000, DDR4))[0].tolist() == list(range(0, 64_000, 64))
    assert columns(synthetic("sequential", 9, load_standard("LPDDR5X-8533")))[0].tolist() == list(range(0, 288, 32))


def test_row_hits_rotate_rank_then_bank_group_then_bank_at_the_addresses_of_the_recipe():
    i = np.arange(N)
    rank, group, bank, column, row = i % 2, i // 2 % 4, i // 8 % 4, i // 32 % 128, i // 4096
    expected = ((((row * 4 + bank) * 4 + group) * 2 + rank) * 128 + column) * 64
    assert np.array_equal(columns(synthetic("row-hit", N, DDR4))[0], expected)


@pytest.mark.parametrize("text", [None, "column row rank bank bank_group | bank ^= row, rank ^= column>>1"])
def test_row_hits_lie_in_the_same_places_under_any_map(text):
    address_map = host_map(text, DDR4)
    fields = address_map.decode(columns(synthetic("row-hit", 10_000, DDR4, address_map))[0])
    i = np.arange(10_000)
    expected = {"rank": i % 2, "bank_group": i // 2 % 4, "bank": i // 8 % 4, "column": i // 32 % 128, "row": i // 4096}
    for name in HOST_FIELDS:
        assert np.array_equal(fields[name], expected.get(name, 0 * i))


@pytest.mark.parametrize(
    ("name", "n", "words"),
    [
        ("rnd", 5, "trace: expected one of sequential, random, mixed, row-hit, chase, found 'rnd'"),
        ("random", 0, f"random: expected 1 to {MAX_REQUESTS} requests, found 0"),
        ("chase", MAX_REQUESTS + 1, "chase: expected 1 to"),
    ],
)
def test_an_unknown_name_and_an_absurd_number_are_refused(name, n, words):
    with pytest.raises(InputError, match=words):
        synthetic(name, n, DDR4)
