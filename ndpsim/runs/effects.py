"""What of a content a run depends on: a change that leaves it as it was has no effect, and is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel

from ndpsim.dimm.config import Machine
from ndpsim.gpu.links import most_over_nvlink
from ndpsim.gpu.model import GpuModel

_LABELS: Final = frozenset({"name", "source", "summary", "family"})
"""Texts that say what something is called or where it comes from."""
_IN_EFFICIENCIES: Final = frozenset({"architecture", "clock_headroom", "inline_ecc"})
"""Fields of a card that say no more than which efficiencies a card without measurements may have."""


class Cards(NamedTuple):
    """The graphics cards of a machine: the model of one, and how many there are."""

    gpu: GpuModel
    cards: int

    def link(self) -> list[Any]:
        """Return the link over which they talk, and what its times depend on; of one card, nothing."""
        card = self.gpu.card
        if self.cards == 1:
            return []
        if self.cards <= most_over_nvlink(card):
            return [card.nvlink_gb_per_s, card.common.nvlink]
        ring = card.common.pcie.model_dump(exclude={"bridge_gb_per_s"})
        return [card.pcie_gb_per_s, {name: ring[name] for name in ring if name not in self._without_effect()}]

    def _without_effect(self) -> set[str]:
        return {"ring_gpu_us", "host_share"} if self.cards == 2 else {"peer_share"}

    def ignored(self) -> list[str]:
        """Return the beginnings of paths of a card on which its links do not depend, whatever their values."""
        card = self.gpu.card
        if self.cards == 1:
            return ["gpu.nvlink_gb_per_s", "gpu.pcie_gb_per_s", "gpu.traits.nvlink", "gpu.traits.pcie"]
        bridge = [] if card.nvlink_gb_per_s and self.cards > 2 else ["gpu.traits.pcie.bridge_gb_per_s"]
        if self.cards <= most_over_nvlink(card):
            ring = type(card.common.pcie).model_fields.keys() - {"bridge_gb_per_s"}
            return ["gpu.pcie_gb_per_s", *(f"gpu.traits.pcie.{name}" for name in sorted(ring)), *bridge]
        return ["gpu.traits.nvlink", *(f"gpu.traits.pcie.{name}" for name in sorted(self._without_effect())), *bridge]


def essence(value: Any) -> Any:
    """Return all of a value that a run depends on as plain lists and tuples, without names and sources."""
    if isinstance(value, Machine):
        # of the address maps one is used, and the number of ranks is the standard's by now
        config = value.config.model_copy(update={"address_maps": {}, "dram": "", "ranks": 0})
        return [essence(config), _parts(value.standard), value.address_map.text, value.dimms]
    if isinstance(value, Cards):
        card, common = value.gpu.card, value.gpu.card.common
        data = card.model_dump(exclude={"fit", "traits", "pcie_gb_per_s", "nvlink_gb_per_s", *_IN_EFFICIENCIES})
        traits = common.model_dump(exclude={"pj_per_flop", "attention", "copies", "nvlink", "pcie"})
        return [essence(data), essence(traits), essence(dict(value.gpu.efficiencies)), essence(value.link())]
    if isinstance(value, BaseModel):
        return _kept((name, getattr(value, name)) for name in type(value).model_fields)
    if is_dataclass(value):
        return _parts(value)
    if isinstance(value, Mapping):
        return _kept(value.items())
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [essence(entry) for entry in value] if isinstance(value, list | tuple) else value


def _parts(value: Any) -> list[Any]:
    return _kept((one.name, getattr(value, one.name)) for one in fields(value))


def _kept(entries: Iterable[tuple[str, Any]]) -> list[Any]:
    return [(name, essence(one)) for name, one in entries if not (name in _LABELS and isinstance(one, str))]
