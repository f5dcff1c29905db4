"""`ndpsim reproduce`: published results beside simulated ones."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ndpsim.cli.command import CommandGroup, OutputPath
from ndpsim.cli.show import json_option, print_columns, print_json, progress
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.studies.hermes import Reproduction
    from ndpsim.studies.hermes_comparison import ComparedPoint

MAX_JOBS = 256
DEFAULT_JOBS = min(2, os.cpu_count() or 1)


@click.group("reproduce", cls=CommandGroup)
def reproduce_command() -> None:
    """Run what a paper has run, and print each of its figures beside the simulated one."""


@reproduce_command.command("hermes")
@click.option("--tokens", default=16, show_default=True, help="Output tokens to simulate; their mean stands for all.")
@click.option("--ablation-tokens", default=11, show_default=True, help="As --tokens, for each step of the ablation.")
@click.option("--jobs", default=DEFAULT_JOBS, help="Processes at a time.  [default: 2, or 1 on one core]")
@click.option("--csv", "table", type=OutputPath(), help="File to write all points to.")
@click.option("--plot", "folder", type=OutputPath(), help="Folder for plots (SVG; needs ndpsim[plot]).")
@json_option
def hermes_command(
    tokens: int, ablation_tokens: int, jobs: int, table: Path | None, folder: Path | None, as_json: bool
) -> None:
    """Reproduce Hermes (HPCA 2025): tokens/s of all systems, speed-ups, ablation, and where the time goes."""
    from ndpsim.files import require_place
    from ndpsim.studies.hermes import Reproducer, write_csv
    from ndpsim.studies.hermes_points import published
    from ndpsim.studies.plot_hermes import plot_hermes, require_plots

    definition = published()
    output = definition.output  # of which the prompt gives the first token, which stands for no other
    counts = (("tokens", tokens, 2, output), ("ablation-tokens", ablation_tokens, 2, output))
    for name, value, least, most in (*counts, ("jobs", jobs, 1, MAX_JOBS)):
        if not least <= value <= most:
            raise InputError(f"--{name}: expected {least} to {most}, found {value}")
    if table is not None:
        require_place(table)
    if folder is not None:
        require_plots(folder)
    reproducer = Reproducer(definition, tokens, ablation_tokens)
    with progress("runs", len(reproducer.cases())) as update:
        found = reproducer.run(jobs, lambda done: update(completed=done))
    if table is not None:
        write_csv(found, table)
    if folder is not None:
        plot_hermes(found, folder)
    if as_json:
        print_json(found.record())
    else:
        _print(found, definition.output)


def _print(found: "Reproduction", output: int) -> None:
    from ndpsim.studies.hermes_comparison import errors

    click.echo(f"{found.source}\n")
    click.echo(
        f"Each run simulates the first {found.tokens} of {output} output tokens ({found.ablation_tokens} in the "
        "ablation): the prompt gives the first, and the mean of the passes behind it stands for all others, with what "
        "attention in DIMMs takes longer over the contexts to come. One machine and one policy for all models and "
        "batches.\n"
    )
    for group, points in found.groups().items():
        heads = "|where|published|simulated|error"
        if any(point.printed is not None for point in points):
            heads += "|from its bars"
        print_columns(group, heads, [_row(point)[: heads.count("|") + 1] for point in points], left=("where",))
        of = errors(points)
        click.echo(f"mean absolute error {of['mean_abs_error']:.1%}, greatest {of['max_abs_error']:.1%}")
        for point in points:
            if point.note:
                click.echo(f"  {point.name}: {point.note}")
        click.echo()
    rows = [
        (one.name, f"{one.system}, {one.model}, batch {one.batch}", f"{one.published:.2f}", f"{one.default:.2f}",
         f"{one.default / one.published - 1:+.1%}", f"{one.simulated:.2f}", f"{one.simulated / one.published - 1:+.1%}")
        for one in found.readings
    ]  # fmt: skip
    heads = "|of|published|as it ships|error|read so|error"
    print_columns("Other readings of the paper: tokens/s", heads, rows, left=("of",))
    for about in dict.fromkeys(f"  {one.name}: {one.about}" for one in found.readings):
        click.echo(about)


def _row(point: "ComparedPoint") -> tuple[str, ...]:
    signs = {"equal": "", "above": "over ", "below": "under "}
    numbers = [point.published, point.simulated, *([] if point.printed is None else [point.printed])]
    texts = [f"{number:.2%}" if point.unit == "share" else f"{number:.2f}" for number in numbers]
    texts += [""] * (3 - len(texts))
    return (
        point.name, point.where, signs[point.bound] + texts[0], texts[1], f"{point.error:+.1%}", texts[2]
    )  # fmt: skip
