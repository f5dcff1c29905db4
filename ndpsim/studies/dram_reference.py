"""The host controller beside other DRAM simulators: their published or measured figures, and ours for the same runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import model_validator

from ndpsim.dram.host.controller import HostConfig, simulate
from ndpsim.dram.host.result import HostResult
from ndpsim.dram.requests.synthetic import synthetic
from ndpsim.dram.standard.standard import load_standard, with_overrides
from ndpsim.studies.definition import read_definition
from ndpsim.studies.saturation import Saturation
from ndpsim.tables import Table

Band = tuple[float, float]
SAME: Band = (0.99, 1.01)
SAME_LATENCY: Band = (0.98, 1.02)


class Figure(Table):
    """What a tool found for one trace, and within what band ours divided by theirs must lie.

    `cycles`: in all, or else `gb_per_s`; `latency`: of reads, in clocks, the mean. `why` names the reason of a ratio
    outside the default band.
    """

    cycles: int | None = None
    gb_per_s: float | None = None
    latency: float | None = None
    ratio: Band = SAME
    latency_ratio: Band = SAME_LATENCY
    why: str | None = None

    @model_validator(mode="after")
    def _a_difference_has_a_reason(self) -> "Figure":
        if (self.ratio != SAME or self.latency_ratio != SAME_LATENCY) != (self.why is not None):
            raise ValueError("a reason where a band differs from the default one, and only there")
        if self.cycles is None and self.gb_per_s is None and self.latency is None:
            raise ValueError("one of: cycles, gb_per_s, latency")
        return self


class ReferenceRun(Table):
    """Figures of a tool for a standard, whose timings are replaced by those of the tool; `tck_ps`: the tool's clock."""

    tool: str
    standard: str
    ranks: int
    timing: dict[str, int]
    tck_ps: int
    figures: dict[str, Figure]


class Reference(Table):
    """All figures, and the controller that reproduces them."""

    source: str
    requests: dict[str, int]
    controller: dict[str, Any]
    row_hit_rate: dict[str, dict[str, Band]]
    reasons: dict[str, str]
    run: list[ReferenceRun]
    saturation: list[Saturation]

    @model_validator(mode="after")
    def _reasons_are_given(self) -> "Reference":
        named = {figure.why for run in self.run for figure in run.figures.values() if figure.why}
        if named != self.reasons.keys():
            raise ValueError(f"reasons {', '.join(sorted(named))}")
        return self


@dataclass(frozen=True)
class Comparison:
    """Our cycles, mean read latency (clocks) and row-hit rate for one figure of one tool; `why` is a sentence."""

    run: ReferenceRun
    trace: str
    figure: Figure
    requests: int
    ours: HostResult
    why: str

    @property
    def their_cycles(self) -> float | None:
        """Return the tool's cycles, from its bandwidth where it has no others."""
        if self.figure.cycles is not None or self.figure.gb_per_s is None:
            return self.figure.cycles
        return self.requests * self.ours.standard.burst_bytes * 1e3 / (self.figure.gb_per_s * self.run.tck_ps)

    @property
    def ratio(self) -> float | None:
        """Return our cycles by theirs."""
        return self.ours.cycles / self.their_cycles if self.their_cycles else None

    @property
    def latency_ratio(self) -> float | None:
        """Return our mean latency by theirs."""
        return self.ours.read_latency.mean / self.figure.latency if self.figure.latency else None

    @property
    def row_hit_rate(self) -> float:
        """Return the share of our requests that needed no activate."""
        return self.ours.row_hits / self.ours.bursts

    @property
    def is_as_stated(self) -> bool:
        """Tell whether both ratios lie in their bands."""
        pairs = ((self.ratio, self.figure.ratio), (self.latency_ratio, self.figure.latency_ratio))
        return all(ratio is None or low <= ratio <= high for ratio, (low, high) in pairs)

    def record(self) -> dict[str, Any]:
        """Return all figures as plain Python, for reports and JSON."""
        return {
            "tool": self.run.tool,
            "standard": self.run.standard,
            "ranks": self.run.ranks,
            "timing": self.run.timing,
            "trace": self.trace,
            "requests": self.requests,
            "their_cycles": self.their_cycles,
            "our_cycles": self.ours.cycles,
            "ratio": self.ratio,
            "ratio_band": list(self.figure.ratio),
            "their_latency": self.figure.latency,
            "our_latency": self.ours.read_latency.mean,
            "latency_ratio": self.latency_ratio,
            "latency_ratio_band": list(self.figure.latency_ratio),
            "our_row_hit_rate": self.row_hit_rate,
            "as_stated": self.is_as_stated,
            "why": self.why,
        }


def reference() -> Reference:
    """Return the figures that ship with ndpsim."""
    return read_definition("dram-reference", Reference)


def compare(definition: Reference, tell: Callable[[int], None] | None = None) -> list[Comparison]:
    """Run everything that the figures are of; `tell` is told how many comparisons are done."""

    @cache
    def ours(standard: str, ranks: int, timing: tuple[tuple[str, int], ...], trace: str) -> HostResult:
        judged = with_overrides(load_standard(standard, ranks=ranks, channels=1), dict(timing))
        requests = synthetic(trace, definition.requests[trace], judged)
        return simulate(requests, judged, HostConfig(**definition.controller))

    compared = []
    for run in definition.run:
        for trace, figure in run.figures.items():
            found = ours(run.standard, run.ranks, tuple(sorted(run.timing.items())), trace)
            why = definition.reasons[figure.why] if figure.why else ""
            compared.append(Comparison(run, trace, figure, definition.requests[trace], found, why))
            if tell is not None:
                tell(len(compared))
    return compared
