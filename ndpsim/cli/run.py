"""`ndpsim run`: a language model on a machine, under a system's policy."""

import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ndpsim.cli.interrupt import INTERRUPTED, stopping
from ndpsim.cli.show import json_option, print_json, progress
from ndpsim.errors import InputError
from ndpsim.wall import ACCOUNT, STARTING

if TYPE_CHECKING:
    from ndpsim.runs.run import Run

CHECKPOINT_S = 3.0
CHECKPOINT_SHARE = 20  # writing a long run takes at most so small a part of its time
_ON_RESUME = {"resume", "output_path", "timeline", "as_json"}


@click.command("run")
@click.option("--system", default="hermes", show_default=True, metavar="NAME",
              help="Who computes what: a name of `ndpsim list`, or your own file.py[:Class].")  # fmt: skip
@click.option("--model", metavar="NAME", help="A model of `ndpsim list`, or a model file (.toml).")
@click.option("--batch", default=1, show_default=True, help="Sequences at a time.")
@click.option("--input", "prompt", default=128, show_default=True, help="Tokens of each prompt.")
@click.option("--output", default=128, show_default=True, help="Tokens to generate for each sequence.")
@click.option("--machine", default="hermes", show_default=True, help="Devices and links: a name, or a .toml file.")
@click.option("--gpu", metavar="CARD", help="Another graphics card: short for --set gpu.card=CARD.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
              help="Another value: dimm.count=16, dram.timing.nRCD.nck=20, policy.window=3.")  # fmt: skip
@click.option("--preset", default="paper", show_default=True, help="Which neurons fire: a preset of `ndpsim list`.")
@click.option("--seed", default=0, show_default=True, help="Seed of the generated trace.")
@click.option("--trace", type=click.Path(path_type=Path), help="An activation trace in place of a generated one.")
@click.option("-o", "output_path", type=click.Path(path_type=Path),
              help=f"Result file to write (HDF5); every {CHECKPOINT_S:.0f} s or so, what is done so far.")  # fmt: skip
@click.option("--resume", type=click.Path(path_type=Path), help="Partial result file to go on with.")
@click.option("--timeline", type=click.Path(path_type=Path), help="File for the timeline, which Perfetto shows (JSON).")
@json_option
@click.pass_context
def run_command(
    context: click.Context,
    output_path: Path | None,
    resume: Path | None,
    timeline: Path | None,
    as_json: bool,
    settings: tuple[str, ...],
    gpu: str | None,
    **options: Any,
) -> None:
    """Run a model on a machine: each operation of the DIMMs timed DRAM command by DRAM command.

    With -o, whatever stops the run leaves a partial result (Ctrl-C all but the token at hand, a crash all but the last
    few seconds), and --resume goes on from it to the same result as without a stop.
    """
    ACCOUNT.begin()
    output_places(output_path, timeline)
    with STARTING:
        run = _begun(settings, gpu, **options) if resume is None else _resumed(context, resume)
    finish(run, output_path or resume, timeline, as_json)


def _begun(settings: tuple[str, ...], gpu: str | None, **options: Any) -> "Run":
    if options["model"] is None:
        raise InputError("--model: expected a model, or --resume, found none")
    from ndpsim.runs.run import Run
    from ndpsim.runs.setup import Setup

    setup = Setup.of(**options, changes=changes_of(settings, gpu))
    with progress("getting ready", None):
        return Run(setup)


def _resumed(context: click.Context, partial: Path) -> "Run":
    typed = {one.name: one.opts[0] for one in context.command.params if one.name not in _ON_RESUME}
    others = [
        option
        for name, option in typed.items()
        if name and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if others:
        raise InputError(f"--resume: expected no option that the run has already, found {', '.join(others)}")
    from ndpsim.report.run_file import read_run

    before = read_run(partial)
    with progress("getting ready", None):
        return before.restored()


def changes_of(settings: tuple[str, ...], gpu: str | None) -> dict[str, Any]:
    """Read changes as they are typed: a path, and a value in TOML or a text."""
    changes: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--set: expected PATH=VALUE, found {text!r}")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            changes[name.strip()] = value.strip()
    if gpu is not None:
        if "gpu.card" in changes:
            raise InputError("--gpu: expected it or --set gpu.card, found both")
        changes["gpu.card"] = gpu
    return changes


def finish(run: "Run", output_path: Path | None, timeline: Path | None, as_json: bool) -> None:
    """Run to the end and tell the figures; the wall time is that since `ndpsim.wall.ACCOUNT` began."""
    from ndpsim.cli.run_table import print_run
    from ndpsim.report.figures import figures_of
    from ndpsim.report.run_file import write_run
    from ndpsim.report.timeline import write_timeline

    before = run.now_ps
    complete = advance(run, output_path)
    if timeline is not None:
        write_timeline(timeline, run.system.meter.spans)
    if output_path is not None:
        write_run(output_path, run)
    parts = ACCOUNT.so_far()
    wall, simulated = sum(parts.values()), (run.now_ps - before) * 1e-12
    times = {"wall_s": wall, "slowdown": wall / simulated if simulated else None, "wall_by_part_s": parts}
    record = {**figures_of(run), **times}
    if as_json:
        print_json({**record, "setup": run.setup.model_dump()})
    else:
        print_run(record)
    if not complete:
        _tell_partial(output_path, run.tokens, run)
        raise click.exceptions.Exit(INTERRUPTED)


def advance(run: "Run", output_path: Path | None) -> bool:
    """Run to the end, with a bar; tell whether it got there.

    With a result file, it is written now and then, and a signal to stop ends the run after the token at hand.
    """
    from ndpsim.report.run_file import write_run

    with bar(run) as tell:
        if output_path is None:
            run.advance(tell=tell)
            return True
        with stopping() as stopped:
            kept, due = 0, time.monotonic() + CHECKPOINT_S
            try:
                while not run.complete and not stopped():
                    run.advance(1, tell)
                    if (begun := time.monotonic()) >= due:
                        write_run(output_path, run)
                        kept, now = run.tokens, time.monotonic()
                        due = now + max(CHECKPOINT_S, CHECKPOINT_SHARE * (now - begun))
            except KeyboardInterrupt:
                if not kept:
                    raise
                _tell_partial(output_path, kept, run)
                raise click.exceptions.Exit(INTERRUPTED) from None
    return run.complete


def _tell_partial(path: Path | None, tokens: int, run: "Run") -> None:
    found = f"{path} has {tokens} of {run.setup.output} tokens"
    click.echo(f"ndpsim: interrupted; {found}: ndpsim run --resume {path}", err=True)


@contextmanager
def bar(run: "Run") -> Iterator[Callable[[int], None]]:
    """Show a bar with the tokens of a run; yields a function that takes how many are done."""
    with progress("tokens", run.setup.output) as update:
        update(completed=run.tokens)
        yield lambda done: update(completed=done)


def output_places(*paths: Path | None) -> None:
    """Raise InputError before a long run if what it is to write could not be written."""
    from ndpsim.files import require_place

    for path in paths:
        if path is not None:
            require_place(path)
