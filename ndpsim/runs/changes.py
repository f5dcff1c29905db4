"""Parameters by path: what can be set in the content of a file, `--set dram.timing.nRCD.nck=20`, and how it is set."""

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from ndpsim.dram.standard.file import TimingValue
from ndpsim.errors import InputError

ASKED: Final = "asked for"
Keys = tuple[str, ...]
_SHOWN: Final = 12
_LABELS: Final = {"source", "summary", "standard", "default_device"}
_NOTES: Final = ("gpu.fit.data", "gpu.fit.rows", "gpu.fit.error.")


class Form:
    """What a file can hold: the paths of its fields, by the pydantic table that reads it and the content that it has.

    A value that lies in a table with its source has the path of that table. Of a timing of DRAM (`TimingValue`) the
    parts have paths as well. Lists are set as a whole. Without a root, only fields of tables have paths.
    What only names something has none.
    """

    def __init__(self, root: str, table: type[BaseModel], content: Mapping[str, Any]) -> None:
        begin = (root,) if root else ()
        self.table = table
        self.paths = {
            path: (keys, kind)
            for keys, kind in _fields(table, content)
            if (begin or keys[1:]) and keys != ("name",) and not _is_label(path := ".".join((*begin, *keys)))
        }

    def value(self, content: Mapping[str, Any], path: str) -> Any:
        """Return the value of a known path, None if the content has none."""
        entry: Any = content
        for key in self.paths[path][0]:
            entry = entry.get(key) if isinstance(entry, Mapping) else None
        if isinstance(entry, Mapping):
            entry = {key: one for key, one in entry.items() if key != "source"} if "value" not in entry else entry
        return _value_of(entry)

    def set(self, content: dict[str, Any], path: str, value: Any) -> None:
        """Set a field of the content; whether the value is possible, the reader of the content says.

        Raises InputError if there is no such path.
        """
        if path not in self.paths:
            raise InputError(unknown(path, self.paths))
        (*keys, last), kind = self.paths[path]
        table = content
        for key in keys:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):  # of which the reader will tell
                return
        old = table.get(last)
        if kind is TimingValue:  # a number is in clocks
            table[last] = {**(value if isinstance(value, dict) else {"nck": value}), "source": ASKED}
        elif kind is _PART:  # what else the timing was is not asked for
            table.clear()
            table.update({last: value, "source": ASKED})
        elif _is_sourced(kind):
            table[last] = {**(old if isinstance(old, dict) else {}), "value": value, "source": ASKED}
        else:
            table[last] = value


def _value_of(entry: Any) -> Any:
    """Return a value without its source."""
    return entry["value"] if isinstance(entry, Mapping) and {"value", "source"} <= entry.keys() else entry


def _is_label(path: str) -> bool:
    """Tell whether a field only says what something is called or where it comes from; a name may choose a file."""
    last = path.rpartition(".")[2]
    return last in _LABELS or (last == "name" and path != "dimm.name") or path.startswith(_NOTES)


def unknown(path: str, known: Mapping[str, Any]) -> str:
    """Return the sentence on a path that is not known: with those that look like it, or with those beside it."""
    near, begin = get_close_matches(path, known, n=3, cutoff=0.8), path
    while "." in begin and not near:
        begin = begin.rpartition(".")[0]
        near = [name for name in known if name.startswith(f"{begin}.")]
    if not near:
        roots = dict.fromkeys(name.partition(".")[0] for name in known)
        return f"{path}: expected a path that begins with {', '.join(roots)}, found this one"
    rest = f" and {len(near) - _SHOWN} more (ndpsim list --paths)" if len(near) > _SHOWN else ""
    return f"{path}: expected a known path, such as {', '.join(near[:_SHOWN])}{rest}"


_PART: Final = object()
"""The kind of a part of a timing."""


def _fields(kind: Any, content: Any) -> Iterator[tuple[Keys, Any]]:
    """Yield the keys and the kind of each field below a table."""
    content = content if isinstance(content, Mapping) else {}
    for name, field in kind.model_fields.items():
        yield from _below((name,), _plain(field.annotation), content.get(name))


def _below(keys: Keys, kind: Any, content: Any) -> Iterator[tuple[Keys, Any]]:
    arguments = get_args(kind)
    if get_origin(kind) is dict and isinstance(content, Mapping):
        for name, entry in content.items():
            yield from _below((*keys, name), _plain(arguments[1]), entry)
    elif kind is TimingValue:
        yield keys, kind
        for name in TimingValue.model_fields:
            if name != "source":
                yield (*keys, name), _PART
    elif _is_sourced(kind) or not _is_table(kind):
        yield keys, kind
    else:
        for own, inner in _fields(kind, content):
            yield (*keys, *own), inner


def _plain(kind: Any) -> Any:
    """Return a kind without what annotates it, and without None."""
    while True:
        origin, arguments = get_origin(kind), get_args(kind)
        others = [one for one in arguments if one is not type(None)]
        if origin is Annotated:
            kind = arguments[0]
        elif origin in (Union, types.UnionType) and len(others) == 1:
            kind = others[0]
        else:
            return kind


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_sourced(kind: Any) -> bool:
    return _is_table(kind) and {"value", "source"} <= kind.model_fields.keys()
