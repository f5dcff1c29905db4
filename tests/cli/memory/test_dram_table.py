"""The table of `ndpsim dram`: each row with value and unit, of a record made by hand."""

import pytest

from ndpsim.cli.memory import host_memory

RECORD = {
    "trace": "a.trace", "format": "ndpsim", "requests_beyond_memory": 0,
    "write_latency_clocks": {"mean": 80.2, "max": 300}, "write_latency_ns": {"mean": 50.1, "max": 187.5},
    "standard": "DDR4-3200AA", "channels": 1, "pseudo_channels": 1, "ranks": 2, "map": "row column", "reads": 700,
    "writes": 300, "requests": 1000, "forwarded": 5, "cycles": 4000, "seconds": 2.5e-6, "bandwidth_gb_per_s": 16.384,
    "peak_gb_per_s": 25.6, "bus_use": 0.64, "row_hits": 450, "row_hit_rate": 0.45, "row_misses": 50,
    "row_conflicts": 500, "read_latency_clocks": {"mean": 61.4, "p50": 50, "p99": 149.6, "max": 200},
    "read_latency_ns": {"mean": 38.375, "p50": 31.25, "p99": 93.5, "max": 125.0}, "refresh_share": 0.0314,
    "commands": {"ACT": 550, "RD": 700, "WR": 300, "RDA": 0}, "wall_s": 0.125,
    "energy_j": {"activate": 2.5e-6, "io": 0.0, "total": 1.25e-3}, "energy_note": "made up",
}  # fmt: skip
NDP = {
    "alone": {"bandwidth_gb_per_s": 20.48, "read_latency_clocks": {"mean": 50.4}}, "end": 4100,
    "ndp": {"bandwidth_gb_per_s": [9.0, 6.0], "alone": {"bandwidth_gb_per_s": [10.0, 10.0]}, "row_hits": [3, 4],
            "bursts": [10, 20]},
}  # fmt: skip


@pytest.fixture
def printed(monkeypatch):
    """A function that returns the rows which a record makes."""
    found = []
    monkeypatch.setattr(host_memory, "print_table", lambda title, rows: found.append(dict(rows)))

    def table(record):
        host_memory._print(record)
        return found.pop()

    return table


def test_each_row_has_its_value_and_its_unit(printed):
    wanted = {
        "trace": "a.trace (ndpsim)",
        "write latency": "mean 80, max 300",
        "standard": "DDR4-3200AA, 1 channel, 2 ranks in each",
        "address map": "row column",
        "requests": "700 reads (5 from queued writes), 300 writes",
        "time": "4000 clocks, 2.5 us",
        "bandwidth": "16.38 GB/s, the peak is 25.60",
        "data bus": "64.0 % used",
        "read latency": "mean 61, p50 50, p99 150, max 200",
        "the same in ns": "mean 50.1, max 187.5",  # of the writes; that of the reads stands above it
        "row buffer": "450 hits (45.0 %), 50 misses, 500 conflicts",
        "refresh": "3.1 % of the time of the banks",
        "commands": "ACT 550, RD 700, WR 300",
        "energy": "activate 2.5 uJ, io 0 J, total 1.25 mJ",
        "energy basis": "made up",
        "wall time": "125 ms",
    }
    found = printed(RECORD)
    assert {name: found[name] for name in wanted} == wanted and "NDP alone" not in found


def test_what_ndp_units_take_from_the_host_is_a_share_of_what_it_has_alone(printed):
    wanted = {
        "host alone": "20.48 GB/s, read latency 50",
        "host loses": "20.0 % of its bandwidth, +11 clocks",  # 16.384 of 20.48
        "NDP of each rank": "9.00, 6.00 GB/s",
        "NDP alone": "10.00, 10.00 GB/s",
        "NDP loses": "25.0 % of its bandwidth",  # 15 of 20
        "NDP row buffer": "7 hits of 30 bursts",
        "all done": "after 4100 clocks",
    }
    found = printed(RECORD | NDP)
    assert {name: found[name] for name in wanted} == wanted and list(found)[-1] == "wall time"


def test_without_commands_or_currents_the_table_says_so(printed):
    found = printed(RECORD | {"commands": {"ACT": 0}, "energy_j": None})
    assert found["commands"] == "none" and found["energy"] == "not known"
