"""The description of an NDP-DIMM: `workloads/hardware/dimms/*.toml`, every value with its unit and source.

A file that is `like` a shipped DIMM holds what that one's holds, but for the fields that it gives itself.
"""

import json
import tomllib
from dataclasses import dataclass
from functools import cached_property
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndpsim.data import workloads_dir
from ndpsim.dram.address_map import AddressMap, parse_address_map
from ndpsim.dram.standard.standard import Standard, load_standard, with_counts
from ndpsim.errors import InputError
from ndpsim.isa import codes

T = TypeVar("T")
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sourced(BaseModel, Generic[T]):
    """A value with its unit and its source."""

    model_config = _STRICT
    value: T
    source: str
    unit: str = ""


Count = Sourced[Annotated[int, Field(ge=1, le=1 << 30)]]
Delay = Sourced[Annotated[int, Field(ge=0, le=1 << 30)]]
Quantity = Sourced[Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]]


class Unit(BaseModel):
    """The compute unit in the buffer chip.

    loading: whether the MAC array takes bursts while it works on others, or loads and works in turn; reduction_cycles:
    core cycles of the reduction tree, which count by themselves only then. See dram/ndp/STREAM_CONTROLLER.md.
    """

    model_config = _STRICT
    core_ps: Count
    buffer_bytes: Sourced[Annotated[int, Field(ge=64, le=1 << 24, multiple_of=64)]]
    macs_per_cycle_16bit: Count
    macs_per_cycle_8bit: Count
    array_latency: Delay
    loading: Sourced[Literal["overlapped", "alternating"]]
    reduction_cycles: Delay
    return_queue: Sourced[Annotated[int, Field(ge=2, le=4096)]]
    activate_ahead: Sourced[Annotated[int, Field(ge=1, le=64)]]


class Vector(BaseModel):
    """The element-wise unit."""

    model_config = _STRICT
    lanes: Count
    dividers: Count
    latency: Delay


class Channel(BaseModel):
    """The memory channel to the host."""

    model_config = _STRICT
    dimms_per_channel: Count


class Link(BaseModel):
    """DIMM-Link to each neighbour."""

    model_config = _STRICT
    picoseconds_per_byte: Count
    latency_ps: Delay


class Barrier(BaseModel):
    """The barrier over all DIMMs of a program."""

    model_config = _STRICT
    latency_ps: Delay


class Energy(BaseModel):
    """What the unit takes for each thing that it does, and all the time."""

    model_config = _STRICT
    mac_f16: Quantity
    mac_bf16: Quantity
    mac_i8: Quantity
    buffer_byte: Quantity
    vector_operation: Quantity
    link_bit: Quantity
    static: Quantity


class DimmConfig(BaseModel):
    """One NDP-DIMM as its file describes it."""

    model_config = _STRICT
    name: str
    dram: Sourced[str]
    ranks: Count | None = None
    unit: Unit
    vector: Vector
    channel: Channel
    link: Link
    barrier: Barrier
    energy: Energy | None = None
    address_maps: Annotated[dict[str, str], Field(min_length=1)]


_UNITS = {
    "ranks": "rank",
    "unit.core_ps": "ps",
    "unit.buffer_bytes": "byte",
    "unit.macs_per_cycle_16bit": "MAC/cycle",
    "unit.macs_per_cycle_8bit": "MAC/cycle",
    "unit.array_latency": "core cycle",
    "unit.loading": "",
    "unit.reduction_cycles": "core cycle",
    "unit.return_queue": "burst",
    "unit.activate_ahead": "train",
    "vector.lanes": "element/cycle",
    "vector.dividers": "division/cycle",
    "vector.latency": "core cycle",
    "channel.dimms_per_channel": "DIMM",
    "link.picoseconds_per_byte": "ps",
    "link.latency_ps": "ps",
    "barrier.latency_ps": "ps",
    "energy.mac_f16": "pJ",
    "energy.mac_bf16": "pJ",
    "energy.mac_i8": "pJ",
    "energy.buffer_byte": "pJ",
    "energy.vector_operation": "pJ",
    "energy.link_bit": "pJ",
    "energy.static": "mW",
}
"""The unit that each value is read in; a file that says another one is refused, not converted."""


@dataclass(frozen=True)
class Machine:
    """The DIMMs that a program is compiled for: one description, an address map, and how many of them."""

    config: DimmConfig
    standard: Standard
    address_map: AddressMap
    dimms: int

    @property
    def core_ps(self) -> int:
        """Core clock period in picoseconds."""
        return self.config.unit.core_ps.value

    @property
    def ranks(self) -> int:
        """Ranks of one DIMM, those of all its sub-channels; each has a data bus to the unit of its own."""
        return self.standard.organization.channels * self.standard.organization.ranks

    @cached_property
    def atoms(self) -> int:
        """Bursts of 64 bytes that one DIMM holds."""
        return 1 << self.address_map.bits

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the unit's buffer."""
        return self.config.unit.buffer_bytes.value

    def summary(self) -> dict[str, object]:
        """Return what a result should say about its machine."""
        return {"dimm": self.config.name, "dimms": self.dimms, "dram": self.standard.name, "map": self.address_map.text}

    def to_json(self) -> str:
        """Write everything that a program needs to be timed again elsewhere, as one line of JSON."""
        record = {"dimms": self.dimms, "address_map": self.address_map.text, "dimm": self.config.model_dump()}
        return json.dumps(record, sort_keys=True, separators=(",", ":"))


