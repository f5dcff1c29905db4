"""`ndpsim run`: a language model on a machine, under a system's policy."""

import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ndpsim.cli.command import Command, OutputPath, UpdatedPath
from ndpsim.cli.interrupt import INTERRUPTED, stopping
from ndpsim.cli.show import json_option, print_json, progress
from ndpsim.errors import InputError
from ndpsim.wall import ACCOUNT, STARTING

if TYPE_CHECKING:
    from ndpsim.dimm.verify import Verifier
    from ndpsim.report.run_file import RunFile
    from ndpsim.runs.run import Run
    from ndpsim.runs.setup import Setup

CHECKPOINT_S = 3.0
CHECKPOINT_SHARE = 20  # writing a long run takes at most so small a part of its time
_ON_RESUME = {"resume", "output_path", "timeline", "as_json", "verify_fast"}


@click.command("run", cls=Command)
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
@click.option("-o", "output_path", type=OutputPath(),
              help=f"Result file to write (HDF5); every {CHECKPOINT_S:.0f} s or so, what is done so far.")  # fmt: skip
@click.option("--resume", type=UpdatedPath(), help="Result file to go on with; the other options may be left out.")
@click.option("--timeline", type=OutputPath(), help="File for the timeline, which Perfetto shows (JSON).")
@click.option("--verify-fast", is_flag=True, help="Time each program a second time, command by command, and compare.")
@json_option
@click.pass_context
def run_command(
    context: click.Context,
    output_path: Path | None,
    resume: Path | None,
    timeline: Path | None,
    verify_fast: bool,
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
        typed = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        wanted = _setup(typed, settings, gpu, **options) if resume is None or typed - _ON_RESUME else None
        before = None if resume is None else _before(resume, wanted)
        if before is not None and before.complete:
            _show(before, output_path, timeline, as_json)
            return
        with progress("getting ready", None):
            run = _new(wanted) if before is None else before.restored()
    verifier = _verifier(run) if verify_fast else None
    finish(run, output_path or resume, timeline, as_json)
    if verifier is not None:
        verifier.finish()
        judged = f"; the first {verifier.commands} commands keep all rules" if verifier.commands else ""
        click.echo(f"{verifier.programs} programs took the same time both ways{judged}", err=True)


def _verifier(run: "Run") -> "Verifier":
    """Have each program of a run timed both ways."""
    if run.system.ndp is None:
        raise InputError(f"--verify-fast: expected a system with NDP-DIMMs, found {run.system.name}")
    return run.system.ndp.verify()


def _setup(typed: set[str], settings: tuple[str, ...], gpu: str | None, **options: Any) -> "Setup":
    """Return the setup that the options ask for."""
    if options["model"] is None:
        raise InputError("--model: expected a model, or --resume and none of the options of a run, found none")
    if options["trace"] is not None and (made := typed & {"preset", "seed"}):
        others = " and ".join(f"--{name}" for name in sorted(made))
        raise InputError(f"--trace: expected it or {others}, which are of a generated trace, found both")
    from ndpsim.runs.setup import Setup
    from ndpsim.systems.catalog import load_system

    traced = sorted(typed & {"preset", "seed", "trace"})
    if traced and "preset" in load_system(options["system"]).ignores:
        raise InputError(f"--{traced[0]}: expected a system that asks which neurons fire, found {options['system']}")
    return Setup.of(**options, changes=changes_of(settings, gpu))


def _new(setup: "Setup | None") -> "Run":
    from ndpsim.runs.run import Run

    assert setup is not None
    return Run(setup)


def _before(path: Path, wanted: "Setup | None") -> "RunFile":
    """Read a result to go on with, which is of the run that the options ask for, if they ask for one."""
    from ndpsim.report.run_file import read_run

    before = read_run(path)
    if wanted is not None:
        found, asked = before.setup.model_dump(exclude={"versions"}), wanted.model_dump(exclude={"versions"})
        if differ := [name for name in asked if asked[name] != found[name]]:
            raise InputError(
                f"--resume: expected the options of the run in {path}, or none of them, found others: "
                f"{', '.join(differ)}"
            )
    return before


def _show(before: "RunFile", output_path: Path | None, timeline: Path | None, as_json: bool) -> None:
    """Tell the figures of a result that is complete, and write what is asked for from it."""
    from ndpsim.cli.runs.run_table import print_run
    from ndpsim.files import appearing
    from ndpsim.report.timeline import write_timeline

    if timeline is not None:
        write_timeline(timeline, before.meter.spans)
    if output_path is not None and output_path.resolve() != before.path.resolve():
        with appearing(output_path) as part:
            part.write_bytes(before.path.read_bytes())
    if as_json:
        print_json({**before.figures, "setup": before.setup.model_dump()})
    else:
        print_run(before.figures)


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
    from ndpsim.cli.runs.run_table import print_run
    from ndpsim.report.figures import figures_of
    from ndpsim.report.run_file import write_run
    from ndpsim.report.timeline import write_timeline

    before, unwritten = run.now_ps, list[InputError]()
    code = advance(run, output_path)
    for path, write in ((timeline, lambda at: write_timeline(at, run.system.meter.spans)),
                        (output_path, lambda at: write_run(at, run))):  # fmt: skip
        try:
            if path is not None:
                write(path)
        except InputError as error:  # the figures are told all the same
            unwritten.append(error)
    parts = ACCOUNT.so_far()
    wall, simulated = sum(parts.values()), (run.now_ps - before) * 1e-12
    times = {"wall_s": wall, "slowdown": wall / simulated if simulated else None, "wall_by_part_s": parts}
    record = {**figures_of(run), **times}
    if as_json:
        print_json({**record, "setup": run.setup.model_dump()})
    else:
        print_run(record)
    if unwritten:
        raise unwritten[0]
    if code:
        _tell_partial(output_path, run.tokens, run)
        raise click.exceptions.Exit(code)


def advance(run: "Run", output_path: Path | None) -> int:
    """Run to the end, with a bar; return 0, or the exit code for the signal that stopped the run.

    With a result file, it is written now and then, and a signal to stop ends the run after the token at hand.
    """
    from ndpsim.report.run_file import write_run

    with bar(run) as tell:
        if output_path is None:
            run.advance(tell=tell)
            return 0
        with stopping() as stopped:
            kept, due = 0, time.monotonic() + CHECKPOINT_S
            try:
                while not run.complete and not stopped():
                    run.advance(1, tell)
                    if (begun := time.monotonic()) >= due:
                        with suppress(InputError):  # there may be room at the end, which will tell
                            write_run(output_path, run)
                            kept = run.tokens
                        now = time.monotonic()
                        due = now + max(CHECKPOINT_S, CHECKPOINT_SHARE * (now - begun))
            except KeyboardInterrupt:
                if not kept:
                    raise
                _tell_partial(output_path, kept, run)
                raise click.exceptions.Exit(INTERRUPTED) from None
            number = stopped()
    return 0 if run.complete else 128 + number


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
