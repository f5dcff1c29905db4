"""DRAM standards: organization, timings and constraints of a preset, read from `workloads/hardware/dram/*.toml`.

A file keeps each timing as a minimum in clocks, in nanoseconds, or both; `in_clocks` alone converts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

from ndpsim.dram.standard.constraints import Constraint, RuleRow, expand, names_in, value_of
from ndpsim.dram.standard.currents import DeviceCurrents, DeviceEnergies, nearest_currents
from ndpsim.dram.standard.file import MAX_CLOCKS, PowerOfTwo, RefreshKind, RefreshRow, Rounding, TimingValue
from ndpsim.dram.standard.presets import PresetEntry, presets_from, presets_of, shipped_presets
from ndpsim.errors import InputError
from ndpsim.tables import Table


class Organization(Table):
    """How many of each level; `banks` are those of one bank group, `columns` are bursts in a row of a rank.

    `ranks` are those of a channel, or of a pseudo-channel where there are some. `width` (data bits) and `density_gbit`
    are those of one device, 0 where they do not matter.
    """

    channels: PowerOfTwo = 1
    pseudo_channels: PowerOfTwo = 1
    ranks: PowerOfTwo
    bank_groups: PowerOfTwo
    banks: PowerOfTwo
    rows: PowerOfTwo
    columns: PowerOfTwo
    width: int = 0
    density_gbit: int = 0


class Refresh(NamedTuple):
    """A kind of refresh: its command, clocks from one to the next, how many may be postponed, groups that it covers."""

    command: str
    interval: int
    postpone: int
    covers_groups: int


@dataclass(frozen=True)
class Standard:
    """A speed bin of a device: organization, timings in clocks under their JEDEC names, and constraints on commands.

    `clocks` has the clocks that each command takes on its bus, `busses` the commands of each command bus. `rows`,
    `sums` and `refresh_rows` are what `constraints`, overridden timings and `refresh` are derived from.
    """

    name: str
    data_rate_mtps: Fraction | int
    organization: Organization
    timing: dict[str, int]
    family: str = ""
    transfers_per_clock: int = 2
    burst_length: int = 8
    bus_bits: int = 64
    clocks: dict[str, int] = field(default_factory=dict)
    busses: tuple[tuple[str, ...], ...] = ()
    rows: tuple[RuleRow, ...] = ()
    sums: dict[str, str] = field(default_factory=dict)
    refresh_rows: Mapping[RefreshKind, RefreshRow] = field(default_factory=dict)
    currents: DeviceCurrents | DeviceEnergies | None = None

    @property
    def tck_ps(self) -> int | Fraction:
        """Return the clock period in picoseconds, exactly."""
        return clock_period_ps(self.data_rate_mtps, self.transfers_per_clock)

    @property
    def burst_bytes(self) -> int:
        """Return the bytes that one burst carries."""
        return self.bus_bits * self.burst_length // 8

    @property
    def read_latency(self) -> int:
        """Return the clocks from the first clock of a RD to the first of its data."""
        return self.clocks["RD"] - 1 + self.timing["nCL"]

    @property
    def write_latency(self) -> int:
        """Return the clocks from the first clock of a WR to the first of its data."""
        return self.clocks["WR"] - 1 + self.timing["nCWL"]

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """Return what the rows demand of single commands with the present timings, from first clock to first clock."""
        return expand(self.rows, self.timing, self.clocks)

    @cached_property
    def refresh(self) -> dict[str, Refresh]:
        """Return the kinds of refresh by name: `all_bank`, and `same_bank` or `per_bank`."""
        groups = self.organization.bank_groups
        return {
            kind: Refresh(row.command, self.timing[row.interval], row.postpone, row.covers_groups or groups)
            for kind, row in self.refresh_rows.items()
        }


def clock_period_ps(data_rate_mtps: Fraction | int, transfers_per_clock: int = 2) -> int | Fraction:
    """Return the clock period of a data rate in picoseconds, exactly: an int where it is whole."""
    period = Fraction(transfers_per_clock * 1_000_000) / data_rate_mtps
    return period.numerator if period.denominator == 1 else period


def in_clocks(value: TimingValue, tck_ps: int | Fraction, rounding: Rounding) -> int:
    """Convert a timing that is no sum: minima by the rounding of the standard, a maximum down; at least 1."""
    if value.max_ns is not None:
        return max(1, floor(_clocks(value.max_ns, tck_ps)))
    exact = Fraction(0) if value.ns is None else _clocks(value.ns, tck_ps)
    if rounding == "add 0.974 and truncate":  # JESD79-4
        rounded = floor(exact + Fraction(974, 1000))
    elif rounding == "times 0.997, add 1 and truncate":  # JESD79-5
        rounded = floor(exact * Fraction(997, 1000) + 1)
    else:
        rounded = ceil(exact)
    return max(value.nck or 1, rounded if value.ns is not None else 1)


def _clocks(ns: Decimal, tck_ps: int | Fraction) -> Fraction:
    return Fraction(ns) * 1000 / tck_ps


def load_standard(name: str, ranks: int | None = None, channels: int | None = None) -> Standard:
    """Return the preset of that name, or of `FILE.toml` (if it has only one) or `FILE.toml:NAME`.

    `ranks` of a channel and `channels` replace those of the preset.
    """
    return with_counts(_build(_find(name)), ranks, channels)


def with_counts(standard: Standard, ranks: int | None = None, channels: int | None = None) -> Standard:
    """Return the standard with another number of ranks of a channel, or of channels."""
    counts = {"ranks": ranks, "channels": channels}
    chosen = {key: value for key, value in counts.items() if value is not None}
    for key, value in chosen.items():
        if type(value) is not int or not 1 <= value <= MAX_CLOCKS or value & (value - 1):
            raise InputError(f"{key}: expected a power of two, found {value!r}")
    return replace(standard, organization=standard.organization.model_copy(update=chosen))


def standard_names() -> list[str]:
    """Return the names that `load_standard` knows, sorted."""
    return sorted(shipped_presets())


def read_standards(path: Path) -> dict[str, Standard]:
    """Return all presets that one file adds, by name; an InputError lists every fault of the file, one on a line."""
    return {name: _build(entry) for name, entry in presets_of(path).items()}


def _find(name: str) -> PresetEntry:
    path, colon, preset = name.rpartition(".toml:")
    if not colon and not name.endswith(".toml"):
        presets = shipped_presets()
        if name not in presets:
            raise InputError(
                f"standard: expected one of {', '.join(_short(presets))}, one of these with a device (such as "
                f"DDR4-3200AA-4Gb_x16), or a TOML file, found {name!r}"
            )
        return presets[name]
    file = Path(path + ".toml" if colon else name)
    presets = presets_of(file)
    short = _short(presets) or list(presets)
    if not colon and len(short) == 1:
        return presets[short[0]]
    if not colon or preset not in presets:
        found = repr(preset) if colon else "none"
        raise InputError(f"{file}: preset: expected {file}:NAME with one of {', '.join(short)}, found {found}")
    return presets[preset]


def standard_content(name: str) -> dict[str, Any]:
    """Return one preset as a file of its own: no other device, speed and preset, and all its timings in [timing].

    Numbers are int and float, so that JSON can hold it. Raises InputError as `load_standard` does.
    """
    entry = _find(name)
    device, speed = entry.file.device[entry.preset.device], entry.file.speed[entry.preset.speed]
    timing = entry.file.timing | device.timing | speed.timing | entry.preset.timing
    bursts = {key: timing.pop(key) for key in ("nBL",) if key in timing}  # of a preset alone, see `faults_of_names`
    own = entry.name in entry.file.preset
    whole = entry.file.model_copy(
        update={
            "timing": timing,
            "default_device": entry.preset.device,
            "device": {entry.preset.device: device.model_copy(update={"timing": {}})},
            "speed": {entry.preset.speed: speed.model_copy(update={"timing": {}})},
            "preset": {entry.name: entry.preset.model_copy(update={"timing": bursts})} if own else {},
        }
    )
    content: dict[str, Any] = _plain(whole.model_dump(exclude_none=True))
    rate = Fraction(speed.data_rate_mtps)
    content["speed"][entry.preset.speed]["data_rate_mtps"] = rate.numerator if rate.denominator == 1 else str(rate)
    return content


def standard_from(content: dict[str, Any], name: str, where: str) -> Standard:
    """Return the standard that `standard_content` has written for a name. Raises InputError with all faults."""
    presets = presets_from(_exact(content), Path(where))
    return _build(presets.get(name.rpartition(".toml:")[2], next(iter(presets.values()))))


def _plain(value: Any) -> Any:
    """Return a value with floats for decimals."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(value, Decimal) else value


