"""The arithmetic of the DRAM studies on results made by hand: ratios, bands, loads, and who falls behind."""

from types import SimpleNamespace

import numpy as np
import pytest

from ndpsim.dram.host.controller import HostConfig
from ndpsim.dram.standard.standard import load_standard
from ndpsim.studies import loaded_latency as latency_module
from ndpsim.studies import saturation as saturation_module
from ndpsim.studies.dram_reference import Comparison, Figure
from ndpsim.studies.dram_reference import ReferenceRun as ToolRun
from ndpsim.studies.loaded_latency import Curve, LoadedLatency, LoadPoint, busses, curves, random_requests, run_random
from ndpsim.studies.saturation import Saturation, SaturationComparison, compare_saturation

DDR4 = load_standard("DDR4-3200AA")
FIELDS = {"tool": "a tool", "standard": "DDR4-3200AA", "ranks": 1, "timing": {"nRCD": 20}, "tck_ps": 625}


def comparison(*, cycles=1010, mean=55.0, hits=30, **figure):
    ours = SimpleNamespace(
        cycles=cycles, read_latency=SimpleNamespace(mean=mean), row_hits=hits, bursts=40, standard=DDR4
    )
    made = Figure(**figure)
    return Comparison(ToolRun(**FIELDS, figures={"random": made}), "random", made, 500, ours, "why not")


def test_cycles_and_latency_are_ours_by_theirs():
    found = comparison(latency=50.0)
    assert found.ratio is None and found.latency_ratio == pytest.approx(1.1)
    assert found.row_hit_rate == 0.75 and not found.is_as_stated
    assert comparison(mean=51.0, latency=50.0).is_as_stated and not comparison(mean=51.1, latency=50.0).is_as_stated
    assert comparison(mean=49.0, latency=50.0).is_as_stated and not comparison(mean=48.9, latency=50.0).is_as_stated


def test_a_bandwidth_of_theirs_is_told_in_cycles():
    """500 bursts of 64 bytes at 25.6 GB/s are 1.25 us: 2000 clocks of 625 ps."""
    found = comparison(cycles=2010, gb_per_s=25.6)
    assert found.their_cycles == pytest.approx(2000) and found.ratio == pytest.approx(1.005)
    assert found.is_as_stated and found.latency_ratio is None


def test_cycles_of_theirs_are_taken_as_they_are():
    ours = SimpleNamespace(cycles=1020, read_latency=SimpleNamespace(mean=55.0), row_hits=30, bursts=40, standard=DDR4)
    figure = Figure(cycles=1000, gb_per_s=1.0)
    found = Comparison(ToolRun(**FIELDS, figures={}), "random", figure, 500, ours, "")
    assert found.their_cycles == 1000 and found.ratio == 1.02 and not found.is_as_stated


def test_a_comparison_is_reported_with_all_its_figures():
    made = Figure(cycles=1000, latency=50.0, ratio=(0.9, 1.1), latency_ratio=(1.0, 1.2), why="refresh")
    ours = SimpleNamespace(cycles=950, read_latency=SimpleNamespace(mean=55.0), row_hits=30, bursts=40, standard=DDR4)
    assert Comparison(ToolRun(**FIELDS, figures={}), "random", made, 500, ours, "why not").record() == {
        "tool": "a tool", "standard": "DDR4-3200AA", "ranks": 1, "timing": {"nRCD": 20}, "trace": "random",
        "requests": 500, "their_cycles": 1000, "our_cycles": 950, "ratio": 0.95, "ratio_band": [0.9, 1.1],
        "their_latency": 50.0, "our_latency": 55.0, "latency_ratio": pytest.approx(1.1),
        "latency_ratio_band": [1.0, 1.2], "our_row_hit_rate": 0.75, "as_stated": True, "why": "why not",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({}, "one of: cycles, gb_per_s, latency"),
        ({"cycles": 3, "ratio": (0.9, 1.1)}, "a reason where a band differs"),
        ({"cycles": 3, "latency_ratio": (0.9, 1.1)}, "a reason where a band differs"),
        ({"cycles": 3, "why": "x"}, "a reason where a band differs"),
    ],
)
def test_a_figure_has_a_value_and_a_reason_where_its_band_is_its_own(figure, message):
    with pytest.raises(ValueError, match=message):
        Figure(**figure)


SATURATION = {
    "tool": "a tool", "standard": "DDR4-3200AA", "ranks": 2, "channels": 1, "writes": 0.25, "controller": {},
    "unloaded_ns": 40.0, "gb_per_s": 20.0, "unloaded_ratio": (0.9, 1.1), "ratio": (1.0, 1.25), "why": "it is so",
}  # fmt: skip


def test_saturation_is_ours_by_theirs_within_stated_bands():
    found = SaturationComparison(Saturation(**SATURATION), 42.0, 24.0)
    assert found.unloaded_ratio == pytest.approx(1.05) and found.ratio == pytest.approx(1.2) and found.is_as_stated
    assert found.record() == {
        "tool": "a tool", "standard": "DDR4-3200AA", "ranks": 2, "their_unloaded_ns": 40.0, "our_unloaded_ns": 42.0,
        "their_gb_per_s": 20.0, "our_gb_per_s": 24.0, "unloaded_ratio": pytest.approx(1.05),
        "ratio": pytest.approx(1.2), "as_stated": True, "why": "it is so",
    }  # fmt: skip
    pairs = {(40.0, 20.0): True, (40.0, 25.0): True, (36.0, 20.0): True, (44.0, 20.0): True, (40.0, 19.9): False,
             (40.0, 25.1): False, (35.9, 20.0): False, (44.1, 20.0): False}  # fmt: skip
    for (ns, rate), stated in pairs.items():
        assert SaturationComparison(Saturation(**SATURATION), ns, rate).is_as_stated is stated


