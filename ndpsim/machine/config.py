"""The devices and links of a machine, from `workloads/hardware/machines/`: each value with its source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.tables import Count, Number, Share, Table, Text, read_toml, table_from


class GpuTable(Table):
    """The graphics cards; weights_gb: of each one's memory that model weights may take."""

    card: Text
    count: Count
    weights_gb: Number


class DimmTable(Table):
    """The NDP-DIMMs; placement: one of the DIMM's address maps."""

    name: Text
    count: Count
    placement: Text


class PcieTable(Table):
    """The link between a graphics card and the host with its DIMMs: each way, and of every transfer."""

    gb_per_s: Number
    us: Number


class CpuTable(Table):
    """The host's processor, for systems that compute there; start_us: what an operator takes before it has begun."""

    name: Text
    memory_gb_per_s: Number
    memory_share: Share
    gflops: Number
    start_us: Number
    power_w: Number


class MachineConfig(Table):
    """A machine."""

    name: str
    gpu: GpuTable
    dimm: DimmTable
    pcie: PcieTable
    cpu: CpuTable


def machine_names() -> list[str]:
    """Return the names of the machines that ship with ndpsim."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def machine_content(name: str) -> tuple[str, dict[str, Any]]:
    """Return the file of a machine, by name or by path (`.toml`), and its content. Raises InputError."""
    if not name.endswith(".toml") and name not in machine_names():
        raise InputError(f"machine '{name}': expected one of {', '.join(machine_names())}, or a .toml file")
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    return str(path), read_toml(path)


def config_from(content: Mapping[str, Any], where: str) -> MachineConfig:
    """Return the machine that the content of a file describes. Raises InputError with all faults after `where`."""
    return table_from(MachineConfig, content, where)


def _folder() -> Path:
    return workloads_dir() / "hardware" / "machines"
