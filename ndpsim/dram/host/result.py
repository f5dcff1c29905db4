"""What a run of the host controller was: cycles, counts, latencies, energy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.energy.counts import RankActivity
from ndpsim.dram.energy.energy import DramEnergy, dram_energy
from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.state import Ints, records
from ndpsim.dram.standard.standard import Standard

if TYPE_CHECKING:
    from ndpsim.dram.host.shared.ranks import NdpResult

PERCENTILES = (50, 90, 99)


class Beyond(NamedTuple):
    """How many requests had addresses beyond the memory's end, which wrap to its start, and the first such address."""

    memory_bytes: int
    requests: int = 0
    first: int | None = None

    def after(self, address: Ints) -> "Beyond":
        """Return the same after more requests, at int64[n] addresses."""
        if int(address.max(initial=0)) < self.memory_bytes:
            return self
        beyond = np.flatnonzero(address >= self.memory_bytes)
        first = int(address[beyond[0]]) if self.first is None else self.first
        return self._replace(requests=self.requests + len(beyond), first=first)


@dataclass(frozen=True)
class Latencies:
    """Latencies of reads, or of writes, in clocks: their number, sum and maximum, and a histogram int64[buckets].

    They are those of all channels. The histogram is exact below 1024 clocks and within 0.2 % above.
    """

    count: int
    total: int
    longest: int
    histogram: Ints

    @property
    def mean(self) -> float:
        """Return the mean, 0 without requests."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """Return the least latency that so many percent of the requests do not exceed, 0 without requests."""
        if not self.count:
            return 0
        rank = max(int(np.ceil(self.count * percent / 100)), 1)
        bucket = int(np.searchsorted(np.cumsum(self.histogram), rank))
        return min(bucket_end(bucket), self.longest)

    @classmethod
    def of(cls, state: NDArray[np.int64], queue: int) -> "Latencies":
        """Read those of reads (queue 0) or of writes (1) out of the memory of channels."""
        histogram = host.LATENCY + queue * host.BUCKETS
        return cls(
            int(state[:, host.DONE_READS + queue].sum()),
            int(state[:, host.LATENCY_SUM + queue].sum()),
            int(state[:, host.LONGEST + queue].max()),
            state[:, histogram : histogram + host.BUCKETS].sum(0),
        )

    def summary(self, scale: float = 1.0) -> dict[str, float | None]:
        """Return mean, percentiles and maximum, times `scale`; each None without requests."""
        if not self.count:
            return dict.fromkeys(("mean", *(f"p{percent}" for percent in PERCENTILES), "max"))
        values: dict[str, float] = {"mean": self.mean}
        values |= {f"p{percent}": self.percentile(percent) for percent in PERCENTILES}
        values["max"] = self.longest
        return {name: value * scale for name, value in values.items()}


def bucket_end(bucket: int) -> int:
    """Return the largest latency that falls into a bucket (see `latency_bucket`)."""
    shift = max(0, bucket // (host.LINEAR // 2) - 1)
    return ((bucket - shift * (host.LINEAR // 2) + 1) << shift) - 1


@dataclass(frozen=True)
class HostResult:
    """Counts are of all channels; `commands`: int64[channels, ranks of all pseudo-channels] by command name.

    Everything is the host's, but for `commands`, `open_clocks` and what follows from them (refresh, energy), in which
    `ndp`, what NDP units did in the ranks meanwhile, has its part. cycles: the end of the host's last data; end: of
    all data. beyond: requests whose addresses the memory does not have.
    """

    standard: Standard
    config: Any
    cycles: int
    reads: int
    writes: int
    forwarded: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    read_latency: Latencies
    write_latency: Latencies
    beyond: Beyond
    commands: dict[str, NDArray[np.int64]]
    open_clocks: NDArray[np.int64]
    end: int
    ndp: "NdpResult | None" = None

    @classmethod
    def of(
        cls,
        standard: Standard,
        config: Any,
        state: NDArray[np.int64],
        sets: int,
        beyond: Beyond,
        ndp: "NdpResult | None" = None,
    ) -> "HostResult":
        """Read the result out of the memory of channels that have ended; `sets`: sets of banks refreshed in turn."""
        organization = standard.organization
        total = {place: int(state[:, place].sum()) for place in (
            host.DONE_READS, host.DONE_WRITES, host.FORWARDED, host.HITS, host.MISSES, host.CONFLICTS
        )}  # fmt: skip

        def of_ranks(field: int) -> NDArray[np.int64]:
            return records(state, field, organization.ranks, host.RANK_SIZE).reshape(organization.channels, -1).copy()

        cycles = int(state[:, host.LAST_DONE].max())
        end = cycles if ndp is None else max(cycles, int(ndp.done.max()))
        still_open = np.where(of_ranks(host.OPEN_BANKS) > 0, np.maximum(end - of_ranks(host.OPEN_SINCE), 0), 0)
        numbers = {
            "ACT": commands.ACT,
            "PRE": commands.PRE,
            "PREA": commands.PREA,
            "RD": commands.RD,
            "WR": commands.WR,
            "RDA": commands.RDA,
            "WRA": commands.WRA,
            "REF": commands.REF,
        }
        if sets:
            numbers[standard.refresh[config.refresh].command] = commands.REFSET
        issued = {name: of_ranks(host.ISSUED + number) for name, number in numbers.items()}
        if ndp is not None:
            issued |= {"RDN": ndp.reads, "WRN": ndp.writes}
        return cls(
            standard=standard,
            config=config,
            cycles=cycles,
            reads=total[host.DONE_READS],
            writes=total[host.DONE_WRITES],
            forwarded=total[host.FORWARDED],
            row_hits=total[host.HITS] - total[host.FORWARDED],
            row_misses=total[host.MISSES],
            row_conflicts=total[host.CONFLICTS],
            read_latency=Latencies.of(state, 0),
            write_latency=Latencies.of(state, 1),
            beyond=beyond,
            commands=issued,
            open_clocks=of_ranks(host.OPEN_CLOCKS) + still_open,
            end=end,
            ndp=ndp,
        )

    @property
    def requests(self) -> int:
        """Return how many requests were served, forwarded ones included."""
        return self.reads + self.writes

    @property
    def seconds(self) -> float:
        """Return the time from cycle 0 to the end of the host's last data."""
        return self.cycles * float(self.standard.tck_ps) * 1e-12

    @property
    def bursts(self) -> int:
        """Return how many bursts the channels' data busses carried."""
        return self.requests - self.forwarded

    @property
    def bus_use(self) -> float:
        """Return the share of all data-bus clocks in which data moved."""
        organization = self.standard.organization
        busses = organization.channels * organization.pseudo_channels
        return self.bursts * self.standard.timing["nBL"] / (self.cycles * busses) if self.cycles else 0.0

    @property
    def peak_gb_per_s(self) -> float:
        """Return the data rate of all busses."""
        organization = self.standard.organization
        busses = organization.channels * organization.pseudo_channels
        return busses * self.standard.bus_bits / 8 * float(self.standard.data_rate_mtps) * 1e-3

    @property
    def bandwidth_gb_per_s(self) -> float:
        """Return the data moved over the busses by the time of the run."""
        return self.bursts * self.standard.burst_bytes / self.seconds * 1e-9 if self.cycles else 0.0

    @property
    def refresh_share(self) -> float:
        """Return the share of bank time that refresh commands take."""
        organization, timing = self.standard.organization, self.standard.timing
        busy = float(self.commands["REF"].sum() * timing["nRFC"])
        for name, refresh in (("REFsb", "same_bank"), ("REFpb", "per_bank")):
            if name in self.commands:
                covered = self.standard.refresh[refresh].covers_groups or organization.bank_groups
                banks = organization.bank_groups * organization.banks
                busy += float(self.commands[name].sum() * timing[f"nRFC{name[3:]}"] * covered / banks)
        ranks = organization.channels * organization.pseudo_channels * organization.ranks
        return busy / (self.end * ranks) if self.end else 0.0

    def activity(self) -> RankActivity:
        """Return what every rank did, as int64[channels, ranks of all pseudo-channels]."""
        command = self.commands
        nothing = np.zeros_like(command["REF"])
        return RankActivity(
            activates=command["ACT"],
            reads=command["RD"] + command["RDA"] + command.get("RDN", nothing),
            writes=command["WR"] + command["WRA"] + command.get("WRN", nothing),
            refreshes=command["REF"],
            bank_refreshes=command.get("REFsb", nothing) + command.get("REFpb", nothing),
            open_clocks=self.open_clocks,
            clocks=np.full_like(command["REF"], self.end),
        )

    def energy(self, scale: str = "maximum") -> DramEnergy:
        """Return the energy of all ranks."""
        return dram_energy(self.standard, self.activity(), scale)

    def summary(self) -> dict[str, Any]:
        """Return all figures as plain Python, for reports and JSON."""
        organization = self.standard.organization
        clock_ns = float(self.standard.tck_ps) * 1e-3
        energy = self.energy().summary()
        basis = energy.pop("basis")
        known = self.standard.currents is not None
        served = self.row_hits + self.row_misses + self.row_conflicts
        record = {
            "standard": self.standard.name,
            "channels": organization.channels,
            "pseudo_channels": organization.pseudo_channels,
            "ranks": organization.ranks,
            "memory_bytes": self.beyond.memory_bytes,
            "requests_beyond_memory": self.beyond.requests,
            "first_beyond_memory": self.beyond.first,
            "requests": self.requests,
            "reads": self.reads,
            "writes": self.writes,
            "forwarded": self.forwarded,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "bandwidth_gb_per_s": self.bandwidth_gb_per_s,
            "peak_gb_per_s": self.peak_gb_per_s,
            "bus_use": self.bus_use,
            "row_hit_rate": self.row_hits / served if served else None,
            "row_hits": self.row_hits,
            "row_misses": self.row_misses,
            "row_conflicts": self.row_conflicts,
            "read_latency_clocks": self.read_latency.summary(),
            "read_latency_ns": self.read_latency.summary(clock_ns),
            "write_latency_clocks": self.write_latency.summary(),
            "write_latency_ns": self.write_latency.summary(clock_ns),
            "refresh_share": self.refresh_share if self.end else None,
            "commands": {name: int(counts.sum()) for name, counts in self.commands.items()},
            "energy_j": energy if known else None,
            "energy_note": basis,
        }
        return record if self.ndp is None else record | {"end": self.end, "ndp": self.ndp.summary()}
