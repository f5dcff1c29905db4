"""`ndpsim validate`: what was measured on real machines, beside what is simulated."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ndpsim.cli.command import CommandGroup
from ndpsim.cli.show import json_option, percent, print_columns, print_json, progress
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.studies.serving_runs import ServedCase

_PATH = click.Path(path_type=Path)


@click.group("validate", cls=CommandGroup)
def validate_command() -> None:
    """Compare simulated results with runs measured on real machines."""


@validate_command.command("serving")
@click.option("--runs", "tables", multiple=True, type=_PATH, help="Further stages on H100, or another card (CSV).")
@click.option("--requests", "logs", multiple=True, type=_PATH, help="Further logs of requests (JSONL).")
@click.option("--model-file", type=_PATH, help="Model of further runs whose model does not ship (.toml).")
@click.option("--card", metavar="NAME", help="Card of further runs that name none.")
@click.option("--kv-blocks", type=int, help="KV blocks of --requests.  [default: as the card's memory leaves]")
@click.option("--only-further", is_flag=True, help="Leave out the runs that ship.")
@json_option
def serving_command(
    tables: tuple[Path, ...], logs: tuple[Path, ...], model_file: Path | None, card: str | None,
    kv_blocks: int | None, only_further: bool, as_json: bool,
) -> None:  # fmt: skip
    """Serve the requests of measured vLLM runs: RTX 4090, RTX PRO 6000 and H100, and further ones.

    A table for --runs has the columns of workloads/studies/serving-h100.csv, a log for --requests the keys that
    LLMServingSim's benchmark writes. Measured columns may be empty: such figures are simulated all the same.
    """
    from ndpsim.data import workloads_dir
    from ndpsim.studies.serving_logs import log_case
    from ndpsim.studies.serving_runs import logged_case, measured_serving
    from ndpsim.studies.serving_stages import stage_cases

    if kv_blocks is not None and kv_blocks < 1:
        raise InputError(f"--kv-blocks: expected at least 1, found {kv_blocks}")
    definition = measured_serving()
    stages, cases = definition.stages, []
    if not only_further:
        cases += [logged_case(run) for run in definition.run]
        cases += stage_cases(workloads_dir() / "studies" / stages.table, stages)
    for table in tables:
        cases += stage_cases(table, stages, model_file, card)
    cases += [log_case(log, model_file, card, kv_blocks) for log in logs]
    if not cases:
        raise InputError("--only-further: expected --runs or --requests, found neither")
    found = []
    with progress("runs", len(cases)) as update:
        for case in cases:
            found.append(case.serve())
            update(completed=len(found))
    if as_json:
        print_json({
            "sources": [*(run.source for run in definition.run), stages.source],
            "runs": [one.record() for one in found],
        })  # fmt: skip
    else:
        _print(found)


def _print(found: "list[ServedCase]") -> None:
    for one in found:
        rows = []
        for metric, cells in one.metrics().items():
            rows.append([f"{metric} ms"])
            for cell in cells.values():
                simulated, measured, error = cell["simulated"], cell["measured"], cell["error"]
                rows[-1].append(f"{simulated:.1f}" + ("" if measured is None else f" / {measured:.1f} ({error:+.1%})"))
        print_columns(f"{one.case.name} on {one.origin}, {one.case.engine}", "|mean|50 %|90 %|99 %", rows)
        aims = []
        for name, error in one.errors().items():
            aim = one.case.aim.get(name)
            aims.append(f"{name} {percent(error)}" + ("" if aim is None else f" (aim {percent(aim)})"))
        if aims:
            click.echo(f"  mean absolute error: {', '.join(aims)}\n")
    click.echo("Simulated / measured (error). ttft: time to first token; tpot: per output token; e2e: end to end.")
