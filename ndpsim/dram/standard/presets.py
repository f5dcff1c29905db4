"""The presets of the files of DRAM standards: combinations of a speed and a device, each under a name."""

from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ndpsim.data import workloads_dir
from ndpsim.dram.standard.faults import faults_of_names
from ndpsim.dram.standard.file import StandardFile, StandardPreset
from ndpsim.errors import InputError
from ndpsim.tables import read_toml, table_from

_ADDED = ("device", "speed", "preset")


class PresetEntry(NamedTuple):
    """A preset, the file that adds it, and whether its name is short: one of its own, or without the default device."""

    path: Path
    file: StandardFile
    name: str
    preset: StandardPreset
    is_short: bool


def shipped_presets() -> dict[str, PresetEntry]:
    """Return the presets of all files in `workloads/hardware/dram/` by name."""
    presets: dict[str, PresetEntry] = {}
    for path in _shipped_files():
        for name, entry in presets_of(path).items():
            if name in presets:
                raise InputError(f"{path}: preset.{name}: expected a name that no other file has, found it twice")
            presets[name] = entry
    return presets


def presets_of(path: Path) -> dict[str, PresetEntry]:
    """Return the presets that a file adds by name; an InputError lists every fault of the file, one on a line."""
    return presets_from(read_toml(path, Decimal), path)


def presets_from(content: dict[str, Any], path: Path) -> dict[str, PresetEntry]:
    """Return the presets that the content of a file adds by name. Raises InputError as `presets_of` does."""
    base = _base(path, content["extends"]) if "extends" in content else {}
    whole, faults = _extended(base, content) if base else (content, [])
    file = table_from(StandardFile, whole, str(path), (*faults, *faults_of_names(whole)), lines=True)
    return {entry.name: entry for entry in _entries(path, file) if not _is_of(base, entry)}


def _extended(base: dict[str, Any], content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a standard with what a file adds to it, and what is wrong in putting them together."""
    unknown = content.keys() - {"extends", "source", *_ADDED}
    faults = [f"{key}: expected only known keys, found this one" for key in sorted(unknown)]
    whole = dict(base)
    for kind in _ADDED:
        added, known = content.get(kind, {}), base.get(kind, {})
        if isinstance(added, dict):
            faults += [
                f"{kind}.{name}: expected a new name, found one of the standard" for name in added if name in known
            ]
            whole[kind] = known | added
        else:
            faults.append(f"{kind}: expected a table, found {added!r}")
    return whole, faults


def _entries(path: Path, file: StandardFile) -> list[PresetEntry]:
    entries = [PresetEntry(path, file, name, preset, True) for name, preset in file.preset.items()]
    for speed, device in product(file.speed, file.device):
        preset = StandardPreset(device=device, speed=speed, source=file.source)
        name = f"{file.standard}-{speed}"
        if device == file.default_device:
            entries.append(PresetEntry(path, file, name, preset, True))
        entries.append(PresetEntry(path, file, f"{name}-{device}", preset, False))
    return entries


def _is_of(base: dict[str, Any], entry: PresetEntry) -> bool:
    """Tell whether the base has that preset already."""
    if entry.name in entry.file.preset:
        return entry.name in base.get("preset", {})
    return entry.preset.speed in base.get("speed", {}) and entry.preset.device in base.get("device", {})


def _base(path: Path, family: object) -> dict[str, Any]:
    for other in _shipped_files():
        content = read_toml(other, Decimal)
        if "standard" in content and content["standard"] == family:
            return content
    raise InputError(f"{path}: extends: expected the name of a shipped standard, found {family!r}")


def _shipped_files() -> list[Path]:
    return sorted((workloads_dir() / "hardware" / "dram").glob("*.toml"))
