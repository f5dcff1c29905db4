"""`--set`: the option that replaces timings of a DRAM standard."""

import click

from ndpsim.errors import InputError

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="NAME=CLOCKS", help="Replace a timing, as in --set nRFC=560."
)


def timings(pairs: tuple[str, ...]) -> dict[str, int]:
    """Return what `--set` was given, by the name of the timing."""
    overrides = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value.isdecimal() or len(value) > 12:
            raise InputError(f"--set: expected NAME=CLOCKS, found '{pair}'")
        overrides[name] = int(value)
    return overrides
