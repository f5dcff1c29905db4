"""Long trains behind long ones, and hits in the row of the train before, take ways of their own: they lead to where the
general one and the reference do."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from properties.drawn_standards import standards
from properties.stream_cases import (
    MAPS,
    check_against_the_reference,
    check_without_logs,
    fast_run,
    often_refreshed,
    runs,
    slow_run,
    unmasked,
)

from ndpsim.dram.ndp.gaps import BANK_GROUP, place
from ndpsim.dram.ndp.rank_state import ACTS_SEEN, N_ACT, RD, WR
from ndpsim.dram.ndp.timing import timing_of
from ndpsim.dram.standard.standard import load_standard, standard_names, with_overrides

LONG_ROWS = [
    {"ranks": 1, "bank_groups": 2, "banks": 2, "rows": 8, "columns": 128},
    {"ranks": 2, "bank_groups": 2, "banks": 2, "rows": 4, "columns": 256},
    {"ranks": 2, "bank_groups": 1, "banks": 4, "rows": 4, "columns": 128},
    {"ranks": 1, "bank_groups": 4, "banks": 1, "rows": 8, "columns": 64},
]
LONG = st.sampled_from([32, 64, 128, 128, 256, 256, 512]) | st.integers(20, 300)


FEW_BANKS = [{"ranks": 1, "bank_groups": groups, "banks": 1, "rows": 16, "columns": 64} for groups in (1, 2, 4, 8)]
WHOLE_TURNS = st.integers(20, 64).map(lambda turns: 8 * turns)


def check_all_ways(run, unlogged):
    check_without_logs(run, unlogged)
    assert fast_run(run, unlogged)[1] == slow_run(run)[1]


@settings(max_examples=30, deadline=None)
@given(runs(often_refreshed(LONG_ROWS), LONG, st.sampled_from(MAPS[:5])), st.sets(st.integers(0, 3), min_size=1))
def test_streams_of_long_trains_without_a_log_do_the_same(run, unlogged):
    check_all_ways(run, unlogged)


@settings(max_examples=300, deadline=None)
@given(
    runs(standards(FEW_BANKS, spare=1000), WHOLE_TURNS, st.sampled_from(MAPS[:1])),
    st.sets(st.integers(0, 3), min_size=1),
)
def test_trains_that_always_find_another_row_open_lead_to_what_the_general_way_does(run, unlogged):
    check_without_logs(run, unlogged)


@settings(max_examples=300, deadline=None)
@given(standards(FEW_BANKS), st.booleans())
def test_a_train_begins_behind_one_in_other_rows_of_its_banks_after_as_many_clocks_as_its_timing_says(standard, write):
    standard = replace(standard, refresh_rows={})
    organization = standard.organization
    timing = timing_of(standard, 1, 16)
    kind = timing.writes if write else timing.reads
    touched = organization.bank_groups
    assume(kind.near * touched >= kind.far)
    bursts = organization.columns * touched
    index, pace = (1, kind.near) if touched > 1 else (0, kind.far)
    assume(bursts >= kind.long[index])
    log = fast_run({
        "standard": standard, "map": MAPS[0], "ahead": 1, "queue": 16, "base": 0, "row_atoms": bursts, "stride": bursts,
        "streams": [unmasked([3, 5], write=write, service=ceil(standard.tck_ps))], "first_due": 1,
    })[0][0]  # fmt: skip
    cycles = np.sort(log[np.isin(log[:, 1], [RD, WR]), 0])
    after_in_group = timing.table[place(kind.command, kind.command, BANK_GROUP)]
    least = max(kind.near, after_in_group - (touched - 1) * pace)
    assert cycles[bursts] - cycles[bursts - 1] == max(kind.again[index], least)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(runs(often_refreshed(LONG_ROWS), LONG), st.sets(st.integers(0, 3), min_size=1))
def test_many_more_streams_of_long_trains_without_a_log_do_the_same(run, unlogged):
    check_all_ways(run, unlogged)


@settings(max_examples=300, deadline=None)
@given(runs(standards(LONG_ROWS, spare=1000), LONG, st.sampled_from(MAPS[:3])), st.sets(st.integers(0, 3), min_size=1))
def test_without_a_log_long_trains_lead_to_what_the_general_way_does(run, unlogged):
    check_without_logs(run, unlogged)


def one_behind_the_other(run):
    """The same run with rows that adjoin, in passes: keys of one token after the other."""
    organization = run["standard"].organization
    atoms = organization.ranks * organization.bank_groups * organization.banks * organization.rows
    rows = atoms * organization.columns // run["row_atoms"]
    streams = []
    for stream in run["streams"]:
        first = stream["rows"][0][0] if stream["rows"] else 0
        follow = [((first + k) % rows, sequences) for k, (_, sequences) in enumerate(3 * stream["rows"])]
        streams.append(stream | {"rows": follow, "write": False, "alternating": True})
    return run | {"stride": run["row_atoms"], "streams": streams}


KEYS = runs(often_refreshed(), st.integers(1, 5), st.sampled_from(MAPS)).map(one_behind_the_other)


LONG_AND_SHORT = runs(often_refreshed(LONG_ROWS), st.integers(20, 150), st.sampled_from(MAPS[:5]))


@settings(max_examples=100, deadline=None)
@given(KEYS, st.sets(st.integers(0, 3), min_size=1))
def test_rows_that_go_on_where_the_one_before_ended_do_the_same_without_a_log(run, unlogged):
    check_all_ways(run, unlogged)


@settings(max_examples=100, deadline=None)
@given(LONG_AND_SHORT.map(one_behind_the_other), st.sets(st.integers(0, 3), min_size=1))
def test_long_rows_that_go_on_where_the_one_before_ended_do_the_same_without_a_log(run, unlogged):
    check_without_logs(run, unlogged)


@pytest.mark.parametrize("rows", [3000, 20_000])
def test_more_trains_than_may_wait_are_timed_in_turns(rows):
    run = a_layer("DDR4-3200-Hermes", MAPS[1], True, 4, streams=1)
    run["streams"][0]["rows"] = [(row, 1) for row in range(rows)]
    check_without_logs(run, {0})


def a_layer(name, text, alternating, row_atoms, streams=3):
    """Streams of random rows of a matrix, a quarter of all in each."""
    standard = load_standard(name, ranks=2)
    rng = np.random.default_rng(5)
    rows = [np.flatnonzero(rng.random(800) < 0.25).tolist() for _ in range(streams)]
    return {
        "standard": standard, "organization": standard.organization.model_dump(), "map": text,
        "ahead": 4, "queue": 16, "base": 0, "row_atoms": row_atoms, "stride": row_atoms,
        "streams": [unmasked(listed, service=1000, gap=7, alternating=alternating) for listed in rows],
        "first_due": 1500,
    }  # fmt: skip


def share_of_quiet_trains(state):
    """Of activates: those of trains that leave them out of the state."""
    return 1 - state.records[:, ACTS_SEEN].sum() / state.counters[:, N_ACT].sum()


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("text", MAPS[:2])
@pytest.mark.parametrize("name", [name for name in standard_names() if name.count("-") == 1])
def test_rows_of_every_standard_are_timed_alike_with_and_without_a_log(name, text, alternating):
    organization = load_standard(name).organization
    row_atoms = organization.columns * (organization.bank_groups if text == MAPS[0] else 1)
    run = a_layer(name, text, alternating, row_atoms)
    run["streams"][1]["masked"] = True
    run["streams"][1]["rows"] = [(row, 1 + row % 3) for row, _ in run["streams"][1]["rows"]]
    check_without_logs(run, {0, 1})
    check_without_logs(run, {1, 2})


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(("text", "row_atoms", "share"), [(MAPS[1], 128, 0.8), (MAPS[0], 256, 0.5)])
def test_most_rows_of_hermes_take_the_short_way(text, row_atoms, share, alternating):
    state = fast_run(a_layer("DDR4-3200-Hermes", text, alternating, row_atoms), {0, 1, 2})[2]
    assert share_of_quiet_trains(state) > share
    state = fast_run(a_layer("DDR4-3200-Hermes", text, alternating, row_atoms // 16), {0, 1, 2})[2]
    assert share_of_quiet_trains(state) == 0


def test_a_pass_that_is_too_short_for_all_banks_leaves_their_last_bursts_where_they_were():
    run = a_layer("DDR5-4800B", MAPS[0], True, 302)
    run["standard"] = with_overrides(run["standard"], {"nRRD_S": 30})
    run |= {
        "stride": 514,
        "queue": 5,
    }  # the last burst is five groups behind the first, and one behind that of its pass
    check_without_logs(run, {0, 1, 2})


def test_bursts_of_other_banks_as_far_back_as_at_the_pace_are_not_taken_for_those_of_the_same():
    # The MAC array holds bursts of three sequences for 6 clocks, so that the third latest is 12 clocks before the last.
    standard = load_standard("DDR4-3200AA")
    organization = standard.organization.model_dump() | {"ranks": 1, "bank_groups": 4, "banks": 1, "columns": 64}
    stream = unmasked([], service=2500) | {"rows": [(0, 3), (3, 1)], "masked": True}
    run = {
        "standard": replace(standard, organization=standard.organization.model_copy(update=organization)),
        "organization": organization, "map": MAPS[0], "ahead": 2, "queue": 2, "base": 0, "row_atoms": 222,
        "stride": 225, "streams": [stream], "first_due": 10_000,
    }  # fmt: skip
    check_all_ways(run, {0})


def test_behind_a_train_that_keeps_the_array_less_long_bursts_still_keep_their_distance():
    standard = load_standard("DDR4-3200AA")
    organization = {"ranks": 2, "bank_groups": 1, "banks": 4, "rows": 4, "columns": 128}
    standard = replace(standard, organization=standard.organization.model_copy(update=organization))
    stream = unmasked([], service=625, alternating=True) | {"rows": [(k, (1, 32)[k % 2]) for k in range(19)]}
    run = {
        "standard": with_overrides(standard, {"nRFC": 54, "nREFI": 117, "nRP": 30, "nRRD_S": 54}),
        "organization": organization, "map": MAPS[0], "ahead": 3, "queue": 2, "base": 0, "row_atoms": 60,
        "stride": 60, "streams": [stream | {"masked": True}], "first_due": 247,
    }  # fmt: skip
    check_all_ways(run, {0})


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("text", MAPS[:2])
def test_long_trains_of_hermes_end_when_the_reference_says(text, alternating):
    run = a_layer("DDR4-3200-Hermes", text, alternating, 256, streams=1)
    run["standard"] = with_overrides(run["standard"], {"nREFI": 5000})
    run["streams"][0]["rows"] = run["streams"][0]["rows"][:60]
    check_against_the_reference(run)
    assert fast_run(run, {0})[1] == fast_run(run)[1]