def dimm_names() -> list[str]:
    """Return the names of the DIMM descriptions that ship with ndpsim."""
    return sorted(path.stem for path in (workloads_dir() / "hardware" / "dimms").glob("*.toml"))


def load_machine(dimm: str = "hermes", *, placement: str | None = None, dimms: int = 4) -> Machine:
    """Load a DIMM description by name or by path.

    `placement` names one of its address maps (the first one if None) or spells an address map out.
    Raises InputError naming the file and every faulty field, or the names that are known.
    """
    where, content = dimm_content(dimm)
    return machine_from(content, where, placement, dimms)


def dimm_content(dimm: str) -> tuple[str, dict[str, Any]]:
    """Return the file of a DIMM, by name or by path, and its whole content for `machine_from`. Raises InputError."""
    path = Path(dimm) if dimm.endswith(".toml") else _shipped(dimm)
    if not isfile(path):
        raise InputError(f"DIMM '{dimm}': no such description; known are {', '.join(dimm_names())}, or a .toml file")
    raw = _read(path)
    if "like" in raw:
        raw = _like(path, raw)
    return str(path), raw


def _shipped(name: str) -> Path:
    return workloads_dir() / "hardware" / "dimms" / f"{name}.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that does not parse
        raise InputError(f"{path}: not a TOML file: {error}") from None


def _like(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Return what a file says together with the shipped DIMM that it is like; its name is its own."""
    own = {key: value for key, value in raw.items() if key != "like"}
    if raw["like"] not in dimm_names():
        raise InputError(f"{path}: like: expected one of {', '.join(dimm_names())}, found {raw['like']!r}")
    base = _read(_shipped(raw["like"]))
    if "like" in base:
        raise InputError(f"{path}: like: expected a DIMM that is described in full, found {raw['like']!r}")
    dimm_config(str(_shipped(raw["like"])), base)  # so that a fault has the name of its file
    del base["name"]
    for key, value in own.items():
        section = isinstance(value, dict) and isinstance(base.get(key), dict) and "value" not in base[key]
        base[key] = base[key] | value if section else value
    return base


def machine_from_json(text: str, file: str) -> Machine:
    """Rebuild a machine from `Machine.to_json`. Raises InputError naming `file`."""
    try:
        record = json.loads(text)
        raw, placement, dimms = record["dimm"], record["address_map"], record["dimms"]
        if not isinstance(placement, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file}: machine: expected the description of a machine") from None
    return machine_from(raw, file, placement, dimms)


def dimm_config(file: str, raw: dict[str, Any]) -> DimmConfig:
    """Return the DIMM that the content of a file describes. Raises InputError naming `file` and every faulty field."""
    try:
        config = DimmConfig.model_validate(raw)
    except ValidationError as error:
        wrong = [_fault(dict(one)) for one in error.errors()]
        raise InputError(f"{file}: " + "; ".join(wrong), wrong) from None
    if wrong := _unit_faults(config):
        raise InputError(f"{file}: " + "; ".join(wrong), wrong)
    return config


def machine_from(
    content: dict[str, Any], file: str, placement: str | None, dimms: int, standard: Standard | None = None
) -> Machine:
    """Return the machine of DIMMs that the content of a file describes; `standard`: in place of the one that it names.

    Raises InputError naming `file` and every faulty field.
    """
    config = dimm_config(file, content)
    if type(dimms) is not int or not 1 <= dimms <= 256:
        raise InputError(f"number of DIMMs: expected 1 to 256, found {dimms}")
    try:
        ranks = config.ranks.value if config.ranks else None
        standard = with_counts(standard or load_standard(config.dram.value), ranks)
    except InputError as error:
        raise InputError(f"{file}: dram: {error}") from None
    if standard.burst_bytes != codes.ATOM_BYTES:
        raise InputError(
            f"{file}: dram: expected a standard with bursts of {codes.ATOM_BYTES} bytes, the atom of the instruction "
            f"set, found {standard.name} with {standard.burst_bytes}"
        )
    if config.unit.core_ps.value < standard.tck_ps:
        raise InputError(
            f"{file}: unit.core_ps: expected a core no faster than a DRAM clock, "
            f"found {config.unit.core_ps.value} ps against {float(standard.tck_ps):g}"
        )
    counts = standard.organization
    organization = counts.model_copy(update={"channels": 1, "ranks": counts.channels * counts.ranks})
    maps = config.address_maps
    for name, map_text in maps.items():
        try:
            parse_address_map(map_text, organization)
        except InputError as error:
            raise InputError(f"{file}: address_maps.{name}: {error}") from None
    text = maps.get(placement or next(iter(maps)), placement or "")
    if " " not in text.strip():
        raise InputError(f"placement '{placement}': expected one of {', '.join(maps)}, or an address map")
    return Machine(config, standard, parse_address_map(text, organization), dimms)


def _unit_faults(config: DimmConfig) -> list[str]:
    faults = []
    for path, unit in _UNITS.items():
        entry: Any = config
        for name in path.split("."):
            entry = getattr(entry, name, None)  # a DIMM need not give its ranks, and may have no [energy]
        found = entry.unit if entry else unit
        if found not in ("", unit):
            faults.append(f"{path}.unit: expected {unit}, found {found}")
    return faults


def _fault(error: dict[str, Any]) -> str:
    name = ".".join(map(str, error["loc"])) or "machine"
    if error["type"] == "missing":
        return f"{name}: expected a value, found none"
    if error["type"] == "extra_forbidden":
        return f"{name}: no such entry is known"
    return f"{name}: {error['msg'].replace('Input should be', 'expected')}, found {error['input']!r}"
