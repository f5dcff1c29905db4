"""Streams of random rows on random standards, run by the fast engine and by the per-cycle reference."""

from dataclasses import replace
from math import ceil

import numpy as np
from hypothesis import strategies as st
from oracles.rank_controller import RankController
from oracles.rank_trains import parse_map, trains_of
from properties.drawn_standards import standards

from ndpsim.dram.address_map import parse_address_map
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp.engine import run_stream
from ndpsim.dram.ndp.mac_array import Array, holds_of
from ndpsim.dram.ndp.rank_state import LOG_COLUMNS, new_log, new_state
from ndpsim.dram.ndp.rows import StreamRows
from ndpsim.dram.ndp.timing import timing_of
from ndpsim.dram.standard.standard import with_overrides

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
    "row bank bank_group rank column | rank ^= row",
    "bank row rank column bank_group | rank ^= row",
]
ROTATING = [text for text in MAPS if text.endswith("bank_group")]


ANY_MAP = st.sampled_from(ROTATING) | st.sampled_from(MAPS)
SHORT = st.integers(1, 24)
SEQUENCES = st.sampled_from([1, 1, 2, 3, 32])


@st.composite
def often_refreshed(draw, organizations=None):
    """A preset with timings of all kinds that is refreshed often, or never."""
    standard = draw(standards(organizations or ORGANIZATIONS))
    if draw(st.integers(0, 4)) == 0:
        return replace(standard, refresh_rows={})
    refresh = draw(st.integers(2, 150))
    return with_overrides(standard, {"nRFC": refresh, "nREFI": refresh + draw(st.integers(1, 900))})


@st.composite
def runs(draw, standards_drawn, row_atoms=SHORT, maps=ANY_MAP):
    """A run of up to four streams; row_atoms: bursts of a matrix row."""
    standard = draw(standards_drawn)
    organization = {name: getattr(standard.organization, name) for name in ORGANIZATIONS[0]}
    atoms = int(np.prod(list(organization.values())))
    row_atoms = min(draw(row_atoms), atoms // 4)
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
        "map": draw(maps),
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


def array_of(stream, timing):
    """The MAC array of a stream, masked or not."""
    read = not stream["write"]
    return Array(stream["alternating"] and read, holds_of(timing, hold_ps(stream)), int(read))


def fast_run(run, unlogged=(), capacity=100_000, fast=True):
    """Run the engine on all ranks of a DIMM; return commands by stream, the end of each stream, and the state.

    The streams with the numbers `unlogged` write no commands; fast: whether their row commands may be left out.
    """
    standard, organization = run["standard"], run["standard"].organization
    timing = timing_of(standard, run["ahead"], run["queue"])
    amap = parse_address_map(run["map"], organization).arrays()
    state = new_state(timing, [run["first_due"]] * organization.ranks)
    logs, ends = [], []
    now = 0
    for number, stream in enumerate(run["streams"]):
        log = None if number in unlogged else new_log(capacity)
        count = len(stream["rows"])
        masks = [(1 << sequences) - 1 for _, sequences in stream["rows"]]
        lists = np.array([row for row, _ in stream["rows"]] + masks, np.uint32)
        masked = stream["masked"] and not stream["write"]
        rows = StreamRows(run["base"], run["stride"], run["row_atoms"], 1, 0, count, count if masked else -1)
        start = ceil(now / standard.tck_ps) + stream["gap"]
        array = array_of(stream, timing)
        now = run_stream(
            timing, amap, state, 0, organization.ranks, stream["write"], rows, lists, start, array, fast, log
        )
        logs.append(log.records[: log.used[0]] if log else np.zeros((0, len(LOG_COLUMNS)), np.int64))
        ends.append(now)
    return logs, ends, state


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
        sequences = [sequences if masked else int(not stream["write"]) for _, sequences in stream["rows"]]
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
    commands = [(int(r[3]), (int(r[0]), COMMANDS[r[1]], *(int(x) for x in r[4:]))) for r in np.concatenate(fast)]
    assert sorted(commands) == sorted(slow)  # two busses may carry a command each in one clock
    assert fast_ends == slow_ends


def check_without_logs(run, unlogged):
    """Streams without a log end when they would with one, count the same, and leave the same to those behind them."""
    logs, ends, state = fast_run(run)
    for fast in (True, False):
        some_logs, some_ends, some_state = fast_run(run, unlogged, fast=fast)
        assert some_ends == ends
        np.testing.assert_array_equal(some_state.counters, state.counters)
        for number, (log, other) in enumerate(zip(logs, some_logs, strict=True)):
            if number not in unlogged:
                np.testing.assert_array_equal(other, log)
    np.testing.assert_array_equal(some_state.records, state.records)  # the general way is one, with and without a log


def unmasked(rows, write=False, gap=0, service=1000, alternating=False):
    """A stream of rows that all work for one sequence."""
    return {
        "rows": [(row, 1) for row in rows], "masked": False, "write": write, "gap": gap, "service": service,
        "alternating": alternating,
    }  # fmt: skip
