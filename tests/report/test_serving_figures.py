"""Figures of served requests, each beside a number that a person worked out."""

from dataclasses import replace

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.report.serving_figures import good, limits_of, serving_figures
from ndpsim.serving.served import BINS, Served, bin_of


def seconds(*values):
    return np.array([round(value * 10**12) for value in values], np.int64)


def ints(*values):
    return np.array(values, np.int64)


def intervals(**counts):
    found = np.zeros(BINS, np.int64)
    for name, count in counts.items():
        found[bin_of(int(name[2:]))] += count
    return found


SERVED = Served(
    arrival=seconds(0, 1, 2, 3),
    first_scheduled=seconds(0, 1, 2, 3),
    first_token=seconds(0.5, 1.25, 3, 4),
    last_token=seconds(1.5, 1.25, 3.1, 6),
    preemptions=ints(0, 0, 1, 2),
    cached=ints(0, 16, 16, 0),
    prompts=ints(10, 20, 30, 40),
    outputs=ints(3, 1, 2, 5),
    intervals=intervals(ps500_000_000_000=6, ps100_000_000_000=1),
    load=np.array([[0, 1, 0, 2], [2 * 10**12, 3, 1, 8], [5 * 10**12, 0, 0, 0]], np.int64),
    steps=9,
    kv_blocks=10,
    swapped=7,
    end=6 * 10**12,
    busy=3 * 10**12,
)


def test_rates_are_by_the_time_to_the_last_token():
    figures = serving_figures(SERVED)
    assert figures["duration"] == 6.0 and figures["completed"] == 4
    assert (figures["total_input"], figures["total_output"]) == (100, 11)
    assert figures["request_throughput"] == pytest.approx(4 / 6)
    assert figures["output_throughput"] == pytest.approx(11 / 6)
    assert figures["total_token_throughput"] == pytest.approx(111 / 6)
    assert figures["request_goodput"] is None


def test_times_to_the_first_token_count_from_the_arrival():
    figures = serving_figures(SERVED)  # 500, 250, 1000 and 1000 ms
    assert figures["mean_ttft_ms"] == pytest.approx(687.5)
    assert figures["median_ttft_ms"] == figures["p50_ttft_ms"] == pytest.approx(750)
    assert figures["std_ttft_ms"] == pytest.approx(105468.75**0.5)
    assert figures["p90_ttft_ms"] == pytest.approx(1000)
    quick = replace(SERVED, first_token=seconds(0.5, 1.25, 2.75, 4))  # 250, 500, 750 and 1000 ms
    assert serving_figures(quick)["p90_ttft_ms"] == pytest.approx(925)
    assert serving_figures(quick)["p95_ttft_ms"] == pytest.approx(962.5)
    assert serving_figures(quick)["p99_ttft_ms"] == pytest.approx(992.5)


def test_the_time_per_output_token_is_that_behind_the_first_and_a_single_token_has_none():
    figures = serving_figures(SERVED)  # 1 s over 2, none, 0.1 s over 1, 2 s over 4
    assert figures["mean_tpot_ms"] == pytest.approx(1100 / 3)
    assert figures["median_tpot_ms"] == pytest.approx(500)
    alone = replace(SERVED, outputs=ints(1, 1, 1, 1), last_token=SERVED.first_token, intervals=intervals())
    assert serving_figures(alone)["mean_tpot_ms"] is None and serving_figures(alone)["p99_itl_ms"] is None


def test_end_to_end_times_are_from_the_arrival_to_the_last_token():
    figures = serving_figures(SERVED)  # 1500, 250, 1100 and 3000 ms
    assert figures["mean_e2el_ms"] == pytest.approx(1462.5)
    assert figures["median_e2el_ms"] == pytest.approx(1300)


def test_times_between_tokens_are_those_of_all_requests():
    figures = serving_figures(SERVED)
    assert figures["mean_itl_ms"] == pytest.approx(3100 / 7)
    assert figures["median_itl_ms"] == pytest.approx(500, rel=1e-3)
    assert figures["std_itl_ms"] == pytest.approx(139.97, rel=2e-3)
    two = replace(SERVED, intervals=intervals(ps100=1, ps200=1))
    assert serving_figures(two)["p90_itl_ms"] == pytest.approx(190e-9)
    assert serving_figures(two)["median_itl_ms"] == pytest.approx(150e-9)
    three = replace(SERVED, intervals=intervals(ps100=2, ps200=1))
    assert serving_figures(three)["median_itl_ms"] == pytest.approx(100e-9)


def test_a_request_is_good_that_keeps_every_limit():
    assert good(SERVED, {"ttft": 500, "tpot": 500}).tolist() == [True, True, False, False]
    assert good(SERVED, {"ttft": 499.9}).tolist() == [False, True, False, False]
    assert good(SERVED, {"tpot": 100}).tolist() == [False, True, True, False]
    assert good(SERVED, {"e2el": 1100}).tolist() == [False, True, True, False]
    assert serving_figures(SERVED, {"ttft": 500, "tpot": 500})["request_goodput"] == pytest.approx(2 / 6)


def test_hits_preemptions_and_loads():
    figures = serving_figures(SERVED)
    assert figures["prefix_hit_rate"] == pytest.approx(0.32)
    assert (figures["preemptions"], figures["swapped_blocks"], figures["steps"]) == (3, 7, 9)
    assert figures["device_use"] == pytest.approx(0.5)
    assert figures["mean_running"] == pytest.approx((2 * 1 + 3 * 3) / 6)
    assert (figures["max_running"], figures["max_waiting"]) == (3, 1)
    assert figures["mean_kv_use"] == pytest.approx((2 * 2 + 3 * 8) / 6 / 10)
    assert figures["max_kv_use"] == pytest.approx(0.8)


def test_limits_are_read_as_vllm_and_as_a_list():
    assert limits_of("ttft:2000,tpot:200", "--goodput") == {"ttft": 2000, "tpot": 200}
    assert limits_of("e2el:1.5 ttft:3", "--goodput") == {"e2el": 1.5, "ttft": 3}


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft:", "ttft:0", "ttft:nan", "ttft:inf", "itl:3", "ttft:1,ttft:2", "ttft:x"]
)
def test_limits_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"^--goodput: expected limits in ms such as ttft:2000,tpot:200"):
        limits_of(text, "--goodput")
