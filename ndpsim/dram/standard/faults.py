"""What is wrong in the file of a DRAM standard beyond its form: names that do not fit together.

The content is looked at as TOML gave it, whatever its form, so that these faults are listed beside those of form.
"""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

from ndpsim.dram.standard.constraints import names_in
from ndpsim.dram.standard.file import MAX_CLOCKS

RANK_COMMANDS = ("PREA", "REF")
NEEDED = ("nCL", "nCWL", "nBL")  # what `Standard` itself looks at


def faults_of_names(content: dict[str, Any]) -> Iterator[str]:
    """Yield the faults of a whole standard, one sentence each."""
    given = _given(content)
    yield from _faults_of_commands(content)
    known = {"nBL"}.union(*given["shared"], *given["device"].values(), *given["speed"].values())
    uses = list(_uses(content))
    for field, names in uses:
        yield from (f"{field}: expected timings of the standard, found {name!r}" for name in names if name not in known)
    yield from _faults_of_count(given, known.union(NEEDED))
    yield from _faults_of_presets(content, known)
    yield from _faults_of_cycles(content)
    yield from _faults_of_density(content)
    yield from _faults_of_covered_groups(content)


def _table(content: Any, key: str) -> dict[str, Any]:
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _rows(content: Any, key: str) -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, list) else []


def _words(content: Any, key: str) -> list[str]:
    found = content.get(key) if isinstance(content, dict) else None
    return found.split() if isinstance(found, str) else []


def _given(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "shared": [set(_table(content, "timing"))],
        "device": {name: set(_table(device, "timing")) for name, device in _table(content, "device").items()},
        "speed": {name: set(_table(speed, "timing")) for name, speed in _table(content, "speed").items()},
    }


def _names(text: Any) -> list[str]:
    try:
        return names_in(text) if isinstance(text, str) else []
    except ValueError:  # a fault of form
        return []


