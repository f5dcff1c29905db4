"""What a field of a table can hold, in words: read from the annotations by which pydantic checks it.

"1 to 64", "one of greedy, optimal, random", "a number of 0 to 1, or a list of such": for messages and for lists.
"""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Unit:
    """An annotation: the unit of a number; a file that states another one is refused, not converted."""

    name: str


@dataclass(frozen=True)
class Words:
    """An annotation: what a field can hold, where its other annotations do not say it."""

    text: str


class FieldKind(NamedTuple):
    """A type without what annotates it, and the annotations."""

    type: Any
    notes: tuple[Any, ...]


_PLAIN: Final[Mapping[Any, str]] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_UNITS: Final = {
    "gb_per_s": "GB/s", "bytes_per_clock": "byte/clock", "gflops": "GFLOP/s", "tflops": "TFLOP/s", "tops": "TOP/s",
    "gbit": "Gbit", "mtps": "MT/s", "gib": "GiB", "mib": "MiB", "kib": "KiB", "gb": "GB", "mb": "MB", "mhz": "MHz",
    "us": "us", "ns": "ns", "ps": "ps", "nck": "clock", "clocks": "clock", "w": "W", "bytes": "byte", "bits": "bit",
    "mw": "mW", "ma": "mA", "volts": "V", "tokens": "token",
}  # fmt: skip


def kind_of(annotation: Any) -> FieldKind:
    """Return the kind of an annotation, or of a field with its own ones. None beside one other type does not count."""
    notes: list[Any] = []
    if isinstance(annotation, FieldInfo):
        notes, annotation = list(annotation.metadata), annotation.annotation
    while True:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation = arguments[0]
            notes += _flat(arguments[1:])
        elif _is_union(annotation) and len(others := [one for one in arguments if one is not type(None)]) == 1:
            annotation = others[0]
        else:
            return FieldKind(annotation, tuple(notes))


def is_table(kind: Any) -> bool:
    """Tell whether a type is a table."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_sourced(kind: Any) -> bool:
    """Tell whether a type is a value with its source."""
    return is_table(kind) and {"value", "source"} <= kind.model_fields.keys()


def unit_of(name: str, notes: Iterable[Any] = ()) -> str:
    """Return the unit of a field: as it is annotated, or as its name ends; else nothing."""
    for note in notes:
        if isinstance(note, Unit):
            return note.name
    ends = [end for end in _UNITS if name == end or name.endswith(f"_{end}")]
    return _UNITS[max(ends, key=len)] if ends else ""


def words_of(annotation: Any) -> str:
    """Return what a field can hold, in words."""
    kind, notes = kind_of(annotation)
    for note in notes:
        if isinstance(note, Words):
            return note.text
    if is_sourced(kind):
        return words_of(kind.model_fields["value"])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, arguments)) if len(arguments) == 1 else f"one of {', '.join(map(str, arguments))}"
    if _is_union(kind):
        return ", or ".join(words_of(one) for one in arguments if one is not type(None))
    if origin in (dict, Mapping) or is_table(kind):
        return "a table"
    if origin in (list, tuple, set, frozenset, Sequence):
        return f"a list, each {words_of(arguments[0])}" if arguments else "a list"
    limits = _limits(notes)
    text = _PLAIN.get(kind, "a number")
    if "least" in limits and "most" in limits:
        text = (
            f"{limits['least']} to {limits['most']}"
            if kind is int
            else f"{text} of {limits['least']} to {limits['most']}"
        )
    else:
        words = {"above": "above", "least": "from", "below": "below", "most": "up to"}
        bounds = [f"{word} {limits[name]}" for name, word in words.items() if name in limits]
        text = f"{text} {', '.join(bounds)}" if bounds else text
    return text + (f", a multiple of {limits['multiple']}" if "multiple" in limits else "")


def at(table: Any, place: Sequence[str | int]) -> tuple[list[str], Any, int]:
    """Follow the place of a fault from a table on, as far as fields go: not into the choices of a union.

    Returns the names on the way, what is there (None where that has no kind), and how much of the place is left.
    """
    names: list[str] = []
    annotation: Any = table
    parts = [part for part in place if part != "[key]"]
    for number, part in enumerate(parts):
        kind = kind_of(annotation).type
        origin, arguments = get_origin(kind), get_args(kind)
        if _is_union(kind) and (tagged := [one for one in arguments if is_table(one) and _has_tag(one, part)]):
            annotation = tagged[0]
            continue
        if is_table(kind):
            annotation = kind.model_fields.get(str(part))
        elif origin in (dict, Mapping):
            annotation = arguments[1]
        elif origin in (list, tuple, Sequence) and isinstance(part, int):
            several = origin is tuple and Ellipsis not in arguments
            annotation = arguments[min(part, len(arguments) - 1)] if several else arguments[0]
        else:  # the name of a choice
            return names, annotation, len(parts) - number
        names.append(str(part))
        if annotation is None:
            return names, None, 0
    return names, annotation, 0


def _has_tag(table: type[BaseModel], tag: str | int) -> bool:
    """Tell whether a table of a union is that which a tag names."""
    return any(tag in get_args(field.annotation) for field in table.model_fields.values()
               if get_origin(field.annotation) is Literal)  # fmt: skip


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _flat(notes: Iterable[Any]) -> Iterator[Any]:
    for note in notes:
        if isinstance(note, FieldInfo):
            yield from note.metadata
        else:
            yield note


def _limits(notes: Iterable[Any]) -> dict[str, str]:
    found = {}
    for name, attribute in (
        ("least", "ge"),
        ("above", "gt"),
        ("most", "le"),
        ("below", "lt"),
        ("multiple", "multiple_of"),
    ):
        for note in notes:
            if (value := getattr(note, attribute, None)) is not None:
                found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
