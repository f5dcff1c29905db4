"""The host controller with NDP units in its ranks, by hand.

DDR4-3200AA has nRCD = nRP = nCL = 22, nRAS = 52, nRTP = 12, nCCD_L = 8, nBL = 4 clocks.
"""

import dataclasses

import numpy as np
import pytest

from ndpsim.dram.checker.checker import check
from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.host.controller import HostConfig, simulate
from ndpsim.dram.host.shared.bursts import NdpBursts, ndp_rows, upper_rows
from ndpsim.dram.log.log import COMMANDS, read_log
from ndpsim.dram.requests.synthetic import synthetic
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.standard import load_standard
from ndpsim.errors import InputError

NOTHING = array_trace([], [])
ROW_1 = [1 << 17]  # bank 0 of bank group 0, with the map below
MAP = "rank row bank column bank_group"


def bursts(*places, write=0):
    """NDP bursts at these rows and columns, in bank 0 of bank group 0."""
    row, column = np.array(places, np.int64).reshape(-1, 2).T
    zeros = np.zeros(len(row), np.int64)
    return NdpBursts(zeros, zeros, row, column, np.full(len(row), write, np.uint8))


def run(tmp_path, ndp, addresses=(), ranks=1, **config):
    """Return the result and the log as (cycle, command, rank, row)."""
    standard = load_standard("DDR4-3200AA", ranks=ranks)
    trace = array_trace(list(addresses), [0] * len(addresses)) if addresses else NOTHING
    config = HostConfig(**{"refresh": "none", "address_map": MAP} | config)
    result = simulate(trace, standard, config, ndp=ndp, log=tmp_path / "log.h5")
    log = read_log(tmp_path / "log.h5")
    assert log.bus == "shared" and check(log, standard).legal
    names = [COMMANDS[code] for code in log.command]
    return result, list(zip(log.cycle.tolist(), names, log.rank.tolist(), log.row.tolist(), strict=True))


def test_a_unit_alone_opens_its_row_in_cycle_0_and_reads_at_the_pace_of_its_bank_group(tmp_path):
    result, log = run(tmp_path, [bursts((5, 0), (5, 1), (5, 2))])
    assert log == [(0, "ACT", 0, 5), (22, "RDN", 0, 5), (30, "RDN", 0, 5), (38, "RDN", 0, 5)]
    assert result.ndp.done.tolist() == [[38 + 22 + 4]] and result.ndp.row_hits.tolist() == [[2]]
    assert (result.cycles, result.end, result.requests) == (0, 64, 0)
    assert result.ndp.bandwidth_gb_per_s[0, 0] == pytest.approx(3 * 64 / (64 * 0.625))


def test_writes_end_after_the_write_latency(tmp_path):
    result, log = run(tmp_path, [bursts((5, 0), write=1)])
    assert log == [(0, "ACT", 0, 5), (22, "WRN", 0, 5)]
    assert result.ndp.done.tolist() == [[22 + load_standard("DDR4-3200AA").timing["nCWL"] + 4]]


def test_units_of_two_ranks_share_neither_commands_nor_data_with_each_other(tmp_path):
    _, log = run(tmp_path, [bursts((5, 0)), bursts((6, 0))], ranks=2)
    assert log == [(0, "ACT", 0, 5), (0, "ACT", 1, 6), (22, "RDN", 0, 5), (22, "RDN", 1, 6)]


def test_the_host_reads_another_rank_as_if_there_were_no_unit(tmp_path):
    result, log = run(tmp_path, [None, bursts((5, 0), (5, 1))], ROW_1, ranks=2)
    assert log == [(0, "ACT", 1, 5), (1, "ACT", 0, 1), (22, "RDN", 1, 5), (23, "RD", 0, 1), (30, "RDN", 1, 5)]
    assert result.read_latency.longest == 23 + 22 + 4


HOST_THEN_NDP = [(52, "PRE"), (74, "ACT", 1), (96, "RD"), (126, "PRE"), (148, "ACT", 3), (170, "RDN")]
NDP_THEN_HOST = [(52, "PRE"), (74, "ACT", 3), (96, "RDN"), (126, "PRE"), (148, "ACT", 1), (170, "RD")]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("host_first", HOST_THEN_NDP), ("ndp_first", NDP_THEN_HOST), ("alternate", HOST_THEN_NDP)],
)
def test_the_policy_says_whose_row_a_bank_opens_next(tmp_path, policy, expected):
    """The unit reads row 2 and wants row 3; the host waits for row 1, and has not had the last column command."""
    _, log = run(tmp_path, [bursts((2, 0), (3, 0))], ROW_1, ndp_policy=policy)
    assert log[:2] == [(0, "ACT", 0, 2), (22, "RDN", 0, 2)]
    short = [(cycle, name, row) if name == "ACT" else (cycle, name) for cycle, name, _, row in log[2:]]
    assert short == expected


def test_a_starving_request_takes_the_rank_from_its_unit_under_every_policy(tmp_path):
    for policy in ("host_first", "ndp_first", "alternate"):
        _, log = run(tmp_path, [bursts((2, 0))], ROW_1, ndp_policy=policy, starvation=10)
        assert [(cycle, name) for cycle, name, _, _ in log] == [
            (0, "ACT"), (52, "PRE"), (74, "ACT"), (96, "RD"), (126, "PRE"), (148, "ACT"), (170, "RDN"),
        ]  # fmt: skip


def test_bursts_beyond_the_window_wait_for_those_before(tmp_path):
    """Row 2 is open: with a window of 2 the third burst goes before the second."""
    order = {}
    for window in (1, 2):
        _, log = run(tmp_path, [bursts((2, 0), (3, 0), (2, 1))], ndp_window=window)
        order[window] = [(cycle, row) for cycle, name, _, row in log if name == "RDN"]
    assert order == {1: [(22, 2), (96, 3), (170, 2)], 2: [(22, 2), (30, 2), (96, 3)]}