def _sections(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "timing", _table(content, "timing")
    for kind in ("device", "speed", "preset"):
        for name, section in _table(content, kind).items():
            yield f"{kind}.{name}.timing", _table(section, "timing")


def _uses(content: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for index, row in enumerate(_rows(content, "constraints")):
        yield f"constraints.{index}.gap", _names(row.get("gap") if isinstance(row, dict) else None)
    for kind, refresh in _table(content, "refresh").items():
        yield f"refresh.{kind}.interval", _words(refresh, "interval")
    for field, values in _sections(content):
        for name, value in values.items():
            yield f"{field}.{name}.sum", _names(value.get("sum") if isinstance(value, dict) else None)


def _faults_of_commands(content: dict[str, Any]) -> Iterator[str]:
    carried: set[str] = set()
    for index, bus in enumerate(_rows(content, "bus")):
        commands = _table(bus, "commands")
        for name in commands:
            if name in carried:
                yield f"bus.{index}.commands: expected commands of no other bus, found {name!r}"
        carried.update(commands)
    for name in ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA"):
        if name not in carried:
            yield f"bus: expected one that carries {name}, found none"
    for index, row in enumerate(_rows(content, "constraints")):
        for side in ("earlier", "later"):
            for name in _words(row, side):
                if name not in carried:
                    yield f"constraints.{index}.{side}: expected commands that a bus carries, found {name!r}"
                if name in RANK_COMMANDS and row.get("scope") in ("bank", "bank_group"):
                    yield f"constraints.{index}.scope: expected rank or other_rank for {name}, found {row['scope']!r}"
    for kind, refresh in _table(content, "refresh").items():
        for name in _words(refresh, "command"):
            if name not in carried:
                yield f"refresh.{kind}.command: expected a command that a bus carries, found {name!r}"


def _faults_of_count(given: dict[str, Any], names: set[str]) -> Iterator[str]:
    pairs = list(product(given["device"], given["speed"]))
    for name in sorted(names):
        shared = (name in given["shared"][0]) + (name == "nBL")
        wrong = [
            (count, device, speed)
            for device, speed in pairs
            if (count := shared + (name in given["device"][device]) + (name in given["speed"][speed])) != 1
        ]
        if wrong:
            count, device, speed = wrong[0]
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            yield (
                f"timing {name}: expected one value in [timing], device and speed, "
                f"found {count or 'none'} for speed {speed} with device {device}{more}"
            )


def _faults_of_presets(content: dict[str, Any], known: set[str]) -> Iterator[str]:
    devices, speeds = _table(content, "device"), _table(content, "speed")
    if isinstance(default := content.get("default_device"), str) and default not in devices:
        yield f"default_device: expected one of {', '.join(devices)}, found {default!r}"
    family = content.get("standard")
    derived = {f"{family}-{speed}" for speed in speeds} | {f"{family}-{s}-{d}" for s, d in product(speeds, devices)}
    for name, preset in _table(content, "preset").items():
        if name in derived:
            yield f"preset.{name}: expected a name that no speed and device make, found {name!r}"
        for key, allowed in (("device", devices), ("speed", speeds)):
            found = preset.get(key) if isinstance(preset, dict) else None
            if isinstance(found, str) and found not in allowed:
                yield f"preset.{name}.{key}: expected one of {', '.join(allowed)}, found {found!r}"
        for timing in _table(preset, "timing"):
            if timing not in known:
                yield f"preset.{name}.timing.{timing}: expected a timing of the standard to replace, found none"


def _faults_of_cycles(content: dict[str, Any]) -> Iterator[str]:
    shared, devices, speeds = _table(content, "timing"), _table(content, "device"), _table(content, "speed")
    combinations = list(product(devices, speeds, [{}]))
    combinations += [
        (str(preset.get("device")), str(preset.get("speed")), _table(preset, "timing"))
        for preset in _table(content, "preset").values()
        if isinstance(preset, dict)
    ]
    seen = set()
    for device, speed, replaced in combinations:
        merged = shared | _table(devices.get(device), "timing") | _table(speeds.get(speed), "timing") | replaced
        sums = {name: _names(value.get("sum")) for name, value in merged.items() if isinstance(value, dict)}
        for name in sums:
            if (cycle := _cycle(name, sums)) and frozenset(cycle) not in seen:
                seen.add(frozenset(cycle))
                yield f"timing: expected no sum of itself, found {' -> '.join(cycle)}"


def _cycle(start: str, sums: dict[str, list[str]]) -> list[str]:
    """Return the names on a way from `start` through sums back to it, or none."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop()
        for name in sums.get(way[-1], []):
            if name == start:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _faults_of_density(content: dict[str, Any]) -> Iterator[str]:
    for name, device in _table(content, "device").items():
        if not isinstance(device, dict):
            continue
        factors = [content.get("burst_length"), content.get("pseudo_channels", 1), device.get("ranks", 1)]
        factors += [device.get(key) for key in ("width", "bank_groups", "banks", "rows", "columns")]
        density, *counts = [
            count if type(count) is int and 0 < count <= MAX_CLOCKS else 0  # a fault of form
            for count in (device.get("density_gbit"), *factors)
        ]
        bits = prod(counts)
        if density and bits and bits != density << 30:
            yield f"device.{name}.density_gbit: expected {bits / (1 << 30):g} by its banks, rows, ..., found {density}"


def _faults_of_covered_groups(content: dict[str, Any]) -> Iterator[str]:
    for kind, refresh in _table(content, "refresh").items():
        covered = refresh.get("covers_groups") if isinstance(refresh, dict) else None
        for name, device in _table(content, "device").items():
            groups = device.get("bank_groups") if isinstance(device, dict) else None
            if type(covered) is int and type(groups) is int and covered > groups:
                yield f"refresh.{kind}.covers_groups: expected at most {groups} for device {name}, found {covered}"
