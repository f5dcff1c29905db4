"""Published unloaded latency and saturation bandwidth of random requests, and ours."""

from dataclasses import dataclass
from typing import Any

from ndpsim.dram.host.controller import HostConfig
from ndpsim.dram.standard.standard import load_standard
from ndpsim.studies.loaded_latency import run_random
from ndpsim.tables import Table

UNLOADED, FULL = 0.01, 1.0
_REQUESTS = 100_000
_SEED = 1


class Saturation(Table):
    """Published figures of one memory, and within what bands ours divided by theirs must lie."""

    tool: str
    standard: str
    ranks: int
    channels: int
    writes: float
    controller: dict[str, Any]
    unloaded_ns: float
    gb_per_s: float
    unloaded_ratio: tuple[float, float]
    ratio: tuple[float, float]
    why: str


@dataclass(frozen=True)
class SaturationComparison:
    """Our mean latency without load (ns) and bandwidth at full load (GB/s), for one published pair."""

    published: Saturation
    unloaded_ns: float
    gb_per_s: float

    @property
    def ratio(self) -> float:
        """Return our bandwidth by the published one."""
        return self.gb_per_s / self.published.gb_per_s

    @property
    def unloaded_ratio(self) -> float:
        """Return our latency by the published one."""
        return self.unloaded_ns / self.published.unloaded_ns

    @property
    def is_as_stated(self) -> bool:
        """Tell whether both ratios lie in their bands."""
        pairs = ((self.ratio, self.published.ratio), (self.unloaded_ratio, self.published.unloaded_ratio))
        return all(low <= ratio <= high for ratio, (low, high) in pairs)

    def record(self) -> dict[str, Any]:
        """Return all figures as plain Python, for reports and JSON."""
        return {
            "tool": self.published.tool,
            "standard": self.published.standard,
            "ranks": self.published.ranks,
            "their_unloaded_ns": self.published.unloaded_ns,
            "our_unloaded_ns": self.unloaded_ns,
            "their_gb_per_s": self.published.gb_per_s,
            "our_gb_per_s": self.gb_per_s,
            "unloaded_ratio": self.unloaded_ratio,
            "ratio": self.ratio,
            "as_stated": self.is_as_stated,
            "why": self.published.why,
        }


def compare_saturation(published: Saturation) -> SaturationComparison:
    """Run one published case without load and at full load."""
    standard = load_standard(published.standard, ranks=published.ranks, channels=published.channels)
    config = HostConfig(**published.controller)
    unloaded, full = (
        run_random(standard, config, load, published.writes, _REQUESTS, _SEED)[0] for load in (UNLOADED, FULL)
    )
    return SaturationComparison(published, unloaded.mean_ns, full.delivered_gb_per_s)
