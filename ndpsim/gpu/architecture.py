"""What cards of one architecture have in common beside their data sheets: `workloads/hardware/gpus/architectures/`.

A file that is `like` a shipped architecture holds what that one's holds, but for what it gives itself.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.kinds import Unit
from ndpsim.tables import Count, Given, Switch, Table, read_toml, table_from

Factor = Given[Annotated[float, Field(strict=True, ge=0.01, le=100)]]
Portion = Given[Annotated[float, Field(strict=True, ge=0.01, le=1.5)]]
Time = Annotated[Given[Annotated[float, Field(strict=True, ge=0, le=1e4)]], Unit("us")]
AttentionParameter = Literal[
    "launch", "step", "tile", "helper", "combine", "memory_share", "l2_share", "energy", "write"
]


class NvLink(Table):
    """All-reduce over NVLink: times, and shares of the card's rate each way.

    start + start_gpu x cards: launch and barrier of the engine's kernel, second: of its second stage; one_share,
    two_share: rates of the kernel with one stage and with two (and of two cards, which need no second); most: bytes up
    to which it is used; ring + ring_gpu x cards, ring_share: NCCL; adding: whether the switches add up.
    """

    start_us: Time
    start_gpu_us: Time
    second_us: Time
    one_share: Portion
    two_share: Portion
    most_bytes: Annotated[Given[Annotated[int, Field(strict=True, ge=0, le=1 << 40)]], Unit("byte")]
    ring_us: Time
    ring_gpu_us: Time
    ring_share: Portion
    adding: Switch


Bandwidth = Annotated[Given[Annotated[float, Field(strict=True, ge=0.01, le=1e6)]], Unit("GB/s")]


class Copies(Table):
    """Copies between host and card: times before the first byte, and shares of the raw rate of the card's link.

    pinned: from memory that the card reads by itself; pageable: by way of a pinned buffer into which the host copies.
    """

    pinned_share: Portion
    pinned_us: Time
    pageable_share: Portion
    pageable_us: Time
    host_copy_gb_per_s: Bandwidth


class PcieRing(Table):
    """All-reduce over PCIe, in a ring; shares are of the raw rate of a card's link.

    ring + ring_gpu for each card beyond two; peer_share: of two cards; host_share: of more, for all together;
    bridge_gb_per_s: NVLink with less connects two cards only.
    """

    ring_us: Time
    ring_gpu_us: Time
    peer_share: Portion
    host_share: Portion
    bridge_gb_per_s: Bandwidth


class Architecture(Table):
    """An architecture.

    flash_attention: the version that engines run; pj_per_flop: energy of a multiply or add in the matrix units, with
    its operands; shared_memory_kib: of an SM; attention: factors on the parameters of attention kernels, by name;
    copies, pcie: those of `links/pcie.toml`, unless its file has them.
    """

    name: Annotated[str, Field(min_length=1)]
    flash_attention: Given[Literal[2, 3]]
    pj_per_flop: Annotated[Given[Annotated[float, Field(strict=True, ge=0.01, le=100)]], Unit("pJ")]
    shared_memory_kib: Annotated[Count, Unit("KiB")]
    attention: dict[AttentionParameter, Factor]
    nvlink: NvLink
    copies: Copies
    pcie: PcieRing


def architecture_names() -> list[str]:
    """Return the names of the architectures that ship with ndpsim."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


@cache
def load_architecture(name: str) -> Architecture:
    """Load an architecture by name, or from a `.toml` file. Raises InputError with all faults."""
    if not name.endswith(".toml") and name not in architecture_names():
        raise InputError(f"architecture '{name}': expected one of {', '.join(architecture_names())}, or a .toml file")
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    content = read_toml(path)
    content = _like(path, content) if "like" in content else content
    return table_from(Architecture, _with_links(content), str(path))


def _with_links(content: dict[str, Any]) -> dict[str, Any]:
    links = read_toml(workloads_dir() / "hardware" / "gpus" / "links" / "pcie.toml")
    return content | {
        name: table | content[name] if isinstance(content.get(name), dict) else content.get(name, table)
        for name, table in links.items()
    }


def _like(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in content.items() if key != "like"}
    if content["like"] not in architecture_names():
        raise InputError(f"{path}: like: expected one of {', '.join(architecture_names())}, found {content['like']!r}")
    base = load_architecture(content["like"]).model_dump()
    for links in ("nvlink", "copies", "pcie"):
        if isinstance(own.get(links), dict):
            own[links] = base[links] | own[links]
    return {key: value for key, value in base.items() if key != "name"} | own


def _folder() -> Path:
    return workloads_dir() / "hardware" / "gpus" / "architectures"
