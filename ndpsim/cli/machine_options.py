"""Options that name a machine, shared by several commands."""

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--dimm", default="hermes", show_default=True, help="DIMM description: a name of `ndpsim list`, or a file."
    ),
    click.option("--dimms", default=4, show_default=True, help="Number of DIMMs."),
    click.option(
        "--placement", default=None, help="Address map: a name in the DIMM description (default: its first), or a map."
    ),
)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --dimm, --dimms and --placement."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
