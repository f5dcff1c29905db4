"""DRAM standards: organization and timing of a speed grade, read from `workloads/hardware/dram/*.toml`.

A file keeps each timing as a minimum in clocks, in nanoseconds, or both; `minimum_in_clocks` alone converts.
"""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError

MAX_CLOCKS = 1 << 30


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("a power of two")
    return value


def _exact(value: object) -> object:
    return Decimal(value) if type(value) is int else value


_Count = Annotated[int, Field(strict=True, ge=1, le=MAX_CLOCKS)]
_PowerOfTwo = Annotated[_Count, AfterValidator(_power_of_two)]
_Nanoseconds = Annotated[Decimal, Field(strict=True, gt=0, le=10**9, allow_inf_nan=False), BeforeValidator(_exact)]
_Text = Annotated[str, Field(strict=True, min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Organization(_Table):
    """How many of each level; `banks` are those of one bank group, `columns` are bursts in a row."""

    ranks: _PowerOfTwo
    bank_groups: _PowerOfTwo
    banks: _PowerOfTwo
    rows: _PowerOfTwo
    columns: _PowerOfTwo


class Minimum(_Table):
    """A timing as the standard gives it: at least `nck` clocks and at least `ns` nanoseconds."""

    nck: _Count | None = None
    ns: _Nanoseconds | None = None
    source: _Text

    @model_validator(mode="after")
    def _one_is_given(self) -> "Minimum":
        if self.nck is None and self.ns is None:
            raise ValueError("nck, ns or both")
        return self


class Timing(_Table):
    """The timings of a preset."""

    nCL: Minimum
    nCWL: Minimum
    nBL: Minimum
    nRCD: Minimum
    nRP: Minimum
    nRAS: Minimum
    nRC: Minimum
    nRRD_S: Minimum
    nRRD_L: Minimum
    nFAW: Minimum
    nCCD_S: Minimum
    nCCD_L: Minimum
    nWR: Minimum
    nRTP: Minimum
    nWTR_S: Minimum
    nWTR_L: Minimum
    nRFC: Minimum
    nREFI: Minimum


class _Preset(_Table):
    data_rate_mtps: _Count
    source: _Text
    organization: Organization
    timing: Timing


class _File(_Table):
    standard: Literal["DDR4"]
    preset: dict[str, _Preset] = Field(min_length=1)


class Standard(_Table):
    """One speed grade: its organization, and its timings in clocks under their JEDEC names (`nRCD`, `nRP`, ...)."""

    name: str
    data_rate_mtps: int
    organization: Organization
    timing: dict[str, int]

    @property
    def tck_ps(self) -> int | Fraction:
        """Return the clock period in picoseconds, exactly."""
        return clock_period_ps(self.data_rate_mtps)


def clock_period_ps(data_rate_mtps: int) -> int | Fraction:
    """Return the clock period of a data rate: two transfers per clock."""
    period = Fraction(2_000_000, data_rate_mtps)
    return period.numerator if period.denominator == 1 else period


def minimum_in_clocks(minimum: Minimum, tck_ps: int | Fraction) -> int:
    """Convert to clocks with the rounding of JESD79-4: add 0.974 clock to the nanoseconds and truncate."""
    from_ns = 0 if minimum.ns is None else int(Fraction(minimum.ns) * 1000 / tck_ps + Fraction(974, 1000))
    return max(minimum.nck or 1, from_ns)


def load_standard(name: str) -> Standard:
    """Return the standard of that name."""
    standards = _load_all()
    if name not in standards:
        raise InputError(f"standard: expected one of {', '.join(standards)}, found {name!r}")
    return standards[name]


def standard_names() -> list[str]:
    """Return the names that `load_standard` knows, sorted."""
    return list(_load_all())


def with_overrides(standard: Standard, overrides: Mapping[str, int]) -> Standard:
    """Return the standard with some timings, in clocks, replaced."""
    faults = []
    for key, value in overrides.items():
        if key not in standard.timing:
            faults.append(f"timing: expected one of {', '.join(standard.timing)}, found {key!r}")
        elif type(value) is not int or not 1 <= value <= MAX_CLOCKS:
            faults.append(f"{key}: expected an integer from 1 to {MAX_CLOCKS}, found {value!r}")
    if faults:
        raise InputError("\n".join(faults))
    return standard.model_copy(update={"timing": {**standard.timing, **overrides}})


def _load_all() -> dict[str, Standard]:
    folder = workloads_dir() / "hardware" / "dram"
    standards: dict[str, Standard] = {}
    for path in sorted(folder.glob("*.toml")):
        for name, standard in read_standards(path).items():
            if name in standards:
                raise InputError(f"{path}: preset.{name}: expected a name that no other file has, found it twice")
            standards[name] = standard
    return dict(sorted(standards.items()))


def read_standards(path: Path) -> dict[str, Standard]:
    """Read all presets of one file; an InputError lists every fault of the file, one on a line."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        file = _File.model_validate(content)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found {error.strerror}") from error
    except ValidationError as error:
        faults = [_fault(dict(one)) for one in error.errors(include_url=False)]
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults)) from error
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that does not parse
        raise InputError(f"{path}: expected a TOML file, found: {error}") from error
    return {name: _standard(name, preset) for name, preset in file.preset.items()}


def _standard(name: str, preset: _Preset) -> Standard:
    tck_ps = clock_period_ps(preset.data_rate_mtps)
    clocks = {key: minimum_in_clocks(getattr(preset.timing, key), tck_ps) for key in Timing.model_fields}
    return Standard(name=name, data_rate_mtps=preset.data_rate_mtps, organization=preset.organization, timing=clocks)


def _fault(error: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{field}: expected a value, found none"
    if error["type"] == "extra_forbidden":
        return f"{field}: expected only known keys, found this one"
    if error["type"] == "value_error":
        expected = str(error["ctx"]["error"])
    else:
        expected = error["msg"].removeprefix("Input should be ")
    found = error["input"]
    return f"{field}: expected {expected}, found {str(found) if isinstance(found, Decimal) else repr(found)}"
