"""`ndpsim cache`: what is kept between runs to save time, and how to remove it."""

from pathlib import Path
from typing import Any

import click

from ndpsim.cache_folders import cache_folder
from ndpsim.cli.command import CommandGroup
from ndpsim.cli.show import json_option, print_json, quantity


@click.group("cache", cls=CommandGroup, invoke_without_command=True)
@json_option
@click.pass_context
def cache_command(context: click.Context, as_json: bool) -> None:
    """Show what is kept between runs: compiled kernels, and generated activation traces.

    All of it may be removed at any time; it is then made again, which takes up to a minute or two.
    """
    if context.invoked_subcommand is not None:
        return
    found = {name: _size(folder) for name, folder in _folders().items()}
    if as_json:
        print_json(found)
        return
    for name, one in found.items():
        click.echo(f"{name}: {_text(one)}")


@cache_command.command("clear")
@click.option("--kernels", is_flag=True, help="Remove compiled kernels alone.")
@click.option("--traces", is_flag=True, help="Remove generated traces alone.")
@json_option
def clear_command(kernels: bool, traces: bool, as_json: bool) -> None:
    """Remove what is kept: all of it, or what is named."""
    wanted = {"kernels": kernels, "traces": traces}
    removed = {name: _clear(folder) for name, folder in _folders().items() if wanted[name] or not any(wanted.values())}
    if as_json:
        print_json(removed)
        return
    for name, one in removed.items():
        click.echo(f"{name}: removed {_text(one)}")


def _folders() -> dict[str, Path]:
    from ndpsim.kernels.kernel_cache import kernel_folder
    from ndpsim.runs.cache import folder

    return {"kernels": kernel_folder(), "traces": folder()}


def _files(folder: Path) -> list[Path]:
    """Return the files that ndpsim has put there, those of processes that were killed and of earlier versions too."""
    patterns = ["*.kernel", "*.array", ".*.kernel.part", ".*.array.*.part"]
    if folder == cache_folder("kernels"):  # nobody else's
        patterns.append("*/*/*.nb?")
    return [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]


def _size(folder: Path) -> dict[str, Any]:
    files = _files(folder)
    return {"folder": str(folder), "entries": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _text(size: dict[str, Any]) -> str:
    many = size["entries"]
    return f"{many} {'entry' if many == 1 else 'entries'}, {quantity(size['bytes'], 'B')}, in {size['folder']}"


def _clear(folder: Path) -> dict[str, Any]:
    """Remove the files of a cache, and the folders that are then empty; returns what was removed."""
    removed = _size(folder)
    for path in _files(folder):
        path.unlink(missing_ok=True)
        for above in (path.parent, path.parent.parent):
            if above.is_relative_to(folder) and not any(above.iterdir()):
                above.rmdir()
    return removed
