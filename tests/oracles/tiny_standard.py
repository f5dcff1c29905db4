"""A DRAM standard of a few round timings, and short ways to write requests and logs, for tests worked out by hand."""

from dataclasses import dataclass, field
from typing import NamedTuple

from oracles.host_controller import Config, NdpBurst, Request, run

COLUMN = "RD WR RDA WRA"
TIMING = {
    "nCL": 5, "nCWL": 3, "nBL": 2, "nRCD": 4, "nRP": 3, "nRAS": 8, "nRC": 11, "nRRD_S": 2, "nRRD_L": 3, "nFAW": 12,
    "nCCD_S": 2, "nCCD_L": 4, "nRTP": 3, "nRTRS": 1, "nRFC": 20,
}  # fmt: skip
RTW = 5 + 2 + 2 - 3  # nCL + nBL + 2 - nCWL
WTR_S, WTR_L = 3 + 2 + 2, 3 + 2 + 4  # nCWL + nBL + nWTR
WRITE_TO_PRE = 3 + 2 + 4  # nCWL + nBL + nWR
ROWS = [  # scope, earlier, later, gap, window
    ("bank", "ACT", COLUMN, 4, 1),
    ("bank", "ACT", "ACT", 11, 1),
    ("bank", "ACT", "PRE", 8, 1),
    ("rank", "ACT", "PREA", 8, 1),
    ("bank", "RD", "PRE", 3, 1),
    ("rank", "RD", "PREA", 3, 1),
    ("bank", "WR", "PRE", WRITE_TO_PRE, 1),
    ("rank", "WR", "PREA", WRITE_TO_PRE, 1),
    ("bank", "RDA", "ACT REFsb", 6, 1),
    ("bank", "PRE", "ACT REFsb", 3, 1),
    ("rank", "PRE PREA", "ACT REF", 3, 1),
    ("rank", "RDA", "REF", 6, 1),
    ("rank", "ACT", "ACT", 2, 1),
    ("bank_group", "ACT", "ACT", 3, 1),
    ("rank", "ACT", "ACT", 12, 4),
    ("rank", "RD RDA", "RD RDA", 2, 1),
    ("rank", "WR WRA", "WR WRA", 2, 1),
    ("bank_group", "RD RDA", "RD RDA", 4, 1),
    ("bank_group", "WR WRA", "WR WRA", 4, 1),
    ("rank", "RD RDA", "WR WRA", RTW, 1),
    ("rank", "WR WRA", "RD RDA", WTR_S, 1),
    ("bank_group", "WR WRA", "RD RDA", WTR_L, 1),
    ("other_rank", "RD RDA", "RD RDA", 3, 1),
    ("rank", "REF", "ACT REF", 20, 1),
    ("bank", "REFsb", "ACT", 10, 1),
    ("rank", "REFsb", "REFsb", 10, 1),
]
ALL = ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REF", "REFsb")


class Row(NamedTuple):
    scope: str
    earlier: str
    later: str
    gap: int
    window: int


class TinyRefresh(NamedTuple):
    command: str
    interval: int
    covers_groups: int


@dataclass(frozen=True)
class Shape:
    channels: int = 1
    pseudo_channels: int = 1
    ranks: int = 1
    bank_groups: int = 4
    banks: int = 2
    rows: int = 8
    columns: int = 8


@dataclass(frozen=True)
class Tiny:
    """As much of a Standard as the reference needs."""

    organization: Shape = Shape()
    busses: tuple[tuple[str, ...], ...] = (ALL,)
    clocks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ALL, 1))
    timing: dict[str, int] = field(default_factory=lambda: TIMING)
    refresh: dict[str, TinyRefresh] = field(default_factory=dict)
    constraints: tuple[Row, ...] = tuple(
        Row(scope, earlier, later, gap, window)
        for scope, earlier_ones, later_ones, gap, window in ROWS
        for earlier in earlier_ones.split()
        for later in later_ones.split()
    )
    read_latency: int = 5
    write_latency: int = 3
    burst_bytes: int = 64


def request(group=0, bank=0, row=0, column=0, write=False, rank=0, channel=0, pseudo_channel=0, arrival=0, after=0):
    burst = hash((channel, pseudo_channel, rank, group, bank, row, column))
    timed = arrival > 0
    return Request(channel, pseudo_channel, rank, group, bank, row, column, burst, write, arrival, after, timed)


def burst(group=0, bank=0, row=0, column=0, write=False):
    return NdpBurst(group, bank, row, column, write)


def simulate(*requests, standard=None, ndp=(), **config):
    return run(standard or Tiny(), Config(**{"refresh": "none"} | config), requests, ndp=ndp)


def sent(result):
    """Return the log as `1 ACT, 5 RD`."""
    return ", ".join(f"{entry[0]} {entry[1]}" for entry in result.log)


def kinds(result):
    return " ".join(outcome.kind for outcome in result.outcomes)
