"""The devices and links of a machine, from `workloads/hardware/machines/`: each value with its source."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.tables import Count, Given, Microseconds, Number, Rate, Share, Table, Text, read_toml, table_from


class GpuTable(Table):
    """The graphics cards.

    reserve_gb: of each one's memory that is not for model weights; weights_gb: what is, if that is to be another size.
    """

    card: Text
    count: Count
    reserve_gb: Number
    weights_gb: Number | None = None

    def weight_bytes(self, memory: int) -> int:
        """Return the bytes that weights may take on a card with `memory` bytes.

        Raises InputError if that is more than there are.
        """
        if self.weights_gb is not None:
            if self.weights_gb.value * 1e9 > memory:
                raise InputError(
                    f"gpu.weights_gb: expected at most the {memory / 1e9:.2f} GB of a card, "
                    f"found {self.weights_gb.value:g}"
                )
            return int(self.weights_gb.value * 1e9)
        room = memory - round(self.reserve_gb.value * 1e9)
        if room <= 0:
            raise InputError(
                f"gpu.reserve_gb: expected less than the {memory / 1e9:.2f} GB of a card, "
                f"found {self.reserve_gb.value:g}"
            )
        return room


class DimmTable(Table):
    """The NDP-DIMMs; placement: one of the DIMM's address maps."""

    name: Text
    count: Given[Annotated[int, Field(strict=True, ge=1, le=256)]]
    placement: Text


class PcieTable(Table):
    """The link between a graphics card and the host with its DIMMs; see `ndpsim.machine.pcie`.

    gb_per_s: each way; reached_share: of that, what transfers reach; us: what each takes before its first byte.
    """

    gb_per_s: Rate
    reached_share: Share
    us: Microseconds


class CpuTable(Table):
    """The host's processor, for systems that compute there; start_us: what an operator takes before it has begun."""

    name: Text
    memory_gb_per_s: Rate
    memory_share: Share
    gflops: Rate
    start_us: Microseconds
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
