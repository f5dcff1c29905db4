"""The file of a DRAM standard: what may stand in it, and all faults of one at once. STANDARDS.md describes the form."""

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ndpsim.dram.standard.constraints import Scope, terms
from ndpsim.dram.standard.currents import Currents
from ndpsim.kinds import Words
from ndpsim.tables import Table

MAX_CLOCKS = 1 << 30
Rounding = Literal["add 0.974 and truncate", "times 0.997, add 1 and truncate", "up"]
Command = Literal["ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REF", "REFsb", "REFpb", "RDN", "WRN"]
RefreshKind = Literal["all_bank", "same_bank", "per_bank"]


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("a power of two")
    return value


def _exact(value: object) -> object:
    return Decimal(value) if type(value) is int else value


def _rate(value: object) -> object:
    if type(value) is int and 0 < value <= MAX_CLOCKS:
        return Fraction(value)
    over, slash, under = value.partition("/") if isinstance(value, str) else ("", "", "")
    if slash and all(part.isascii() and part.isdecimal() and len(part) < 10 and int(part) for part in (over, under)):
        return Fraction(int(over), int(under))
    raise ValueError("a positive integer, or a fraction such as '25600/3'")


def _sum(text: str) -> str:
    terms(text)
    return text


Count = Annotated[int, Field(strict=True, ge=1, le=MAX_CLOCKS)]
PowerOfTwo = Annotated[Count, AfterValidator(_power_of_two), Words(f"a power of two up to {MAX_CLOCKS}")]
_Nanoseconds = Annotated[Decimal, Field(strict=True, gt=0, le=10**9, allow_inf_nan=False), BeforeValidator(_exact)]
_Text = Annotated[str, Field(strict=True, min_length=1)]
_Sum = Annotated[_Text, AfterValidator(_sum)]
_Rate = Annotated[Fraction, BeforeValidator(_rate)]


class TimingValue(Table):
    """A timing: at least `nck` clocks and `ns` nanoseconds, or at most `max_ns`, or the `sum` of others."""

    nck: Count | None = None
    ns: _Nanoseconds | None = None
    max_ns: _Nanoseconds | None = None
    sum: _Sum | None = None
    source: _Text

    @model_validator(mode="after")
    def _one_kind_is_given(self) -> "TimingValue":
        kinds = (self.nck is not None or self.ns is not None, self.max_ns is not None, self.sum is not None)
        if kinds.count(True) != 1:
            raise ValueError("one of: nck, ns or both; max_ns; sum")
        return self


class Bus(Table):
    """A command bus of a channel, and the clocks that each command takes on it."""

    name: _Text
    commands: dict[Command, Count] = Field(min_length=1)


class RefreshRow(Table):
    """A kind of refresh; `interval` names a timing, and `covers_groups` is given unless all groups are covered."""

    command: Literal["REF", "REFsb", "REFpb"]
    interval: _Text
    postpone: Annotated[int, Field(strict=True, ge=0, le=MAX_CLOCKS)]
    covers_groups: PowerOfTwo | None = None


class ConstraintRow(Table):
    """A row of the table of constraints."""

    rule: _Text
    scope: Scope
    earlier: _Text
    later: _Text
    gap: _Sum
    window: Count = 1


class DramDevice(Table):
    """A DRAM device; `ranks` where its density counts more than one (the stack ids of HBM)."""

    density_gbit: Count
    width: PowerOfTwo
    ranks: PowerOfTwo = 1
    bank_groups: PowerOfTwo
    banks: PowerOfTwo
    rows: PowerOfTwo
    columns: PowerOfTwo
    timing: dict[str, TimingValue] = Field(default={})
    currents: list[Currents] = Field(default=[])


class Speed(Table):
    """A speed bin."""

    data_rate_mtps: _Rate
    timing: dict[str, TimingValue] = Field(default={})


class StandardPreset(Table):
    """A combination with a name of its own; its timings replace those of the device and the speed."""

    device: _Text
    speed: _Text
    ranks: PowerOfTwo | None = None
    channels: PowerOfTwo | None = None
    timing: dict[str, TimingValue] = Field(default={})
    source: _Text


class StandardFile(Table):
    """A whole standard: a file, or a file and what another that extends it adds."""

    standard: _Text
    transfers_per_clock: Annotated[PowerOfTwo, Field(ge=2, le=16)]
    burst_length: PowerOfTwo
    rounding: Rounding
    bus_bits: Annotated[PowerOfTwo, Field(ge=8)]
    channels: PowerOfTwo = 1
    pseudo_channels: PowerOfTwo = 1
    default_device: _Text
    source: _Text
    bus: list[Bus] = Field(min_length=1)
    refresh: dict[RefreshKind, RefreshRow]
    timing: dict[str, TimingValue]
    constraints: list[ConstraintRow]
    device: dict[str, DramDevice] = Field(min_length=1)
    speed: dict[str, Speed] = Field(min_length=1)
    preset: dict[str, StandardPreset] = Field(default={})
