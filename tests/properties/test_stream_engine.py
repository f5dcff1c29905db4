"""The fast stream engine and the per-cycle reference send the same commands in the same cycles."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.drawn_standards import standards
from properties.stream_cases import (
    MAPS,
    ORGANIZATIONS,
    ROTATING,
    check_against_the_reference,
    check_without_logs,
    fast_run,
    often_refreshed,
    runs,
    unmasked,
)

from ndpsim.dram.checker.checker import check
from ndpsim.dram.log.log import CommandLog
from ndpsim.dram.ndp.rank_state import LOG_COLUMNS
from ndpsim.dram.standard.standard import load_standard, with_overrides


@settings(max_examples=80, deadline=None)
@given(runs(often_refreshed()))
def test_the_engine_sends_the_same_commands_in_the_same_cycles_as_the_per_cycle_reference(run):
    check_against_the_reference(run)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(runs(often_refreshed()))
def test_the_engine_sends_the_same_commands_as_the_reference_in_many_more_runs(run):
    check_against_the_reference(run)


@settings(max_examples=300, deadline=None)
@given(runs(standards(ORGANIZATIONS, spare=1000)))
def test_the_independent_checker_accepts_every_log_of_the_engine(run):
    commands = np.concatenate(fast_run(run)[0])
    commands = commands[np.argsort(commands[:, 0], kind="stable")]
    log = CommandLog.of("test", "rank", **dict(zip(LOG_COLUMNS, commands.T, strict=True)))
    report = check(log, run["standard"])
    assert report.legal, report.counts


@settings(max_examples=200, deadline=None)
@given(runs(often_refreshed()), st.sets(st.integers(0, 3)))
def test_streams_without_a_log_do_the_same(run, unlogged):
    check_without_logs(run, unlogged)


@pytest.mark.parametrize("text", MAPS[:3])
@pytest.mark.parametrize("name", ["DDR4-3200AA", "DDR5-4800B", "HBM3-6400"])
def test_the_engine_agrees_with_the_reference_on_rows_of_a_real_layer(name, text):
    standard = load_standard(name, ranks=2)
    check_against_the_reference({
        "standard": standard, "organization": standard.organization.model_dump(), "map": text,
        "ahead": 4, "queue": 16, "base": 77, "row_atoms": 33, "stride": 40,
        "streams": [
            unmasked(range(0, 900, 7), gap=3, service=4000),
            unmasked(range(5, 500, 11), write=True),
            unmasked(range(0, 900, 5), gap=9000, service=1000),
            unmasked(range(0, 900, 7), gap=3, service=27000, alternating=True),
        ],
        "first_due": 3120,
    })  # fmt: skip


@pytest.mark.parametrize("beats", [0.9, 1, 1.2, 2.5])
@pytest.mark.parametrize("name", ["DDR4-3200-Hermes", "DDR4-2400R", "DDR5-4800B", "LPDDR5X-8533"])
def test_the_engine_agrees_with_the_reference_on_random_rows_as_long_as_those_of_the_dram(name, beats):
    # Row commands of up to four trains are hidden behind others, or wait for the last burst in their bank; refreshes
    # fall anywhere. The MAC array takes less time than the trains, just as much, or more.
    standard = with_overrides(load_standard(name, ranks=2), {"nREFI": 2500})
    service = ceil(beats * max(standard.timing["nCCD_S"], standard.clocks["RD"]) * standard.tck_ps)
    rng = np.random.default_rng(3)
    check_against_the_reference({
        "standard": standard, "organization": standard.organization.model_dump(), "map": ROTATING[0],
        "ahead": 4, "queue": 16, "base": 0, "row_atoms": 160, "stride": 160,
        "streams": [
            unmasked(np.flatnonzero(rng.random(240) < 0.1).tolist(), write=write, gap=5, service=service)
            for write in (False, True, False)
        ],
        "first_due": 1700,
    })  # fmt: skip
