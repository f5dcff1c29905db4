"""The host controller beside other simulators: each figure is met, or missed by as much as is stated, for a reason."""

import pytest

from ndpsim.studies.dram_reference import SAME, compare, reference
from ndpsim.studies.saturation import compare_saturation

REFERENCE = reference()


def name(run):
    return f"{run.tool}, {run.standard}, {run.ranks}"


def check(run):
    compared = compare(REFERENCE.model_copy(update={"run": [run]}))
    assert [one.record() for one in compared if not one.is_as_stated] == []
    for one in compared:
        rates = REFERENCE.row_hit_rate.get(run.standard)
        if rates is not None:
            low, high = rates[one.trace]
            assert low <= one.row_hit_rate <= high, one.trace


FAST = [run for run in REFERENCE.run if run.tool == "Ramulator 2.1" and run.standard == "DDR4-3200AA"]


@pytest.mark.parametrize("run", FAST, ids=name)
def test_figures_of_the_newest_simulator_are_met_as_stated(run):
    check(run)


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in REFERENCE.run if run not in FAST], ids=name)
def test_figures_of_every_other_run_are_met_as_stated(run):
    check(run)


def test_most_figures_of_reads_on_one_rank_agree_within_one_percent():
    figures = [
        figure.ratio
        for run in REFERENCE.run
        if run.ranks == 1
        for trace, figure in run.figures.items()
        if trace in ("sequential", "row-hit", "chase")
    ]
    assert len(figures) == 19
    assert sum(ratio == SAME for ratio in figures) == 14


@pytest.mark.slow
@pytest.mark.parametrize("published", REFERENCE.saturation, ids=lambda one: f"{one.standard}, {one.ranks}")
def test_published_saturation_is_met_as_stated(published):
    found = compare_saturation(published)
    assert found.is_as_stated, found.record()
