"""Data files as frozen tables: TOML read in one way, and what is wrong with the form of one as sentences."""

import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndpsim.errors import InputError

T = TypeVar("T")


class Table(BaseModel):
    """A frozen table with no other keys than those named."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Given(Table, Generic[T]):
    """A value, and where it comes from."""

    value: T
    source: str


Text = Given[Annotated[str, Field(min_length=1)]]
Switch = Given[Annotated[bool, Field(strict=True)]]
Count = Given[Annotated[int, Field(strict=True, gt=0, le=1 << 20)]]
Number = Given[Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]]
Share = Given[Annotated[float, Field(gt=0, le=1)]]


def read_toml(path: Path, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Return the content of a TOML file. Raises InputError naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=parse_float)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that does not parse
        raise InputError(f"{path}: expected a TOML file, found: {str(error).splitlines()[0]}") from None


def faults_of_form(error: ValidationError) -> list[str]:
    """Return the faults that pydantic found, one sentence each."""
    return [_sentence(dict(one)) for one in error.errors(include_url=False)]


def _sentence(error: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in error["loc"] if part != "[key]") or "file"
    if error["type"] == "missing":
        return f"{field}: expected a value, found none"
    if error["type"] == "extra_forbidden":
        return f"{field}: expected only known keys, found this one"
    if error["type"] == "value_error":
        expected = str(error["ctx"]["error"])
    else:  # "Input should be greater than 0", "String should match pattern ..."
        subject, _, rest = error["msg"].partition(" should ")
        expected = rest.removeprefix("be ") if rest.startswith("be ") else f"{subject.lower()} to {rest}"
    found = error["input"]
    return f"{field}: expected {expected}, found {str(found) if isinstance(found, Decimal) else repr(found)}"