def test_closed_rows_stay_open_for_offered_bursts(tmp_path):
    """The host's only read is an RDA, unless the unit wants the row of it too."""
    for row, command in ((1, "RD"), (7, "RDA")):
        _, log = run(tmp_path, [bursts((2, 0), (row, 9))], ROW_1, row_policy="closed")
        assert [name for _, name, _, _ in log if name.startswith("RD") and name != "RDN"] == [command]


def test_a_refresh_waits_for_offered_bursts_as_long_as_it_may_be_postponed(tmp_path):
    places = [(2, column % 128) for column in range(2000)]  # 16000 clocks, and refreshes fall due every 12480
    for postpone, expected in ((0, 1), (1, 0)):
        _, log = run(tmp_path, [bursts(*places)], refresh="all_bank", postpone=postpone)
        refreshes = [cycle for cycle, name, _, _ in log if name == "REF"]
        assert len(refreshes) == expected
        assert all(12480 < cycle < 12480 + 60 for cycle in refreshes)


def test_without_bursts_nothing_changes(tmp_path):
    standard = load_standard("DDR4-3200AA", ranks=2)
    trace = synthetic("mixed", 2000, standard)
    plain = simulate(trace, standard, log=tmp_path / "plain.h5")
    for ndp in ([None, None], [bursts(), None]):
        result = simulate(trace, standard, ndp=ndp, log=tmp_path / "ndp.h5")
        assert result.ndp is None and result.summary() == plain.summary()
        assert (tmp_path / "ndp.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


@pytest.mark.parametrize("policy", ["host_first", "ndp_first", "alternate"])
@pytest.mark.parametrize("name", ["DDR4-3200AA", "DDR5-4800B", "LPDDR5X-7500", "HBM3-6400"])
def test_the_counters_are_those_of_a_legal_log(tmp_path, name, policy):
    standard = load_standard(name, ranks=2)
    config = HostConfig(ndp_policy=policy)
    ndp = upper_rows(standard, 1000 * standard.burst_bytes)
    result = simulate(synthetic("mixed", 3000, standard), standard, config, ndp=ndp, log=tmp_path / "log.h5")
    log = read_log(tmp_path / "log.h5")
    assert check(log, standard).legal
    counted, logged = result.activity(), activity_of_log(log, standard, end=result.end)
    for field in dataclasses.fields(counted):
        expected = getattr(logged, field.name)
        found = np.broadcast_to(getattr(counted, field.name), result.ndp.bursts.shape)
        assert found.ravel().tolist() == expected.tolist(), field.name
    assert set(result.ndp.bursts.ravel()) == {1000}


def test_atoms_of_a_range_go_to_their_ranks_in_order():
    standard = load_standard("DDR4-3200AA", ranks=2)  # 512 bursts of a row in all bank groups, then the next rank
    first, second = ndp_rows(standard, None, 510, 4)
    assert (first.bank_group.tolist(), first.column.tolist()) == ([2, 3], [127, 127])
    assert (second.bank_group.tolist(), second.column.tolist()) == ([0, 1], [0, 0])
    first, second = ndp_rows(standard, "rank row bank column bank_group", 1 << 20, 8, write=True)
    assert len(second.row) == 0 and first.write.tolist() == [1] * 8
    assert first.row.tolist() == [(1 << 20) // (4 * 128 * 4)] * 8


def test_the_upper_half_of_the_rows_is_the_same_in_every_rank():
    standard = load_standard("HBM3-6400", ranks=2, channels=2)
    every = upper_rows(standard, 64 * 1024)
    assert len(every) == 2 * 2 * 2
    for one in every:
        assert one.row[0] == standard.organization.rows // 2 and len(one.row) == 64 * 1024 // standard.burst_bytes


@pytest.mark.parametrize(
    ("ndp", "config", "names"),
    [
        ([None], {}, "ndp: expected an entry for each of 2 ranks, found 1"),
        ([None, bursts((5, 128))], {}, "ndp: rank 1: column: expected an integer from 0 to 127, found 128"),
        ([None, bursts((-1, 0))], {}, "ndp: rank 1: row: expected an integer from 0 to 65535, found -1"),
        ([bursts((1, 0))._replace(write=np.zeros(2)), None], {}, "ndp: rank 0: write: expected 1 integers"),
        (None, {"ndp_window": 0}, "ndp_window: expected an integer from 1 to 64, found 0"),
        (None, {"ndp_window": 65}, "ndp_window: expected an integer from 1 to 64, found 65"),
        (None, {"ndp_policy": "fair"}, "ndp_policy: expected one of host_first, ndp_first, alternate, found 'fair'"),
    ],
)
def test_faults_are_named(ndp, config, names):
    standard = load_standard("DDR4-3200AA", ranks=2)
    with pytest.raises(InputError, match="expected") as error:
        simulate(NOTHING, standard, HostConfig(**config), ndp=ndp)
    assert names in str(error.value)


def test_ranges_outside_the_memory_are_refused():
    standard = load_standard("DDR4-3200AA", ranks=2)
    for first, atoms in ((-1, 2), (0, (1 << 28) + 1), (1 << 28, 1)):
        with pytest.raises(InputError, match="NDP atoms: expected a range"):
            ndp_rows(standard, None, first, atoms)
    for count in (0, -64, 65, (1 << 32) + 64):
        with pytest.raises(InputError, match="expected a multiple of 64 up to 4294967296"):
            upper_rows(standard, count)
