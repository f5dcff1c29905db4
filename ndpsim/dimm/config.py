"""The description of an NDP-DIMM: `workloads/hardware/dimms/*.toml`, every value with its unit and source.

A file that is `like` a shipped DIMM holds what that one's holds, but for the fields that it gives itself.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.dram.address_map import AddressMap, parse_address_map
from ndpsim.dram.standard.standard import Standard, load_standard, with_counts
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.kinds import Unit
from ndpsim.tables import Given, Table, read_toml, table_from

MOST_DIMMS = 256
"""Of a machine."""

Count = Given[Annotated[int, Field(strict=True, ge=1, le=1 << 30)]]
Delay = Given[Annotated[int, Field(strict=True, ge=0, le=1 << 30)]]
Quantity = Given[Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]]


class ComputeUnit(Table):
    """The compute unit in the buffer chip.

    loading: whether the MAC array takes bursts while it works on others, or loads and works in turn; reduction_cycles:
    core cycles of the reduction tree, which count by themselves only then. See dram/ndp/STREAM_CONTROLLER.md.
    """

    core_ps: Annotated[Count, Unit("ps")]
    buffer_bytes: Annotated[Given[Annotated[int, Field(strict=True, ge=64, le=1 << 24, multiple_of=64)]], Unit("byte")]
    macs_per_cycle_16bit: Annotated[Count, Unit("MAC/cycle")]
    macs_per_cycle_8bit: Annotated[Count, Unit("MAC/cycle")]
    array_latency: Annotated[Delay, Unit("core cycle")]
    loading: Given[Literal["overlapped", "alternating"]]
    reduction_cycles: Annotated[Delay, Unit("core cycle")]
    return_queue: Annotated[Given[Annotated[int, Field(strict=True, ge=2, le=4096)]], Unit("burst")]
    activate_ahead: Annotated[Given[Annotated[int, Field(strict=True, ge=1, le=64)]], Unit("train")]


class Vector(Table):
    """The element-wise unit."""

    lanes: Annotated[Count, Unit("element/cycle")]
    dividers: Annotated[Count, Unit("division/cycle")]
    latency: Annotated[Delay, Unit("core cycle")]


class Channel(Table):
    """The memory channel to the host."""

    dimms_per_channel: Annotated[Count, Unit("DIMM")]


class Link(Table):
    """DIMM-Link to each neighbour."""

    picoseconds_per_byte: Annotated[Count, Unit("ps")]
    latency_ps: Annotated[Delay, Unit("ps")]


class Barrier(Table):
    """The barrier over all DIMMs of a program."""

    latency_ps: Annotated[Delay, Unit("ps")]


class Software(Table):
    """What the host's software chooses for the DIMMs.

    merge_piece: most bytes of a partial result that a DIMM sends on at once; rows_per_spare: a DIMM has a row more, for
    neurons that come to it, for each so many that are its share.
    """

    merge_piece: Annotated[Given[Annotated[int, Field(strict=True, ge=64, le=1 << 24, multiple_of=4)]], Unit("byte")]
    rows_per_spare: Annotated[Count, Unit("row")]


class Energy(Table):
    """What the unit takes for each thing that it does, and all the time."""

    mac_f16: Annotated[Quantity, Unit("pJ")]
    mac_bf16: Annotated[Quantity, Unit("pJ")]
    mac_i8: Annotated[Quantity, Unit("pJ")]
    buffer_byte: Annotated[Quantity, Unit("pJ")]
    vector_operation: Annotated[Quantity, Unit("pJ")]
    link_bit: Annotated[Quantity, Unit("pJ")]
    static: Annotated[Quantity, Unit("mW")]


class DimmConfig(Table):
    """One NDP-DIMM as its file describes it; ranks: of all its sub-channels together."""

    name: str
    dram: Given[str]
    ranks: Annotated[Count, Unit("rank")]
    unit: ComputeUnit
    vector: Vector
    channel: Channel
    link: Link
    barrier: Barrier
    software: Software
    energy: Energy | None = None
    address_maps: Annotated[dict[str, str], Field(min_length=1)]


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
        return {
            "dimm": self.config.name,
            "dimms": self.dimms,
            "dram": self.standard.name,
            "map": self.address_map.text,
            "ranks": self.ranks,
            "capacity_bytes": self.atoms * codes.ATOM_BYTES,
            "peak_gb_per_s": self.peak_gb_per_s,
        }

    @property
    def peak_gb_per_s(self) -> float:
        """What the unit of a DIMM can read at most, 1e9 bytes a second: all ranks at once, each over its own bus."""
        standard = self.standard
        return float(self.ranks * standard.burst_bytes / (standard.timing["nBL"] * standard.tck_ps) * 1000)

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
    raw = read_toml(path)
    if "like" in raw:
        raw = _like(path, raw)
    return str(path), raw


def _shipped(name: str) -> Path:
    return workloads_dir() / "hardware" / "dimms" / f"{name}.toml"


def _like(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Return what a file says together with the shipped DIMM that it is like; its name is its own."""
    own = {key: value for key, value in raw.items() if key != "like"}
    if raw["like"] not in dimm_names():
        raise InputError(f"{path}: like: expected one of {', '.join(dimm_names())}, found {raw['like']!r}")
    base = read_toml(_shipped(raw["like"]))
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
    return table_from(DimmConfig, raw, file)


def machine_from(
    content: dict[str, Any], file: str, placement: str | None, dimms: int, standard: Standard | None = None
) -> Machine:
    """Return the machine of DIMMs that the content of a file describes; `standard`: in place of the one that it names.

    Raises InputError naming `file` and every faulty field.
    """
    config = dimm_config(file, content)
    if type(dimms) is not int or not 1 <= dimms <= MOST_DIMMS:
        raise InputError(f"number of DIMMs: expected 1 to {MOST_DIMMS}, found {dimms}")
    try:
        standard = standard or load_standard(config.dram.value)
    except InputError as error:
        raise InputError(f"{file}: dram: {error}") from None
    if standard.burst_bytes != codes.ATOM_BYTES:
        raise InputError(
            f"{file}: dram: expected a standard with bursts of {codes.ATOM_BYTES} bytes, the atom of the instruction "
            f"set, found {standard.name} with {standard.burst_bytes}"
        )
    sub_channels, ranks = standard.organization.channels, config.ranks.value
    try:
        if ranks % sub_channels:
            raise InputError(
                f"expected a multiple of the {sub_channels} sub-channels of {standard.name}, found {ranks}"
            )
        standard = with_counts(standard, ranks // sub_channels)
    except InputError as error:
        raise InputError(f"{file}: ranks: {str(error).removeprefix('ranks: ')}") from None
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
