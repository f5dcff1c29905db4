"""Commands that refuse what would go wrong without a word: an output over an input, and an option given twice."""

from collections.abc import Iterator
from os.path import realpath, samefile
from pathlib import Path
from typing import Any

import click

from ndpsim.errors import InputError


class OutputPath(click.Path):
    """A file that a command writes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


class UpdatedPath(click.Path):
    """A file that a command reads, and may write anew."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


class Command(click.Command):
    """A command that takes each option once, and writes over nothing that it reads or has written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is given twice, of which click would take the last."""
        require_once(self.params, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Check all files, and run."""
        require_apart(self.params, ctx.params)
        return super().invoke(ctx)


class CommandGroup(click.Group):
    """A group of such commands."""

    command_class = Command


def require_once(parameters: list[click.Parameter], args: list[str]) -> None:
    """Raise InputError if an option comes twice that has one value, or one of NAME=VALUE with the same name."""
    typed = args[: args.index("--")] if "--" in args else args
    for one in parameters:
        if not isinstance(one, click.Option) or one.is_flag:
            continue
        found = [place for place, text in enumerate(typed) if text.partition("=")[0] in one.opts]
        if not one.multiple:
            if len(found) > 1:
                raise InputError(f"{one.opts[0]}: expected it once, found it {len(found)} times")
            continue
        values = [typed[at].partition("=")[2] or (typed[at + 1] if at + 1 < len(typed) else "") for at in found]
        names = [value.partition("=")[0].strip() for value in values if "=" in value]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{one.opts[0]}: expected {name} once, found it {names.count(name)} times")


def require_apart(parameters: list[click.Parameter], values: dict[str, Any]) -> None:
    """Raise InputError if an output is an input, or another output."""
    given = [(one, values[one.name]) for one in parameters if one.name and values.get(one.name) is not None]
    outputs = [(one.opts[0], path) for one, path in given if isinstance(one.type, OutputPath)]
    for number, (option, path) in enumerate(outputs):
        for other, found in outputs[:number]:
            if _same(path, found):
                raise InputError(f"{option}: expected another file than that of {other}, found {path}")
        for one, value in given:
            if isinstance(one.type, OutputPath | UpdatedPath):
                continue
            if any(_same(path, found) for found in _files_in(value)):
                name = one.opts[0] if isinstance(one, click.Option) else (one.name or "").upper()
                raise InputError(f"{option}: expected another file than {name}, which is read, found {path}")


def _files_in(value: Any) -> Iterator[Path]:
    """Yield the files that a value may name: as it is, before a colon (file.py:Class), or behind = (PATH=VALUE)."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, str):
        for text in (value, value.rpartition(":")[0], value.partition("=")[2]):
            if text and "\0" not in text and len(text) < 4096:
                yield Path(text)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _files_in(one)


def _same(one: Path, other: Path) -> bool:
    try:
        return realpath(one) == realpath(other) or samefile(one, other)
    except (OSError, ValueError):
        return False
