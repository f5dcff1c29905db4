"""Closed forms, in timing names alone, that a controller meets on every standard: here within one percent.

The refresh factor: every nREFI clocks a rank stops. From its last command on, it waits until its banks may close (nRTP
after a read, nRAS after an ACT), nRP for that, nRFC for REF, and nRCD until data flow again. It works in the rest.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from ndpsim.dram.address_map import host_map
from ndpsim.dram.host.controller import HostConfig, simulate
from ndpsim.dram.requests.synthetic import synthetic
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.standard import Standard, load_standard, with_overrides

STANDARDS = ("DDR4-2400R", "DDR4-3200AA", "DDR5-4800B", "DDR5-6400B", "LPDDR5X-8533", "HBM2E-3200", "HBM3-6400")
MAP = "row bank bank_group rank column pseudo_channel channel"
N = 200_000
every_standard = pytest.mark.parametrize("name", STANDARDS)


def one_rank(name: str, overrides: Mapping[str, int] | None = None) -> Standard:
    return with_overrides(load_standard(name, ranks=1, channels=1), overrides or {})


def addresses(standard: Standard, **fields):
    """Addresses of bursts in the first pseudo-channel: of the fields not given, all are 0."""
    mapped = host_map(MAP, standard)
    counts = mapped.counts()
    given = {name: np.zeros(len(next(iter(fields.values()))), np.int64) for name in counts}
    return mapped.encode(given | {name: values % counts[name] for name, values in fields.items()})


def clocks(standard: Standard, address, *, chase: bool = False, **config) -> float:
    """Clocks for a request, of reads at these addresses."""
    after = np.minimum(np.arange(len(address)), 1) if chase else None
    result = simulate(array_trace(address, after=after), standard, HostConfig(address_map=MAP, **config))
    return result.cycles / len(address)


def activate_to_read(standard: Standard) -> int:
    return standard.timing.get("nRCD") or standard.timing["nRCDRD"]


def precharge_all(standard: Standard) -> int:
    return standard.timing.get("nRPab") or standard.timing["nRP"]


def at_work(standard: Standard, closing: str) -> float:
    """The refresh factor: the share of time in which a rank does work (see above)."""
    t = standard.timing
    stopped = t[closing] + precharge_all(standard) + t["nRFC"] + activate_to_read(standard)
    return 1 - stopped / t["nREFI"]


@every_standard
def test_row_hits_in_all_bank_groups_are_bound_by_the_data_bus(name):
    standard = one_rank(name)
    i, groups = np.arange(N), standard.organization.bank_groups
    found = clocks(standard, addresses(standard, bank_group=i, column=i // groups))
    assert found == pytest.approx(standard.timing["nBL"] / at_work(standard, "nRTP"), rel=0.01)


@every_standard
def test_row_hits_in_one_bank_group_are_bound_by_tCCD_L(name):
    standard = one_rank(name)
    found = clocks(standard, addresses(standard, column=np.arange(N)), read_queue=1)
    assert found == pytest.approx(standard.timing["nCCD_L"] / at_work(standard, "nRTP"), rel=0.01)


ACT_BOUND = {
    # Where RD and ACT always meet on the command bus, ACT is late and each tFAW longer (see below); not with this nRCD.
    "DDR4-3200AA": {"nRCD": 23},
    "DDR5-4800B": {"nRCD": 43},
    "LPDDR5X-8533": {"nRCD": 21},
}


@every_standard
def test_random_rows_are_bound_by_activates(name):
    standard = one_rank(name, ACT_BOUND.get(name))
    t, shape = standard.timing, standard.organization
    banks = shape.bank_groups * shape.banks
    bounds = {
        "tFAW": t["nFAW"] / 4,
        "tRRD": t.get("nRRD_S") or t["nRRD"],
        "data bus": t["nBL"],
        "tRC": t["nRC"] / banks,
    }
    i, rng = np.arange(N), np.random.default_rng(1)
    address = addresses(standard, bank_group=i, bank=i // shape.bank_groups, row=rng.integers(0, shape.rows, N))
    found = clocks(standard, address, row_policy="closed")
    assert found == pytest.approx(max(bounds.values()) / at_work(standard, "nRAS"), rel=0.01), bounds


def test_a_read_that_falls_on_the_clock_of_an_activate_goes_first_and_costs_a_clock_of_each_tFAW():
    standard = one_rank("DDR4-3200AA")
    t = standard.timing
    assert 3 * t["nRRD_S"] + t["nRCD"] == t["nFAW"]  # the read of the fourth ACT, and the fifth ACT
    random = synthetic("random", N, standard)
    result = simulate(random, standard, HostConfig(address_map=MAP, read_queue=64, refresh="none"))
    assert result.cycles / N == pytest.approx((t["nFAW"] + 1) / 4, rel=0.001)


@every_standard
def test_a_chase_takes_precharge_activate_and_read_after_each_other(name):
    standard = one_rank(name)
    t, shape = standard.timing, standard.organization
    banks = shape.bank_groups * shape.banks
    # A request is seen in the clock after the one in which it enters. Then PRE, which takes one clock, is sent; timings
    # count from last clock to last clock, however many clocks ACT and RD take.
    assert standard.clocks["PRE"] == 1
    conflict = 1 + t["nRP"] + activate_to_read(standard) + t["nCL"] + t["nBL"]
    # The same bank again: its PRE waits for tRAS, which began nRP and the clocks of ACT ago.
    conflict += max(0, t["nRAS"] + t["nRP"] - conflict) / banks
    # A refresh takes nRP and nRFC, and leaves all banks closed: the first request to each needs no nRP, but for the one
    # that waits for the refresh itself.
    between = t["nREFI"] - precharge_all(standard) - t["nRFC"]
    requests = between / conflict
    for _ in range(5):
        found_closed = banks * (1 - (1 - 1 / banks) ** requests)
        requests = (between + (found_closed - 1) * t["nRP"]) / conflict
    rng = np.random.default_rng(2)
    fields = {"bank_group": shape.bank_groups, "bank": shape.banks, "row": shape.rows}
    address = addresses(standard, **{field: rng.integers(0, count, N // 4) for field, count in fields.items()})
    assert clocks(standard, address, chase=True) == pytest.approx(t["nREFI"] / requests, rel=0.01)


@every_standard
def test_a_sequential_stream_on_the_default_map_reaches_the_peak_less_refresh(name):
    standard = one_rank(name)
    t, busses = standard.timing, standard.organization.pseudo_channels
    result = simulate(synthetic("sequential", N, standard), standard, HostConfig(read_queue=32))
    assert result.cycles / N * busses == pytest.approx(t["nBL"] / at_work(standard, "nRTP"), rel=0.01)


@pytest.mark.parametrize("name", ["HBM2E-3200", "HBM3-6400"])
def test_a_queue_of_32_is_enough_for_each_of_two_pseudo_channels(name):
    standard = one_rank(name)
    clocks_of = {
        queue: simulate(synthetic("sequential", N, standard), standard, HostConfig(read_queue=queue)).cycles
        for queue in (32, 256)
    }
    assert clocks_of[32] == pytest.approx(clocks_of[256], rel=0.01)
