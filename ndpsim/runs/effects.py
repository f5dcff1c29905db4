"""What of a content a run depends on: a change that leaves it as it was has no effect, and is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

from ndpsim.dimm.config import Machine
from ndpsim.gpu.model import GpuModel

_LABELS: Final = frozenset({"name", "source", "summary", "family"})
"""Texts that say what something is called or where it comes from."""
_IN_EFFICIENCIES: Final = frozenset({"architecture", "clock_headroom", "inline_ecc"})
"""Fields of a card that say no more than which efficiencies a card without measurements may have."""


def essence(value: Any) -> Any:
    """Return all of a value that a run depends on as plain lists and tuples, without names and sources."""
    if isinstance(value, Machine):
        # of the address maps one is used, and the number of ranks is the standard's by now
        config = value.config.model_copy(update={"address_maps": {}, "dram": "", "ranks": 0})
        return [essence(config), _parts(value.standard), value.address_map.text, value.dimms]
    if isinstance(value, GpuModel):
        card = value.card.model_dump(exclude={"fit", "traits", *_IN_EFFICIENCIES})
        common = value.card.common.model_dump(exclude={"pj_per_flop", "attention"})
        if not value.card.nvlink_gb_per_s:
            del common["nvlink"]
        return [essence(card), essence(common), essence(dict(value.efficiencies))]
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