def _exact(value: Any) -> Any:
    """Return a value with the decimals that its floats are written as."""
    if isinstance(value, dict):
        return {key: _exact(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_exact(entry) for entry in value]
    return Decimal(repr(value)) if isinstance(value, float) else value


def _short(presets: Mapping[str, PresetEntry]) -> list[str]:
    return [name for name, entry in presets.items() if entry.is_short]


def _build(entry: PresetEntry) -> Standard:
    file, preset = entry.file, entry.preset
    device, speed = file.device[preset.device], file.speed[preset.speed]
    values = file.timing | device.timing | speed.timing | preset.timing
    tck_ps = clock_period_ps(speed.data_rate_mtps, file.transfers_per_clock)
    sums = {key: value.sum for key, value in values.items() if value.sum is not None}
    timing = {key: in_clocks(value, tck_ps, file.rounding) for key, value in values.items() if key not in sums}
    timing.setdefault("nBL", max(1, file.burst_length // file.transfers_per_clock))
    organization = Organization(
        channels=preset.channels or file.channels,
        pseudo_channels=file.pseudo_channels,
        ranks=preset.ranks or device.ranks,
        **device.model_dump(include={"bank_groups", "banks", "rows", "columns", "width", "density_gbit"}),
    )
    return Standard(
        name=entry.name,
        data_rate_mtps=speed.data_rate_mtps,
        organization=organization,
        timing=_with_sums(f"{entry.path}: {entry.name}", sorted({*timing, *sums}), timing, sums),
        family=file.standard,
        transfers_per_clock=file.transfers_per_clock,
        burst_length=file.burst_length,
        bus_bits=file.bus_bits,
        clocks={command: clocks for bus in file.bus for command, clocks in bus.commands.items()},
        busses=tuple(tuple(bus.commands) for bus in file.bus),
        rows=tuple(RuleRow(**row.model_dump()) for row in file.constraints),
        sums=sums,
        refresh_rows=file.refresh,
        currents=nearest_currents(device.currents, speed.data_rate_mtps),
    )


def with_overrides(standard: Standard, overrides: Mapping[str, int]) -> Standard:
    """Return the standard with some timings, in clocks, replaced; sums of them follow unless they are replaced too."""
    faults = []
    for key, value in overrides.items():
        if key not in standard.timing:
            faults.append(f"timing: expected one of {', '.join(standard.timing)}, found {key!r}")
        elif type(value) is not int or not 1 <= value <= MAX_CLOCKS:
            faults.append(f"{key}: expected an integer from 1 to {MAX_CLOCKS}, found {value!r}")
    if faults:
        raise InputError("\n".join(faults))
    sums = {key: text for key, text in standard.sums.items() if key not in overrides}
    timing = {key: value for key, value in {**standard.timing, **overrides}.items() if key not in sums}
    return replace(standard, timing=_with_sums(standard.name, list(standard.timing), timing, sums), sums=sums)


def _with_sums(name: str, order: list[str], timing: dict[str, int], sums: dict[str, str]) -> dict[str, int]:
    """Return all timings in their order, those that are sums (of no cycle) computed from the others."""
    left = dict(sums)
    while left:
        for key, text in list(left.items()):
            if not left.keys() & set(names_in(text)):
                timing[key] = value_of(left.pop(key), timing)
    for key, value in timing.items():
        if not 1 <= value <= MAX_CLOCKS:
            of = f"{sums[key]} " if key in sums else ""
            raise InputError(f"{name}: {key}: expected {of}from 1 to {MAX_CLOCKS} clocks, found {value}")
    return {key: timing[key] for key in order}