def test_saturation_is_the_latency_of_the_low_load_and_the_bandwidth_of_the_full_one(monkeypatch):
    asked = []

    def run(standard, config, load, *rest):
        asked.append((standard.organization.ranks, standard.organization.channels, load, rest))
        return LoadPoint(load, 0, 100 * load, 1000 * load, 0, False), None

    monkeypatch.setattr(saturation_module, "run_random", run)
    found = compare_saturation(Saturation(**SATURATION))
    assert (found.unloaded_ns, found.gb_per_s) == (10.0, 100.0)
    assert asked == [(2, 1, 0.01, (0.25, 100_000, 1)), (2, 1, 1.0, (0.25, 100_000, 1))]


class Latency:
    """Latencies of reads in clocks."""

    mean = 64

    def percentile(self, percent):
        return {99: 160}[percent]


def simulated(monkeypatch, cycles_of):
    """Stand a result for the controller; cycles_of: of the last arrival."""
    asked = []

    def simulate(trace, standard, config):
        asked.append(trace)
        last = int(asked[-1][-1])
        return SimpleNamespace(
            read_latency=Latency(), peak_gb_per_s=25.6, bandwidth_gb_per_s=11.0, cycles=cycles_of(last)
        )

    monkeypatch.setattr(latency_module, "array_trace", lambda address, write, arrival: arrival)
    monkeypatch.setattr(latency_module, "simulate", simulate)
    return asked


def test_a_point_has_its_load_in_bandwidth_and_its_latencies_in_nanoseconds(monkeypatch):
    asked = simulated(monkeypatch, lambda last: last)
    point, _ = run_random(DDR4, HostConfig(), 0.5, 0.25, 100, 1)
    assert point == LoadPoint(0.5, pytest.approx(12.8), 11.0, pytest.approx(40.0), pytest.approx(100.0), False)
    assert len(asked[0]) == 100
    two = load_standard("DDR5-4800B", channels=2)
    run_random(two, HostConfig(), 0.5, 0.25, 100, 1)
    assert busses(two) == 2 and len(asked[1]) == 200  # for each data bus
    assert busses(load_standard("HBM3-6400", channels=4)) == 8  # two pseudo-channels a channel


def test_a_controller_that_is_a_hundredth_of_the_run_behind_is_saturated(monkeypatch):
    for behind, saturated in ((0.98, False), (0.992, False), (1.005, False), (1.02, True), (1.5, True)):
        simulated(monkeypatch, lambda last, behind=behind: last * behind)
        assert run_random(DDR4, HostConfig(), 0.5, 0.0, 2000, 1)[0].saturated is saturated


def test_half_the_load_is_twice_the_time_between_requests():
    full, half = (random_requests(DDR4, load, 0.0, 4000, 3).arrival for load in (1.0, 0.5))
    assert np.abs(2 * full - half).max() <= 2  # but for whole clocks
    two = load_standard("DDR5-4800B", channels=2)
    assert random_requests(two, 1.0, 0.0, 40_000, 3).arrival[-1] == pytest.approx(40_000 * 8 / 2, rel=0.02)


def test_curves_are_of_all_standards_and_mixes_with_the_most_that_was_delivered(monkeypatch):
    asked, told = [], []

    def run(standard, config, load, writes, requests, seed):
        asked.append((standard.name, config, load, writes, requests, seed))
        return LoadPoint(load, load * 10, load * 9 if load < 0.9 else 7.0, 1, 2, False), SimpleNamespace(
            peak_gb_per_s=25.6
        )

    monkeypatch.setattr(latency_module, "run_random", run)
    definition = LoadedLatency(
        standards=[], loads=[0.4, 0.8, 0.95], requests=50, seed=4, mixes={"reads": 0.0, "mixed": 0.5}
    )
    own = HostConfig(row_policy="closed")
    found = curves(definition, [DDR4], own, told.append)
    assert [(one.mix, one.peak_gb_per_s, len(one.points)) for one in found] == [("reads", 25.6, 3), ("mixed", 25.6, 3)]
    assert asked[4] == (DDR4.name, own, 0.8, 0.5, 50, 4) and told == [1, 2, 3, 4, 5, 6]
    assert found[0].saturation_gb_per_s == pytest.approx(7.2)
    record = found[1].record()
    assert (record["standard"], record["mix"], record["channels"], record["ranks"]) == (DDR4.name, "mixed", 1, 1)
    assert record["points"][1] == {
        "load": 0.8, "offered_gb_per_s": 8.0, "delivered_gb_per_s": pytest.approx(7.2), "mean_ns": 1, "p99_ns": 2,
        "saturated": False,
    }  # fmt: skip
    assert isinstance(found[0], Curve) and curves(definition, [DDR4])[0].points[0].load == 0.4
    assert asked[-1][1] == HostConfig()
