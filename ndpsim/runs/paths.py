"""Every path of `--set`: its unit, what it can hold, what is there now, and where that comes from."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ndpsim.dimm.config import dimm_names
from ndpsim.gpu.card import card_from, card_names
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.model import GpuModel
from ndpsim.kinds import at, kind_of, unit_of, words_of
from ndpsim.runs.effects import Cards
from ndpsim.runs.setup_files import SetupFiles
from ndpsim.systems.catalog import load_system
from ndpsim.systems.system import ignored_by, is_ignored


class PathEntry(NamedTuple):
    """A path; value: as the files have it, None where they have none."""

    path: str
    unit: str
    range: str
    value: Any
    source: str


def paths_of(
    system: str = "hermes", model: str = "llama2-70b", machine: str = "hermes", preset: str = "paper"
) -> list[PathEntry]:
    """Return the paths on which a system depends, in the order of the files. Raises InputError as `Setup.of` does."""
    chosen, files = load_system(system), SetupFiles({})
    files.hardware(machine, chosen.several_cards)
    files.software(chosen, model, preset, 1)
    files.end()
    entries = [entry for root in files.contents for entry in _entries(files, root)]
    count = files.contents[""][1]["gpu"]["count"]["value"]
    ignores = (*ignored_by(chosen), *_without_effect(files.contents["gpu"][1], count))
    return [entry for entry in entries if not is_ignored(entry.path, ignores)]


def _without_effect(card: Mapping[str, Any], count: int) -> list[str]:
    """Return the beginnings of paths of a card on which nothing depends: what its fit or its links make needless."""
    found = ["gpu.traits.copies", *Cards(GpuModel.of(card_from(card, "gpu"), "gpu"), count).ignored()]
    measured = card.get("fit", {}).get("efficiencies", {})
    if all(family.name in measured for family in FAMILIES if family.parameters):
        found += ["gpu.clock_headroom", "gpu.inline_ecc", "gpu.traits.pj_per_flop", "gpu.traits.attention"]
    return found


def _entries(files: SetupFiles, root: str) -> Iterator[PathEntry]:
    form, content, _ = files.contents[root]
    for path, (keys, _) in form.paths.items():
        if keys[0] == "fit" and "fit" not in content:
            continue
        kind, annotation = _kind(form.table, keys)
        entry: Any = content
        sources = [str(content.get("source", files.places[root]))]
        for key in keys:
            entry = entry.get(key) if isinstance(entry, Mapping) else None
            if isinstance(entry, Mapping) and isinstance(entry.get("source"), str):
                sources.append(entry["source"])
        if keys[0] == "fit":
            sources.append(f"fitted to the measurements {content['fit']['data']}")
        value = form.value(content, path)
        source = "" if value is None else sources[-1]
        yield PathEntry(path, unit_of(keys[-1], kind.notes), _range(path, keys, annotation, content), value, source)


def _kind(table: Any, keys: tuple[str, ...]) -> tuple[Any, Any]:
    annotation = at(table, keys)[1]
    return kind_of(annotation), annotation


def _range(path: str, keys: tuple[str, ...], annotation: Any, content: Mapping[str, Any]) -> str:
    """Return what a path can hold; of names of files and of efficiencies more than their tables say."""
    if keys[:2] == ("fit", "efficiencies") and len(keys) == 4:
        for family in FAMILIES:
            for one in family.parameters:
                if (family.name, one.name) == keys[2:]:
                    return f"a number of {one.low:g} to {one.high:g}"
    names = {
        "gpu.card": lambda: [*card_names(), "or a .toml file"],
        "dimm.name": lambda: [*dimm_names(), "or a .toml file"],
        "dimm.dram": lambda: ["a standard of `ndpsim dram --list`"],
        "dimm.placement": lambda: ["a name below dimm.address_maps", "or an address map"],
    }
    if path in names:
        return ", ".join(names[path]())
    return words_of(annotation)
