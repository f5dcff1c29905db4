"""Loaded latency: how long random requests wait, against the bandwidth that is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ndpsim.dram.address_map import host_map
from ndpsim.dram.host.controller import HostConfig, simulate
from ndpsim.dram.host.result import HostResult
from ndpsim.dram.requests.request import Requests
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.standard import Standard
from ndpsim.studies.definition import read_definition
from ndpsim.tables import Table

MAX_REQUESTS = 10**7
BEHIND = 0.01
"""Share of the run after the last arrival from which on a controller counts as saturated."""
Share = Annotated[float, Field(ge=0, le=1)]


class LoadedLatency(Table):
    """What is run: `loads` are shares of the peak bandwidth, `mixes` shares of writes, `requests` for each data bus."""

    standards: list[str]
    loads: list[Annotated[float, Field(gt=0, le=1)]]
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS)]
    seed: int
    mixes: dict[str, Share]


@dataclass(frozen=True)
class LoadPoint:
    """Latency of reads at one load, from arrival to the last data.

    A controller that is `saturated` falls behind, and its latencies only say how long the run was.
    """

    load: float
    offered_gb_per_s: float
    delivered_gb_per_s: float
    mean_ns: float
    p99_ns: float
    saturated: bool


@dataclass(frozen=True)
class Curve:
    """The points of one standard and one mix, by load."""

    standard: Standard
    mix: str
    peak_gb_per_s: float
    points: tuple[LoadPoint, ...]

    @property
    def saturation_gb_per_s(self) -> float:
        """Return the most that was delivered at any load."""
        return max(point.delivered_gb_per_s for point in self.points)

    def record(self) -> dict[str, Any]:
        """Return the curve as plain Python, for reports and JSON."""
        return {
            "standard": self.standard.name,
            "channels": self.standard.organization.channels,
            "ranks": self.standard.organization.ranks,
            "mix": self.mix,
            "peak_gb_per_s": self.peak_gb_per_s,
            "points": [asdict(point) for point in self.points],
        }


def loaded_latency() -> LoadedLatency:
    """Return the definition that ships with ndpsim."""
    return read_definition("loaded-latency", LoadedLatency)


def busses(standard: Standard) -> int:
    """Return the number of data busses."""
    return standard.organization.channels * standard.organization.pseudo_channels


def random_requests(standard: Standard, load: float, writes: float, requests: int, seed: int) -> Requests:
    """Return reads and writes at random addresses of the whole memory that arrive as a Poisson process.

    `load`: mean data-bus use; `writes`: the share of writes; `requests`: in all.
    """
    rng = np.random.default_rng(seed)
    address = rng.integers(0, host_map(None, standard).size // standard.burst_bytes, requests) * standard.burst_bytes
    write = rng.random(requests) < writes
    arrival = np.cumsum(rng.exponential(standard.timing["nBL"] / (load * busses(standard)), requests))
    return Requests.of(address, write, arrival.astype(np.int64), np.zeros_like(address))


def run_random(
    standard: Standard, config: HostConfig, load: float, writes: float, requests: int, seed: int
) -> tuple[LoadPoint, HostResult]:
    """Run one load; `requests` for each data bus."""
    trace = random_requests(standard, load, writes, requests * busses(standard), seed)
    result = simulate(array_trace(trace.address, trace.write, trace.arrival), standard, config)
    latency, clock_ns = result.read_latency, float(standard.tck_ps) * 1e-3
    point = LoadPoint(
        load=load,
        offered_gb_per_s=load * result.peak_gb_per_s,
        delivered_gb_per_s=result.bandwidth_gb_per_s,
        mean_ns=latency.mean * clock_ns,
        p99_ns=latency.percentile(99) * clock_ns,
        saturated=bool(trace.arrival[-1] < (1 - BEHIND) * result.cycles),
    )
    return point, result


def curves(
    definition: LoadedLatency,
    standards: Sequence[Standard],
    config: HostConfig | None = None,
    tell: Callable[[int], None] | None = None,
) -> list[Curve]:
    """Run all loads of all mixes on the standards; `tell` is told how many points are done."""
    found, done = [], 0
    for standard in standards:
        for mix, writes in definition.mixes.items():
            points = []
            for load in definition.loads:
                point, result = run_random(
                    standard, config or HostConfig(), load, writes, definition.requests, definition.seed
                )
                points.append(point)
                done += 1
                if tell is not None:
                    tell(done)
            found.append(Curve(standard, mix, result.peak_gb_per_s, tuple(points)))
    return found
