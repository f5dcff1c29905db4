"""The fast stream engine and the per-cycle reference send the same commands in the same cycles."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rank_controller import RankController
from oracles.rank_trains import parse_map, trains_of
from properties.drawn_standards import standards

from ndpsim.dram.address_map import parse_address_map
from ndpsim.dram.checker import check
from ndpsim.dram.log import COMMANDS, CommandLog
from ndpsim.dram.rank_state import LOG_COLUMNS, Log, new_state
from ndpsim.dram.standard import load_standard, with_overrides
from ndpsim.dram.stream import Array, Rows, run_stream
from ndpsim.dram.stream_timing import timing_of

ORGANIZATIONS = [
    {"ranks": 2, "bank_groups": 2, "banks": 2, "rows": 8, "columns": 8},
    {"ranks": 4, "bank_groups": 2, "banks": 4, "rows": 4, "columns": 16},
    {"ranks": 1, "bank_groups": 4, "banks": 2, "rows": 8, "columns": 4},
    {"ranks": 2, "bank_groups": 1, "banks": 4, "rows": 8, "columns": 8},
    {"ranks": 1, "bank_groups": 8, "banks": 1, "rows": 8, "columns": 4},
]
MAPS = [
    "row bank rank column bank_group",
    "row bank bank_group rank column",
    "row bank column rank bank_group",
    "row bank rank bank_group column",
    "rank row bank_group bank column",
    "row bank column:1 bank_group column rank",
    "row column:1 bank bank_group column rank",
    "row:1 bank column:1 row bank_group column rank",
    "bank row bank_group column rank",
    "row:2 column bank row rank bank_group",
    "row bank column:1 rank column bank_group",
    "row bank bank_group column:1 rank column",
]
ROTATING = [text for text in MAPS if text.endswith("bank_group")]


SEQUENCES = st.sampled_from([1, 1, 2, 3, 32])


@st.composite
def often_refreshed(draw):
    """A preset with timings of all kinds that is refreshed often, or never."""
    standard = draw(standards(ORGANIZATIONS))
    if draw(st.integers(0, 4)) == 0:
        return replace(standard, refresh_rows={})
    refresh = draw(st.integers(2, 150))
    return with_overrides(standard, {"nRFC": refresh, "nREFI": refresh + draw(st.integers(1, 900))})


@st.composite
def runs(draw, standards_drawn):
    standard = draw(standards_drawn)
    organization = {name: getattr(standard.organization, name) for name in ORGANIZATIONS[0]}
    atoms = int(np.prod(list(organization.values())))
    row_atoms = draw(st.integers(1, min(24, atoms // 4)))
    stride = draw(st.integers(row_atoms, row_atoms + 3))
    count = (atoms - row_atoms) // stride + 1
    streams = draw(st.lists(st.fixed_dictionaries({
        "rows": st.lists(st.tuples(st.integers(0, count - 1), SEQUENCES), max_size=12),
        "masked": st.booleans(),
        "alternating": st.booleans(),
        "write": st.booleans(),
        "gap": st.sampled_from([0, 1, 7, 400, 1000]),
        "service": st.builds(
            lambda clocks, more: ceil(clocks * standard.tck_ps) + more,
            st.sampled_from([1, 1.3, 2, 3.1, 4, 5, 6.9, 8, 12, 17.7, 40]), st.sampled_from([0, 0, 1, 30]),
        ),
    }), min_size=1, max_size=4))  # fmt: skip
    return {
        "standard": standard,
        "organization": organization,
        "map": draw(st.sampled_from(ROTATING) | st.sampled_from(MAPS)),
        "ahead": draw(st.integers(1, 4)),
        "queue": draw(st.integers(2, 9)),
        "base": 0,
        "row_atoms": row_atoms,
        "stride": stride,
        "streams": streams,
        "first_due": draw(st.integers(1, 300)),
    }


def hold_ps(stream):
    """Picoseconds for which the MAC array holds a burst or a pass, by sequences: more of them take longer."""
    more = [0] if stream["write"] else [stream["service"] * (3 + sequences) // 4 for sequences in range(33)]
    return np.array(more, np.int64)


def array_of(stream):
    """The MAC array of a stream that is not masked, or is."""
    return Array(stream["alternating"] and not stream["write"], hold_ps(stream), 0 if stream["write"] else 1)


def fast_run(run, capacity=100_000):
    """Run the engine on all ranks of a DIMM; return its commands in order, the end of each stream, and its state."""
    standard, organization = run["standard"], run["standard"].organization
    timing = timing_of(standard, run["ahead"], run["queue"])
    amap = parse_address_map(run["map"], organization).arrays()
    state = new_state(timing, [run["first_due"]] * organization.ranks)
    records = np.zeros((capacity, len(LOG_COLUMNS)), np.int64)
    log = Log(records, np.zeros(1, np.int64))
    ends = []
    now = 0
    for stream in run["streams"]:
        count = len(stream["rows"])
        masks = [(1 << sequences) - 1 for _, sequences in stream["rows"]]
        lists = np.array([row for row, _ in stream["rows"]] + masks, np.uint32)
        masked = stream["masked"] and not stream["write"]
        rows = Rows(run["base"], run["stride"], run["row_atoms"], 1, 0, count, count if masked else -1)
        start = ceil(now / standard.tck_ps) + stream["gap"]
        array = array_of(stream)
        now = run_stream(timing, amap, state, 0, organization.ranks, stream["write"], rows, lists, start, array, log)
        ends.append(now)
    used = records[: log.used[0]]
    return used[np.argsort(used[:, 0], kind="stable")], ends, state


def slow_run(run):
    """Run the reference on all ranks; return their commands as (rank, command), and the end of each stream."""
    standard, organization = run["standard"], run["organization"]
    amap = parse_map(run["map"], organization)
    ranks = range(organization["ranks"])
    controllers = [RankController(standard, run["ahead"], run["queue"], run["first_due"]) for _ in ranks]
    ends = []
    now = 0
    for stream in run["streams"]:
        rows = [(run["base"] + r * run["stride"], run["row_atoms"]) for r, _ in stream["rows"]]
        masked = stream["masked"] and not stream["write"]
        sequences = [sequences if masked else array_of(stream).sequences for _, sequences in stream["rows"]]
        hold = dict(enumerate(hold_ps(stream).tolist()))
        alternating = stream["alternating"] and not stream["write"]
        kind = "WR" if stream["write"] else "RD"
        start = ceil(now / standard.tck_ps) + stream["gap"]
        trains = [trains_of(rows, amap, organization, standard, kind, rank, sequences) for rank in ranks]
        now = max(controllers[rank].run_stream(trains[rank], kind, start, hold, alternating) for rank in ranks)
        ends.append(now)
    return [(rank, command) for rank in ranks for command in controllers[rank].log], ends


def check_against_the_reference(run):
    fast, fast_ends, _ = fast_run(run)
    slow, slow_ends = slow_run(run)
    commands = [(int(r[3]), (int(r[0]), COMMANDS[r[1]], *(int(x) for x in r[4:]))) for r in fast]
    assert sorted(commands) == sorted(slow)  # two busses may carry a command each in one clock
    assert fast_ends == slow_ends


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
    fast, _, _ = fast_run(run)
    log = CommandLog.of("test", "rank", **dict(zip(LOG_COLUMNS, fast.T, strict=True)))
    report = check(log, run["standard"])
    assert report.legal, report.counts


@settings(max_examples=200, deadline=None)
@given(runs(often_refreshed()))
def test_without_a_log_the_engine_does_the_same(run):
    logged, unlogged = fast_run(run), fast_run(run, capacity=0)
    assert unlogged[1] == logged[1]
    for one, other in zip(logged[2], unlogged[2], strict=True):
        np.testing.assert_array_equal(one, other)


def unmasked(rows, write=False, gap=0, service=1000, alternating=False):
    """A stream of rows that all work for one sequence."""
    return {
        "rows": [(row, 1) for row in rows], "masked": False, "write": write, "gap": gap, "service": service,
        "alternating": alternating,
    }  # fmt: skip


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
