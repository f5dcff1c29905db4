"""`ndpsim study`: studies that ship with ndpsim."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ndpsim.cli.command import CommandGroup, OutputPath
from ndpsim.cli.show import json_option, percent, print_columns, print_json, print_table, progress
from ndpsim.cli.studies.sensitivity import hermes_sensitivity_command
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.studies.dram_reference import Comparison
    from ndpsim.studies.loaded_latency import Curve
    from ndpsim.studies.saturation import SaturationComparison

MAX_ENGINE_US = 1e6


@click.group("study", cls=CommandGroup)
def study_command() -> None:
    """Run a study that ships with ndpsim, defined in workloads/studies/."""


study_command.add_command(hermes_sensitivity_command)


@study_command.command("loaded-latency")
@click.option("--standard", "names", multiple=True, metavar="NAME", help="A standard; again for more.")
@click.option("--ranks", type=int, help="Ranks of a channel, a power of two.  [default: as the standard says]")
@click.option("--requests", type=int, help="Requests for each data bus.  [default: 50000]")
@click.option("-o", "--output", type=OutputPath(), help="Plot to write (SVG; needs ndpsim[plot]).")
@json_option
def loaded_latency_command(
    names: tuple[str, ...], ranks: int | None, requests: int | None, output: Path | None, as_json: bool
) -> None:
    """Time random reads while more and more bandwidth is asked for, with and without writes between them."""
    from ndpsim.dram.standard.standard import load_standard
    from ndpsim.studies.loaded_latency import MAX_REQUESTS, curves, loaded_latency
    from ndpsim.studies.plot import plot_latency, require_plot

    definition = loaded_latency()
    if requests is not None:
        if not 1 <= requests <= MAX_REQUESTS:
            raise InputError(f"--requests: expected 1 to {MAX_REQUESTS}, found {requests}")
        definition = definition.model_copy(update={"requests": requests})
    if output is not None:
        require_plot(output)
    standards = [load_standard(name, ranks=ranks) for name in dict.fromkeys(names or definition.standards)]
    points = len(standards) * len(definition.mixes) * len(definition.loads)
    with progress("loads", points) as update:
        found = curves(definition, standards, tell=lambda done: update(completed=done))
    if output is not None:
        plot_latency(found, output)
    if as_json:
        print_json({"requests": definition.requests, "curves": [curve.record() for curve in found]})
    else:
        for curve in found:
            _print_curve(curve)


@study_command.command("dram-reference")
@json_option
@click.pass_context
def dram_reference_command(context: click.Context, as_json: bool) -> None:
    """Compare the host controller with other DRAM simulators: cycles and latency of the same traces.

    The exit code is 1 if a ratio is not within the band that is stated for it.
    """
    from ndpsim.studies.dram_reference import compare, reference
    from ndpsim.studies.saturation import compare_saturation

    definition = reference()
    figures = sum(len(run.figures) for run in definition.run)
    with progress("figures", figures) as update:
        compared = compare(definition, tell=lambda done: update(completed=done))
        saturated = [compare_saturation(published) for published in definition.saturation]
    if as_json:
        print_json({
            "source": definition.source,
            "controller": definition.controller,
            "comparisons": [one.record() for one in compared],
            "saturation": [one.record() for one in saturated],
        })  # fmt: skip
    else:
        _print_comparisons(compared)
        _print_saturation(saturated)
        click.echo(f"Their figures: {definition.source}.")
    if not (all(one.is_as_stated for one in compared) and all(one.is_as_stated for one in saturated)):
        context.exit(1)


@study_command.command("serving")
@click.option("--card", metavar="NAME", help="Another card than that of the measured run.")
@click.option("--engine-us", type=float, help="Host time of the serving engine between two steps.")
@json_option
def serving_command(card: str | None, engine_us: float | None, as_json: bool) -> None:
    """Serve the requests of a measured vLLM run on the GPU model, and compare the time per output token."""
    from ndpsim.studies.serving import replay

    if engine_us is not None and not 0 <= engine_us <= MAX_ENGINE_US:
        raise InputError(f"--engine-us: expected 0 to {MAX_ENGINE_US:g}, found {engine_us:g}")
    result = replay(card, engine_us)
    figures = result.record()
    if as_json:
        print_json({"source": result.source, **figures})
        return
    rows = [
        ("card", result.origin),
        ("requests, steps", f"{figures['requests']}, {result.steps}"),
        ("whole run", f"{result.seconds:.1f} s simulated, {result.measured_s:.1f} s measured"),
        *(
            (f"time per output token, {name}",
             f"{figures['simulated_ms'][name]:.1f} ms simulated, {figures['measured_ms'][name]:.1f} ms measured")
            for name in figures["simulated_ms"]
        ),
        ("error of the mean", f"{result.error:+.1%}"),
    ]  # fmt: skip
    print_table(result.source, rows)


def _print_curve(curve: "Curve") -> None:
    shape = curve.standard.organization
    title = f"{curve.standard.name}, {shape.channels} channel(s), {shape.ranks} rank(s), {curve.mix}"
    rows = [
        [
            percent(point.load),
            f"{point.offered_gb_per_s:.2f}",
            f"{point.delivered_gb_per_s:.2f}",
            "saturated" if point.saturated else f"{point.mean_ns:.0f}",
            "" if point.saturated else f"{point.p99_ns:.0f}",
        ]
        for point in curve.points
    ]
    title = f"{title}; the peak is {curve.peak_gb_per_s:.2f} GB/s"
    print_columns(title, "load|offered GB/s|delivered|mean ns|p99 ns", rows)


def _print_comparisons(compared: "list[Comparison]") -> None:
    for tool in dict.fromkeys(one.run.tool for one in compared):
        rows = [
            [
                f"{one.run.standard}, {one.run.ranks} rank(s)",
                one.trace,
                _number(one.their_cycles, 1e-6, 3),
                _number(one.ours.cycles, 1e-6, 3),
                _number(one.ratio, 1, 3),
                _number(one.figure.latency, 1, 1),
                _number(one.ours.read_latency.mean, 1, 1),
                "" if one.is_as_stated else "not as stated",
            ]
            for one in compared
            if one.run.tool == tool
        ]
        title = f"{tool}: total Mcycles and mean read latency in clocks"
        print_columns(title, "|trace|theirs|ours|ratio|latency|ours|", rows, left=("trace",))
        for why in dict.fromkeys(one.why for one in compared if one.run.tool == tool and one.why):
            traces = dict.fromkeys(one.trace for one in compared if one.run.tool == tool and one.why == why)
            click.echo(f"  {', '.join(traces)}: {why}.")
        click.echo()


def _print_saturation(compared: "list[SaturationComparison]") -> None:
    rows = [
        [
            f"{one.published.tool}, {one.published.standard}, {one.published.ranks} rank(s)",
            f"{one.published.unloaded_ns:.1f}",
            f"{one.unloaded_ns:.1f}",
            f"{one.published.gb_per_s:.1f}",
            f"{one.gb_per_s:.1f}",
            f"{one.ratio:.3f}",
            "" if one.is_as_stated else "not as stated",
        ]
        for one in compared
    ]
    print_columns("Random requests, without load and saturated", "|theirs ns|ours|theirs GB/s|ours|ratio|", rows)
    for one in compared:
        click.echo(f"  {one.published.ranks} rank(s): {one.published.why}.")
    click.echo()


def _number(value: Any, scale: float, digits: int) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"
