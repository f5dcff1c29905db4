"""The fast stream engine and the per-cycle reference send the same commands in the same cycles."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.rank_controller import RankController, parse_map, trains_of
from properties.drawn_standards import standards

from ndpsim.dram.address_map import parse_address_map
from ndpsim.dram.checker import check
from ndpsim.dram.log import COMMANDS, CommandLog
from ndpsim.dram.rank_state import LOG_COLUMNS, Log, new_state
from ndpsim.dram.standard import Organization, load_standard
from ndpsim.dram.stream import Rows, run_stream
from ndpsim.dram.stream_timing import timing_of

DDR4 = load_standard("DDR4-3200AA")
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
]
HERMES = {
    "nCL": 24, "nCWL": 16, "nBL": 4, "nRCD": 24, "nRP": 24, "nRAS": 52, "nRC": 76, "nRRD_S": 4, "nRRD_L": 6, "nFAW": 26,
    "nCCD_S": 4, "nCCD_L": 8, "nWR": 24, "nRTP": 12, "nWTR_S": 4, "nWTR_L": 12, "nRFC": 880, "nREFI": 12480,
}  # fmt: skip


@st.composite
def timings(draw):
    if draw(st.integers(0, 3)) == 0:
        return HERMES | {"nRFC": draw(st.integers(30, 200)), "nREFI": draw(st.integers(300, 900))}
    t = {name: draw(st.integers(lo, hi)) for name, lo, hi in [
        ("nCL", 4, 20), ("nCWL", 3, 12), ("nBL", 2, 4), ("nRCD", 2, 20), ("nRP", 2, 20), ("nRTP", 1, 12),
        ("nWR", 2, 20), ("nWTR_S", 1, 6), ("nRFC", 5, 60), ("nRRD_S", 1, 8),
    ]}  # fmt: skip
    t["nCWL"] = min(t["nCWL"], t["nCL"])
    t["nRAS"] = t["nRCD"] + draw(st.integers(2, 30))
    t["nRC"] = t["nRAS"] + t["nRP"]
    t["nRRD_L"] = t["nRRD_S"] + draw(st.integers(0, 6))
    t["nFAW"] = draw(st.integers(4, 50))
    t["nCCD_S"] = t["nBL"] + draw(st.integers(0, 1))
    t["nCCD_L"] = t["nCCD_S"] + draw(st.integers(0, 8))
    t["nWTR_L"] = t["nWTR_S"] + draw(st.integers(0, 8))
    t["nREFI"] = draw(st.sampled_from([0, 150, 317, 800]))
    return t


@st.composite
def ddr4(draw):
    """DDR4 with timings and clocks of all kinds."""
    return replace(
        DDR4,
        data_rate_mtps=2_000_000 // draw(st.sampled_from([500, 625, 625])),
        organization=Organization(**draw(st.sampled_from(ORGANIZATIONS))),
        timing=DDR4.timing | draw(timings()),
    )


@st.composite
def runs(draw, standards_drawn):
    standard = draw(standards_drawn)
    organization = {name: getattr(standard.organization, name) for name in ORGANIZATIONS[0]}
    atoms = int(np.prod(list(organization.values())))
    row_atoms = draw(st.integers(1, min(24, atoms // 4)))
    stride = draw(st.integers(row_atoms, row_atoms + 3))
    count = (atoms - row_atoms) // stride + 1
    streams = draw(st.lists(st.fixed_dictionaries({
        "rows": st.lists(st.integers(0, count - 1), max_size=12),
        "write": st.booleans(),
        "gap": st.sampled_from([0, 1, 7, 400, 1000]),
        "service": st.sampled_from([625, 1000, 2500, 3000, 4000, 7001, 11000]),
    }), min_size=1, max_size=3))  # fmt: skip
    return {
        "standard": standard,
        "organization": organization,
        "map": draw(st.sampled_from(MAPS)),
        "ahead": draw(st.integers(1, 5)),
        "queue": draw(st.integers(2, 9)),
        "base": 0,
        "row_atoms": row_atoms,
        "stride": stride,
        "streams": streams,
        "first_due": draw(st.integers(1, 300)),
    }


def fast_log(run, rank):
    """Run the engine on one rank; return its commands in order, and the end of each stream."""
    standard, organization = run["standard"], run["standard"].organization
    timing = timing_of(standard, run["ahead"], run["queue"])
    amap = parse_address_map(run["map"], organization).arrays()
    state = new_state(timing, [run["first_due"]] * organization.ranks)
    records = np.zeros((100_000, len(LOG_COLUMNS)), np.int64)
    log = Log(records, np.zeros(1, np.int64))
    ends = []
    now = 0
    for stream in run["streams"]:
        lists = np.array(stream["rows"], np.uint32)
        rows = Rows(run["base"], run["stride"], run["row_atoms"], 1, 0, len(lists))
        service = 0 if stream["write"] else stream["service"]
        start = ceil(now / standard.tck_ps) + stream["gap"]
        now = run_stream(
            timing, amap, state, rank, organization.ranks, stream["write"], rows, lists, start, service, log
        )
        ends.append(now)
    used = records[: log.used[0]]
    return used[np.argsort(used[:, 0], kind="stable")], ends


def slow_log(run, rank):
    organization = run["organization"]
    amap = parse_map(run["map"], organization)
    timing, tck = run["standard"].timing, run["standard"].tck_ps
    controller = RankController(timing, tck, organization, run["ahead"], run["queue"], run["first_due"])
    ends = []
    now = 0
    for stream in run["streams"]:
        rows = [(run["base"] + r * run["stride"], run["row_atoms"]) for r in stream["rows"]]
        trains = trains_of(rows, amap, organization, timing, rank)
        start = -(-now // tck) + stream["gap"]
        service = 0 if stream["write"] else stream["service"]
        if trains:  # an empty stream ends where it starts; refreshes due meanwhile are the next stream's to issue
            now = controller.run_stream(trains, "WR" if stream["write"] else "RD", start, service)
        else:
            now = start * tck
        ends.append(now)
    return controller.log, ends


@settings(max_examples=400, deadline=None)
@given(runs(ddr4()), st.integers(0, 3))
def test_the_engine_sends_the_same_commands_in_the_same_cycles_as_the_per_cycle_reference(run, rank):
    rank %= run["organization"]["ranks"]
    fast, fast_ends = fast_log(run, rank)
    slow, slow_ends = slow_log(run, rank)
    got = [(int(r[0]), COMMANDS[r[1]], *(int(x) for x in r[4:])) for r in fast]
    assert got == [tuple(entry) for entry in slow]
    assert fast_ends == slow_ends


@settings(max_examples=300, deadline=None)
@given(runs(st.one_of(ddr4(), standards(ORGANIZATIONS, spare=1000))))
def test_the_independent_checker_accepts_every_log_of_the_engine(run):
    fast, _ = fast_log(run, 0)
    log = CommandLog.of("test", "rank", **dict(zip(LOG_COLUMNS, fast.T, strict=True)))
    timing = run["standard"].timing
    standard = replace(run["standard"], timing=timing | {"nREFI": timing["nREFI"] or 1 << 29})
    report = check(log, standard)
    assert report.legal, report.counts


@pytest.mark.parametrize("name", ["interleaved", "row", "striped"])
def test_hermes_timings_agree_on_rows_of_a_real_layer(name):
    maps = {"interleaved": MAPS[0], "row": MAPS[1], "striped": MAPS[2]}
    organization = {"ranks": 4, "bank_groups": 2, "banks": 4, "rows": 131072, "columns": 128}
    run = {
        "standard": replace(DDR4, organization=Organization(**organization), timing=DDR4.timing | HERMES),
        "organization": organization, "map": maps[name], "ahead": 4, "queue": 16, "base": 77,
        "row_atoms": 33, "stride": 40,
        "streams": [
            {"rows": list(range(0, 900, 7)), "write": False, "gap": 3, "service": 4000},
            {"rows": list(range(5, 500, 11)), "write": True, "gap": 0, "service": 0},
            {"rows": list(range(0, 900, 5)), "write": False, "gap": 9000, "service": 1000},
        ],
        "first_due": 3120,
    }  # fmt: skip
    for rank in range(4):
        fast, fast_ends = fast_log(run, rank)
        slow, slow_ends = slow_log(run, rank)
        assert [(int(r[0]), COMMANDS[r[1]], *(int(x) for x in r[4:])) for r in fast] == [tuple(e) for e in slow]
        assert fast_ends == slow_ends
        assert np.diff(fast[:, 0]).min() > 0
