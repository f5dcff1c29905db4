"""`ndpsim study hermes`: what each parameter of its machine is worth."""

from typing import TYPE_CHECKING

import click

from ndpsim.cli.command import Command
from ndpsim.cli.show import json_option, print_columns, print_json, progress
from ndpsim.cli.studies.reproduce import DEFAULT_JOBS, MAX_JOBS
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.studies.sensitivity import Effect, Sensitivity

_STUDY = "hermes-sensitivity"


@click.command("hermes", cls=Command)
@click.option("--sweep", "sweeps", multiple=True, metavar="NAME", help="A parameter; again for more.  [default: all]")
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model; again for more.")
@click.option("--batch", "batches", multiple=True, type=int, help="Sequences at a time; again for more.")
@click.option("--tokens", type=int, help="Output tokens to simulate; their mean stands for all.  [default: 10]")
@click.option("--jobs", default=DEFAULT_JOBS, help="Processes at a time.  [default: 2, or 1 on one core]")
@json_option
def hermes_sensitivity_command(
    sweeps: tuple[str, ...], models: tuple[str, ...], batches: tuple[int, ...], tokens: int | None, jobs: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Change one parameter of Hermes' machine at a time: DIMMs, multipliers, card, links, layout, activations."""
    from ndpsim.llm.catalog import load_shape
    from ndpsim.runs.setup import MAX_BATCH
    from ndpsim.studies.sensitivity import effects, sensitivity, sensitivity_cases

    definition = sensitivity(_STUDY)
    known = [sweep.name for sweep in definition.sweeps]
    for name in sweeps:
        if name not in known:
            raise InputError(f"--sweep: expected one of {', '.join(known)}, found {name!r}")
    for model in models:
        load_shape(model)
    tokens = definition.tokens if tokens is None else tokens
    counts = [("tokens", tokens, 2, definition.output), ("jobs", jobs, 1, MAX_JOBS)]
    for option, value, least, most in [*counts, *(("batch", batch, 1, MAX_BATCH) for batch in batches)]:
        if not least <= value <= most:
            raise InputError(f"--{option}: expected {least} to {most}, found {value}")
    chosen = [
        sweep.model_copy(update={"batches": list(batches) or sweep.batches})
        for sweep in definition.sweeps
        if not sweeps or sweep.name in sweeps
    ]
    update = {"sweeps": chosen, "tokens": tokens, "models": list(models) or definition.models}
    definition = definition.model_copy(update=update)
    with progress("runs", len(sensitivity_cases(definition))) as tell:
        found = effects(definition, jobs, tell=lambda done: tell(completed=done))
    if as_json:
        print_json({
            **definition.model_dump(exclude={"sweeps"}),
            "sweeps": [{"name": sweep.name, "about": sweep.about} for sweep in definition.sweeps],
            "effects": [one.record() for one in found],
        })  # fmt: skip
    else:
        _print(definition, found)


def _print(definition: "Sensitivity", found: "list[Effect]") -> None:
    click.echo(
        f"{definition.system}: tokens/s, and those by tokens/s of the machine that ships. "
        f"Each run simulates the first {definition.tokens} of {definition.output} output tokens: the prompt gives the "
        "first, and the mean of the passes behind it stands for all others, with what attention in DIMMs takes longer "
        "over the contexts to come.\n"
    )
    for sweep in definition.sweeps:
        own = [one for one in found if one.sweep == sweep.name]
        runs = list(dict.fromkeys((one.model, one.batch) for one in own))
        cells = {(one.point, one.model, one.batch): _cell(one) for one in own}
        rows = [[point, *(cells[(point, *run)] for run in runs)] for point in sweep.points]
        heads = "|".join(["", *(f"{model}, batch {batch}" for model, batch in runs)])
        print_columns(f"{sweep.name}: {sweep.about}", heads, rows)
        for why in dict.fromkeys(f"  {one.point}, {one.model}: {one.why_not}" for one in own if one.why_not):
            click.echo(why)
        click.echo()


def _cell(one: "Effect") -> str:
    if one.tokens_per_s is None or one.ratio is None:
        return "cannot be run"
    return f"{one.tokens_per_s:.2f} ({one.ratio:.2f})"
