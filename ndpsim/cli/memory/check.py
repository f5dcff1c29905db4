"""`ndpsim check`."""

from pathlib import Path

import click

from ndpsim.cli.command import Command
from ndpsim.cli.show import json_option, print_json
from ndpsim.cli.timing_options import set_option, timings
from ndpsim.errors import InputError

_MOST_RANKS = 64


@click.command("check", cls=Command)
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--standard", default=None, help="A name of `ndpsim dram --list`; a log of ours names its own.")
@click.option(
    "--ranks",
    type=click.IntRange(1, _MOST_RANKS),
    default=_MOST_RANKS,
    metavar="N",
    help=f"Ranks that there are, numbered from 0; if not given, all up to {_MOST_RANKS} that the log names.",
)
@set_option
@json_option
def check_command(log: Path, standard: str | None, ranks: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check the DRAM commands in LOG against a standard.

    LOG is a log of ours (HDF5), or a CSV (or .csv.gz) with the columns
    cycle,command,rank,bank_group,bank,row,column in any order, and dimm, channel
    and pseudo_channel where it has them. Cycles are those of first clocks.
    The report counts the commands that break each rule, and shows the first of
    each. Exit code 1 if any rule is broken.
    """
    from dataclasses import asdict

    from ndpsim.dram.checker.checker import StreamChecker
    from ndpsim.dram.log.log import read_pieces
    from ndpsim.dram.standard.standard import load_standard, with_overrides

    pieces = read_pieces(log)
    piece = next(pieces)
    name = standard or piece.standard
    if not name:
        raise InputError(f"{log}: names no standard; use --standard with a name of `ndpsim dram --list`")
    checker = StreamChecker(with_overrides(load_standard(name), timings(overrides)), piece.bus, ranks)
    checker.add(piece)
    for piece in pieces:
        checker.add(piece)
    report = checker.finish()
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
        click.echo("the first of each rule:")
        for violation in report.first:
            click.echo(f"  {violation}")
    if not report.legal:
        raise click.exceptions.Exit(1)
