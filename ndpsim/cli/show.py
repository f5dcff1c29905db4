"""How results are printed: tables for people, one JSON object for programs."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ndpsim.cli.compile_notice import text_of
from ndpsim.kernels.compiling import Compilation, watched

_WIDTH = 160
"""Most columns of text in a table where the terminal does not say how many it has, or fewer."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object to stdout, and nothing else there."
)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on one line; what is not a number becomes null."""
    sys.stdout.write(json.dumps(_finite(record), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def print_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print a table of two columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(name, escape(value))  # a file's name may have [brackets]
    Console().print(table)


def print_columns(title: str, heads: str, rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """Print a table below its title; heads: of the columns, with | between them.

    All columns are right-aligned but the first, those without a head, and those of the heads `left`.
    """
    from rich.console import Console
    from rich.table import Table

    click.echo(title)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads.split("|")):
        is_left = number == 0 or not head or head in left
        table.add_column(head, justify="left" if is_left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=max(Console().width, _WIDTH)).print(table)


@contextmanager
def progress(description: str, total: int | None, delay_s: float = 0.0) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, if that is a terminal; yields a function that takes rich's `Progress.update` keywords.

    Work that is done within `delay_s` shows none.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda **_changes: None  # `compile_notice` tells a pipe
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(description, total=total)
    begun = time.monotonic()

    def update(**changes: Any) -> None:
        bar.update(task, **changes)
        if time.monotonic() - begun >= delay_s:
            bar.start()

    def compiles(compilation: Compilation) -> None:
        bar.update(task, description=text_of(compilation) if compilation.active else description)
        bar.start()

    try:
        if delay_s == 0.0:
            bar.start()
        with watched(compiles):
            yield update
    finally:
        bar.stop()


def quantity(value: float, unit: str) -> str:
    """Write a value with a decimal prefix: 1.5e-6, "s" becomes "1.50 us"."""
    if value == 0:
        return f"0 {unit}"
    prefixes = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))
    for factor, prefix in prefixes:
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def joules_of(value: float | None) -> str:
    """Write an energy; None is one that is not known."""
    return "not known" if value is None else quantity(value, "J")


def energy_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of a table on `energy_j` and `energy_note`: a total, the components of each part, the basis."""
    joules = figures["energy_j"]
    total = joules["total"]
    rows = [("energy", "unknown" if total is None else quantity(total, "J"))]
    for name, part in joules.items():
        if isinstance(part, dict):
            parts = [f"{key.replace('_', ' ')} {joules_of(value)}" for key, value in part.items() if value != 0]
            rows.append((f"  {name}", ", ".join(parts) or "none"))
    return [*rows, ("  basis", figures["energy_note"])]


def percent(share: float) -> str:
    """Write a share as percent; a dash for not-a-number."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
