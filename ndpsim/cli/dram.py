"""`ndpsim check`."""

from pathlib import Path

import click

from ndpsim.cli.show import json_option, print_json
from ndpsim.cli.timing_options import set_option, timings
from ndpsim.errors import InputError


@click.command("check")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--standard", default=None, help="A name of `ndpsim list`; a log of ours names its own.")
@set_option
@json_option
def check_command(log: Path, standard: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check the DRAM commands in LOG against a standard.

    LOG is a log of ours (HDF5), or a CSV (or .csv.gz) with the columns
    cycle,command,rank,bank_group,bank,row,column. Exit code 1 if any rule is broken.
    """
    from dataclasses import asdict

    from ndpsim.dram.checker import check
    from ndpsim.dram.log import read_log
    from ndpsim.dram.standard import load_standard, standard_names, with_overrides

    commands = read_log(log)
    name = standard or commands.standard
    if not name:
        raise InputError(f"{log}: names no standard; use --standard with one of {', '.join(standard_names())}")
    judged = with_overrides(load_standard(name), timings(overrides))
    report = check(commands, judged)
    if as_json:
        record = {"log": str(log), "standard": name, "legal": report.legal, "commands": report.commands}
        print_json(
            record | {"counts": report.counts, "first": [{**asdict(v), "sentence": str(v)} for v in report.first]}
        )
    elif report.legal:
        click.echo(f"{log}: {report.commands} commands, all legal by {name}")
    else:
        counts = ", ".join(f"{rule} {count}" for rule, count in report.counts.items() if count)
        click.echo(f"{log}: {report.commands} commands, violations of {name}: {counts}")
        for violation in report.first:
            click.echo(f"  {violation}")
        if hidden := sum(report.counts.values()) - len(report.first):
            click.echo(f"  and {hidden} more")
    if not report.legal:
        raise click.exceptions.Exit(1)
