"""`ndpsim rerun` and `ndpsim timeline`: what a result file is good for."""

import json
from pathlib import Path
from typing import Any

import click

from ndpsim.cli.command import Command, OutputPath
from ndpsim.cli.show import json_option, print_json, progress
from ndpsim.errors import InputError, ProgramError
from ndpsim.wall import ACCOUNT, STARTING


@click.command("rerun", cls=Command)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("-o", "output_path", type=OutputPath(), help="Result file to write (HDF5).")
@json_option
def rerun_command(result: Path, output_path: Path | None, as_json: bool) -> None:
    """Run again what RESULT records, and compare all figures.

    The contents of models, machines and so on are those of RESULT, whatever the files hold today. Of a partial result,
    as many tokens are run. Exit code 1 if figures differ.
    """
    ACCOUNT.begin()
    with STARTING:
        from ndpsim.cli.runs.run import bar, output_places
        from ndpsim.report.figures import figures_of
        from ndpsim.report.run_file import read_run, write_run
        from ndpsim.runs.run import Run
        from ndpsim.runs.setup import versions

    output_places(output_path)
    before = read_run(result)
    now = versions()
    others = [
        f"{name} {old}, now {now.get(name)}" for name, old in before.setup.versions.items() if old != now.get(name)
    ]
    with STARTING, progress("getting ready", None):
        run = Run(before.setup.model_copy(update={"versions": now}))
    with bar(run) as tell:
        run.advance(1 + len(before.token_ps), tell)
    found = figures_of(run)
    differ = [name for name in found.keys() | before.figures if _text(found, name) != _text(before.figures, name)]
    if [run.prompt_ps, *run.token_ps] != [before.prompt_ps, *before.token_ps]:
        differ.append("the length of each token")
    if output_path is not None:
        write_run(output_path, run)
    parts = ACCOUNT.so_far()
    if as_json:
        print_json({"result": str(result), "agrees": not differ, "differ": sorted(differ), "versions_differ": others,
                    "wall_s": sum(parts.values()), "wall_by_part_s": parts, **found})  # fmt: skip
    else:
        for text in others:
            click.echo(f"version: {text}")
        if not differ:
            click.echo(f"{result}: all figures are the same again: {found['tokens_per_s']:.6g} tokens/s")
    if differ:
        raise ProgramError(f"{result}: expected the same figures again, found others: {', '.join(sorted(differ))}")


def _text(figures: dict[str, Any], name: str) -> str:
    """Return a figure as JSON has it, where not-a-number equals itself."""
    return json.dumps(figures.get(name))


@click.command("timeline", cls=Command)
@click.argument("result", type=click.Path(path_type=Path))
@click.option("-o", "output_path", required=True, type=OutputPath(), help="File to write (JSON).")
def timeline_command(result: Path, output_path: Path) -> None:
    """Write the timeline of RESULT in the form that Perfetto (ui.perfetto.dev) and chrome://tracing show."""
    from ndpsim.report.run_file import read_run
    from ndpsim.report.timeline import write_timeline

    spans = read_run(result).meter.spans
    if not spans:
        raise InputError(f"{result}: expected a timeline, found a run of a system that tells none")
    write_timeline(output_path, spans)
    click.echo(f"wrote {output_path}: {len(spans)} pieces of work")
