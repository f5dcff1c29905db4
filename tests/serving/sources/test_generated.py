"""Requests that are drawn by chance have the lengths, prefixes and arrivals that their options say."""

import math

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.serving.sources.generated import RandomRequests, sped_up, with_rate
from ndpsim.serving.workload import Workload

MANY = RandomRequests(num_prompts=20_000, random_input_len=100, random_output_len=10, random_range_ratio=0.25)


def test_lengths_vary_evenly_over_the_whole_range():
    workload = MANY.draw(seed=3)
    for lengths, least, most in ((workload.prompts, 75, 125), (workload.outputs, 7, 13)):
        values, times = np.unique(lengths, return_counts=True)
        assert values.tolist() == list(range(least, most + 1))
        assert times == pytest.approx(20_000 / (most - least + 1), rel=0.3)
    assert np.corrcoef(workload.prompts, workload.outputs)[0, 1] == pytest.approx(0, abs=0.03)


def test_without_a_range_all_are_alike_and_nothing_is_shared():
    workload = RandomRequests(3, 5, 2).draw(seed=0)
    assert workload.prompts.tolist() == [5, 5, 5] and workload.outputs.tolist() == [2, 2, 2]
    assert workload.arrivals.tolist() == [0, 0, 0] and workload.prefix_tokens == 0


def test_an_output_has_at_least_one_token():
    assert RandomRequests(50, 1, 1, 0.9).draw(seed=0).outputs.min() == 1


def test_a_common_prefix_is_the_same_for_all_up_to_its_last_whole_block():
    workload = RandomRequests(2, random_input_len=20, random_output_len=1, random_prefix_len=40).draw(seed=0)
    assert workload.prompts.tolist() == [60, 60]
    first, second = workload.prefixes[:4].tolist(), workload.prefixes[4:].tolist()
    assert workload.prefix_starts.tolist() == [0, 4, 8] and workload.prefix_tokens == 16
    assert first[:2] == second[:2] == [0, 1]  # 32 of the 40 tokens
    assert not set(first[2:]) & set(second) and not set(second[2:]) & set(first)


def test_a_seed_gives_the_same_requests_again_and_another_others():
    assert MANY.draw(seed=1).prompts.tolist() == MANY.draw(seed=1).prompts.tolist()
    assert MANY.draw(seed=1).prompts.tolist() != MANY.draw(seed=2).prompts.tolist()


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_mean_of_the_rate_and_the_spread_of_the_burstiness(burstiness):
    workload = with_rate(MANY.draw(seed=0), rate=8.0, burstiness=burstiness, seed=5)
    gaps = np.diff(workload.arrivals) / 1e12
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)
    assert workload.arrivals[0] > 0


def test_an_endless_rate_has_all_arrive_at_once():
    assert not with_rate(with_rate(MANY.draw(0), 1.0, 1.0, 0), math.inf, 1.0, 0).arrivals.any()


def test_twice_the_speed_halves_the_times():
    workload = Workload(np.array([10, 30]), np.array([1, 1]), np.array([1, 1]))
    assert sped_up(workload, 2.0).arrivals.tolist() == [5, 15]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: RandomRequests(num_prompts=0), "num_prompts: expected 1 to 1e\\+07, found 0"),
        (lambda: RandomRequests(random_input_len=0), "random_input_len: expected 1 to"),
        (lambda: RandomRequests(random_output_len=0), "random_output_len: expected 1 to"),
        (lambda: RandomRequests(random_range_ratio=1.0), "random_range_ratio: expected 0 to 1, found 1.0"),
        (lambda: RandomRequests(random_prefix_len=-1), "random_prefix_len: expected 0 to"),
        (lambda: with_rate(MANY.draw(0), 0.0, 1.0, 0), "request_rate: expected"),
        (lambda: with_rate(MANY.draw(0), math.nan, 1.0, 0), "request_rate: expected"),
        (lambda: with_rate(MANY.draw(0), 1.0, 0.0, 0), "burstiness: expected"),
        (lambda: with_rate(MANY.draw(0), 1e-5, 1.0, 0), "request_rate: expected the last request within 9000000 s"),
        (lambda: sped_up(MANY.draw(0), -1.0), "speedup: expected"),
    ],
)
def test_options_out_of_range_are_refused_by_name(call, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        call()
