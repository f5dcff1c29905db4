"""Data files as frozen tables: TOML read in one way, and what is wrong with the form of one as sentences."""

import tomllib
from collections.abc import Callable, Iterable
from datetime import date, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndpsim.errors import InputError
from ndpsim.kinds import Unit, at, is_sourced, is_table, kind_of, words_of

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_SHOWN: Final = 80


class Table(BaseModel):
    """A frozen table with no other keys than those named."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Given(Table, Generic[T]):
    """A value, and where it comes from; a unit that a file states must be that of the field (`Unit`)."""

    value: T
    source: str
    unit: str = ""


Text = Given[Annotated[str, Field(min_length=1)]]
Switch = Given[Annotated[bool, Field(strict=True)]]
Count = Given[Annotated[int, Field(strict=True, gt=0, le=1 << 20)]]
Number = Given[Annotated[float, Field(strict=True, ge=1e-6, le=1e9, allow_inf_nan=False)]]
Rate = Given[Annotated[float, Field(strict=True, ge=0.01, le=1e9, allow_inf_nan=False)]]
"""Of bytes or operations: the least is far below any device, and keeps times within 64 bits of picoseconds."""
Microseconds = Given[Annotated[float, Field(strict=True, ge=1e-6, le=1e4, allow_inf_nan=False)]]
Share = Given[Annotated[float, Field(strict=True, ge=0.01, le=1)]]


def read_toml(path: Path, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Return the content of a TOML file. Raises InputError naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=parse_float)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that does not parse
        raise InputError(f"{path}: expected a TOML file, found: {str(error).splitlines()[0]}") from None


def table_from(table: type[M], content: Any, where: str, further: Iterable[str] = (), lines: bool = False) -> M:
    """Return the table that the content of a file is.

    Raises InputError with all faults after `where`, those of form and `further` ones; lines: one on a line, each after
    `where`.
    """
    found, faults = None, []
    try:
        found = table.model_validate(content)
        faults = faults_of_units(table, found)
    except ValidationError as error:
        faults = faults_of_form(error, table)
    faults += further
    if faults or found is None:
        text = "\n".join(f"{where}: {one}" for one in faults) if lines else f"{where}: " + "; ".join(faults)
        raise InputError(text, faults)
    return found


def faults_of_form(error: ValidationError, table: type[BaseModel]) -> list[str]:
    """Return the faults that pydantic found in a table, one sentence each, equal ones once.

    Of a field that has several choices, that of the choice which came farthest.
    """
    found: dict[str, tuple[int, str]] = {}
    for one in error.errors(include_url=False):
        names, annotation, left = at(table, one["loc"])
        sentence = _sentence(dict(one), names, annotation, left)
        key = ".".join(names) if left else sentence
        if key not in found or left > found[key][0]:
            found[key] = (left, sentence)
    return [sentence for _, sentence in found.values()]


def faults_of_units(table: type[BaseModel], found: BaseModel) -> list[str]:
    """Return what is wrong with the units that a table states."""
    faults = []
    for name, field in table.model_fields.items():
        entry, (kind, notes) = getattr(found, name), kind_of(field)
        if is_sourced(kind):
            wanted = next((note.name for note in notes if isinstance(note, Unit)), "")
            if (stated := getattr(entry, "unit", "")) not in ("", wanted):
                faults.append(f"{name}.unit: expected {wanted or 'none'}, found {stated}")
        elif is_table(kind) and entry is not None:
            faults += [f"{name}.{fault}" for fault in faults_of_units(kind, entry)]
    return faults


def shown(value: object) -> str:
    """Write a value that was found, in few characters."""
    try:
        text = _text(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a very large number"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}... ({len(text)} characters)"


def _text(value: object) -> str:
    if isinstance(value, Decimal | Fraction | date | time):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {_text(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _sentence(error: dict[str, Any], names: list[str], annotation: Any, left: int) -> str:
    field, kind, found = ".".join(names) or "file", error["type"], shown(error["input"])
    if kind == "missing":
        return f"{field}: expected a value, found none"
    if kind == "extra_forbidden":
        return f"{field}: expected only known keys, found this one"
    if left:  # in one of several choices
        entries = [part for part in error["loc"][-left:] if isinstance(part, int)]
        return f"{field}: expected {words_of(annotation)}, found {found}" + (f" at {entries[0]}" if entries else "")
    if kind == "union_tag_not_found":
        return f"{field}.{error['ctx']['discriminator'].strip(chr(39))}: expected a value, found none"
    if kind == "union_tag_invalid":
        tag, tags = error["ctx"]["discriminator"].strip("'"), error["ctx"]["expected_tags"]
        return f"{field}.{tag}: expected one of {tags}, found {shown(error['ctx']['tag'])}"
    if kind == "value_error" and not names and ": expected" in str(error["ctx"]["error"]):
        return str(error["ctx"]["error"])  # on fields that do not go together
    if kind == "value_error":
        expected = str(error["ctx"]["error"])
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        expected = "a table with value and source" if is_sourced(kind_of(annotation).type) else "a table"
    elif kind == "too_short":
        expected = f"at least {error['ctx']['min_length']} entries"
    elif kind == "is_instance_of":  # of Decimal, as exact files are read
        expected = "a valid number"
    elif kind in ("list_type", "tuple_type"):
        expected = words_of(annotation)
    else:  # "Input should be greater than 0", "String should match pattern ..."
        subject, _, rest = error["msg"].partition(" should ")
        expected = rest.removeprefix("be ") if rest.startswith("be ") else f"{subject.lower()} to {rest}"
    return f"{field}: expected {expected}, found {found}"
