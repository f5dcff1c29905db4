"""Plots of studies, as SVG that is the same for the same figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ndpsim.errors import InputError
from ndpsim.files import appearing, require_place
from ndpsim.studies.loaded_latency import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_plot(path: Path) -> None:
    """Raise InputError if no SVG of that name can be made, before any work is done for it."""
    if path.suffix != ".svg":
        raise InputError(f"{path}: expected a name that ends in .svg")
    require_place(path)
    try:
        import matplotlib  # noqa: F401 (an extra that may be absent)
    except ImportError:
        raise InputError("plots: expected matplotlib (pip install 'ndpsim[plot]'), found none") from None


def save(figure: "Figure", path: Path) -> None:
    """Write a figure; the same figure gives the same bytes."""
    import matplotlib

    with (
        matplotlib.rc_context({"svg.hashsalt": "ndpsim", "svg.fonttype": "none"}),
        appearing(path) as part,
    ):
        figure.savefig(part, format="svg", metadata={"Date": None})


def plot_latency(curves: Sequence[Curve], path: Path) -> None:
    """Write latency against offered bandwidth, a panel for each standard; points of saturation are left out."""
    from matplotlib.figure import Figure

    of_standard: dict[str, list[Curve]] = {}
    for curve in curves:
        of_standard.setdefault(curve.standard.name, []).append(curve)
    figure = Figure(figsize=(4.5 * len(of_standard), 3.8), layout="constrained")
    panels = figure.subplots(1, len(of_standard), sharey=True, squeeze=False)[0]
    for panel, (name, group) in zip(panels, of_standard.items(), strict=True):
        for number, curve in enumerate(group):
            points = [point for point in curve.points if not point.saturated]
            offered = [point.offered_gb_per_s for point in points]
            colour = f"C{number}"
            panel.plot(offered, [p.mean_ns for p in points], color=colour, marker=".", label=f"{curve.mix}, mean")
            panel.plot(offered, [p.p99_ns for p in points], color=colour, linestyle="--", label=f"{curve.mix}, p99")
        panel.set_title(f"{name}, ranks: {group[0].standard.organization.ranks}")
        panel.set_xlim(0, group[0].peak_gb_per_s)
        panel.set_xlabel("offered GB/s (to the peak)")
        panel.set_yscale("log")
        panel.grid(which="both", alpha=0.3)
    panels[0].set_ylabel("read latency, ns")
    panels[0].legend(fontsize="small")
    save(figure, path)
