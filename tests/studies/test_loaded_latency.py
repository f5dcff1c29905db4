"""Loaded latency against what queueing says must hold."""

import numpy as np
import pytest

from ndpsim.dram.address_map import host_map
from ndpsim.dram.host.controller import HostConfig
from ndpsim.dram.standard.standard import load_standard
from ndpsim.studies.loaded_latency import curves, loaded_latency, random_requests, run_random

DDR4 = load_standard("DDR4-3200AA")


def test_arrivals_are_a_poisson_process_of_the_given_load():
    requests = random_requests(DDR4, load=0.5, writes=1 / 3, requests=100_000, seed=3)
    size = host_map(None, DDR4).size
    assert size * 0.999 < requests.address.max() < size and not (requests.address % DDR4.burst_bytes).any()
    gaps = np.diff(requests.arrival)
    mean = 4 / 0.5  # nBL by the load
    assert gaps.mean() == pytest.approx(mean, rel=0.02)
    assert gaps.std() == pytest.approx(mean, rel=0.02)
    assert requests.write.mean() == pytest.approx(1 / 3, abs=0.01)
    assert len(np.unique(requests.address)) > 99_000 and not (requests.address % 64).any()
    assert requests.address.max() > 0.99 * 8 * 2**30  # the whole memory


def test_the_same_seed_gives_the_same_requests_and_another_one_others():
    first, same, other = (random_requests(DDR4, 0.3, 0.2, 1000, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first.address, other.address)


def test_a_lone_read_takes_activate_and_read():
    point, _ = run_random(DDR4, HostConfig(row_policy="closed", refresh="none"), 0.001, 0.0, 500, 1)
    assert point.mean_ns == pytest.approx((1 + 22 + 22 + 4) * 0.625, rel=0.01)  # seen a clock after entry
    assert not point.saturated


def test_latency_rises_with_load_until_the_banks_saturate():
    definition = loaded_latency().model_copy(update={"requests": 20_000, "mixes": {"reads": 0.0}})
    (curve,) = curves(definition, [DDR4])
    keeping_up = [point for point in curve.points if not point.saturated]
    means = [point.mean_ns for point in keeping_up]
    assert means == sorted(means) and means[-1] > 2 * means[0]
    assert all(point.p99_ns > point.mean_ns for point in keeping_up)
    assert all(point.delivered_gb_per_s == pytest.approx(point.offered_gb_per_s, rel=0.03) for point in keeping_up)
    # one rank activates at most four rows in each tFAW, less some 5 % for refresh
    assert curve.saturation_gb_per_s < 4 * 64 / (34 * 0.625)
    assert curve.saturation_gb_per_s > 0.9 * 4 * 64 / (34 * 0.625)
    assert [point.saturated for point in curve.points] == sorted(point.saturated for point in curve.points)


def test_two_sub_channels_carry_twice_as_much_as_one():
    one, two = (
        run_random(load_standard("DDR5-4800B", channels=channels), HostConfig(), 1.0, 0.0, 20_000, 1)[0]
        for channels in (1, 2)
    )
    assert two.delivered_gb_per_s == pytest.approx(2 * one.delivered_gb_per_s, rel=0.02)
