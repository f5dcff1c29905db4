"""`ndpsim gpu`: kernel times of graphics cards, their fit and their validation."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ndpsim.cli.command import CommandGroup, OutputPath
from ndpsim.cli.show import json_option, percent, print_json, print_table
from ndpsim.errors import InputError

if TYPE_CHECKING:
    from ndpsim.gpu.validation import ValidationRow

_card = click.option("--card", "card_name", required=True, metavar="NAME", help="A card that ships, or a .toml file.")


@click.group("gpu", cls=CommandGroup)
def gpu_command() -> None:
    """Time kernels on a graphics card; fit a card to measurements; show how well the model does."""


@gpu_command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the cards, and whether their efficiencies are fitted or predicted."""
    from rich.console import Console
    from rich.table import Table

    from ndpsim.gpu.card import card_names, load_card

    cards = {name: load_card(name) for name in card_names()}
    if as_json:
        print_json({"cards": {name: card.model_dump(exclude={"traits"}) for name, card in cards.items()}})
        return
    table = Table(box=None, padding=(0, 2))
    for heading in ("card", "SMs", "FP16 TFLOPS", "GB/s", "GB", "L2 MB", "efficiencies"):
        table.add_column(heading, justify="left" if heading in ("card", "efficiencies") else "right")
    for name, card in cards.items():
        fitted = f"fitted to {card.fit.data}" if card.fit else "predicted"
        numbers = (card.sms, card.fp16_tflops, card.memory_gb_per_s, card.memory_mib / 1024, card.l2_mb)
        table.add_row(name, *(f"{number:g}" for number in numbers), fitted)
    Console().print(table)


@gpu_command.command("operations")
@json_option
def operations_command(as_json: bool) -> None:
    """List the operations and number formats of a table of kernels, and the columns that each operation has."""
    from ndpsim.gpu.kernels import DTYPES, MEANING, OPERATIONS, OPTIONAL

    columns = {op: {"needed": list(OPERATIONS[op]), "optional": list(OPTIONAL.get(op, ()))} for op in OPERATIONS}
    if as_json:
        print_json({"operations": columns, "dtypes": list(DTYPES), "columns": MEANING})
        return
    for op, found in columns.items():
        optional = f" [{', '.join(found['optional'])}]" if found["optional"] else ""
        click.echo(f"{op}: {', '.join(found['needed'])}{optional}")
    click.echo(f"dtype: {', '.join(DTYPES)}")
    for name, meaning in MEANING.items():
        click.echo(f"  {name}: {meaning}")


@gpu_command.command("predict")
@click.argument("table", metavar="FILE|-")
@_card
@click.option("--plain", is_flag=True, help="Add the host's launch of each kernel; without, they follow in a graph.")
@json_option
def predict_command(table: str, card_name: str, plain: bool, as_json: bool) -> None:
    """Predict the microseconds of each kernel of a CSV table: op, dtype and the columns of its shape.

    `ndpsim gpu operations` lists them; an empty cell is an absent one, and a column us is passed over.
    """
    from ndpsim.gpu.measured import read_kernels
    from ndpsim.gpu.model import GpuModel

    model = GpuModel.load(card_name)
    kernels = read_kernels(sys.stdin if table == "-" else Path(table))
    times = model.plain(kernels) if plain else model.microseconds(kernels)
    if as_json:
        print_json({"card": model.card.name, "origin": model.origin, "us": times.tolist()})
        return
    for time in times.tolist():
        click.echo(f"{time:.3f}")
    click.echo(f"us of {len(times)} kernels on {model.origin}", err=True)


@gpu_command.command("fit")
@click.argument("tables", metavar="DATA.csv...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_card
@click.option("-o", "--output", type=OutputPath(), required=True, help="Card file to write.")
@click.option("--origin", help="Where the measurements come from.  [default: names of the files]")
def fit_command(tables: tuple[Path, ...], card_name: str, output: Path, origin: str | None) -> None:
    """Fit a card's efficiencies to measured times (column us, beside those of predict) and write it as a card file.

    NAME gives the data sheet; a fit that it has is replaced. Half of the rows fit, errors are of the other half.
    """
    from ndpsim.files import appearing, require_place
    from ndpsim.gpu.card import load_card
    from ndpsim.gpu.fit import fit_card, joined, to_toml
    from ndpsim.gpu.measured import read_measurements

    if output.suffix != ".toml":
        raise InputError(f"{output}: expected a name that ends in .toml")
    require_place(output)
    card = load_card(card_name)
    kernels, us = joined([read_measurements(path) for path in tables])
    data = origin or ", ".join(path.name for path in tables)
    fitted = fit_card(card, kernels, us, data.encode(errors="replace").decode())  # the name of a file need not be text
    with appearing(output) as part:
        part.write_text(to_toml(fitted), encoding="utf-8")
    assert fitted.fit is not None
    unseen = "mean absolute error on the half that the fit has not seen"
    print_table(card.name, [(name, f"{percent(error)} {unseen}") for name, error in fitted.fit.error.items()])


@gpu_command.command("validate")
@click.option("-o", "--output", type=OutputPath(), help="Plot to write (SVG; needs ndpsim[plot]).")
@json_option
def validate_command(output: Path | None, as_json: bool) -> None:
    """Compare the model with the measurements that ship: as fitted, and with cards that it had not seen."""
    from ndpsim.gpu.validation import as_fitted, as_one_to_other, as_unseen, measurements

    if output is not None:
        from ndpsim.studies.plot import require_plot

        require_plot(output)
    measured = measurements()
    found = [*as_fitted(measured), *as_unseen(measured), *as_one_to_other(measured)]
    if output is not None:
        from ndpsim.studies.plot_gpu import plot_gpu

        plot_gpu(measured, output)
    if as_json:
        print_json({"rows": [{**row._asdict(), "errors": row.errors._asdict()} for row in found]})
    else:
        _print_rows(found)


def _print_rows(found: "list[ValidationRow]") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for basis in dict.fromkeys(row.basis for row in found):
        table = Table(title=f"Efficiencies {basis}", title_justify="left", box=None, padding=(0, 2))
        for heading in ("card", "measurements", "kernels", "rows", "mean error", "95th percentile", "bias"):
            left = heading in ("card", "measurements", "kernels")
            table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        for row in found:
            if row.basis == basis:
                mean, p95, bias = (f"{share:.1%}" for share in row.errors[1:])
                table.add_row(row.card, row.origin, row.kind, str(row.errors.rows), mean, p95, bias)
        console.print(table)
