"""Imports run down the floor plan of the README; what lies in no folder of the package is on floor 0, below all."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ndpsim"
PLAN = (ROOT / "README.md").read_text(encoding="utf-8")
WINGS = {
    "dram": ("standard", "address_map", "log", "requests", "checker", "energy", "ndp", "banks", "host"),
    "sparsity": (
        *("groups", "trace_format", "correlation", "statistics", "trace_writer", "trace", "frequency", "capture"),
        *("generation", "prediction"),
    ),
    "systems": ("system", "parts", "hermes", "offloading", "cards", "catalog"),
}
"""The parts of a floor. Each may import those before it; in `systems` see `may_import`."""


def floors():
    return {name: int(floor) for name, floor in re.findall(r"^  (\w+)/ +(\d+) ", PLAN, re.MULTILINE)}


def wings(floor):
    """The folders that the plan lists below a floor, in order."""
    listed = re.search(rf"^  {floor}/ .*\n((?:    \w+/ .*\n)*)", PLAN, re.MULTILINE)
    return re.findall(r"^    (\w+)/", listed[1], re.MULTILINE)


def imported(file):
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def may_import(floor, own, other):
    if floor != "systems":
        return WINGS[floor].index(other) < WINGS[floor].index(own)
    return other == "system" or (other == "parts" and own in ("hermes", "offloading", "cards"))


def test_the_plan_names_every_folder():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert floors().keys() == folders
    for floor in WINGS:
        folders = {path.parent.name for path in (PACKAGE / floor).glob("*/__init__.py")}
        assert wings(floor) == [name for name in WINGS[floor] if name in folders]
        assert folders <= {*WINGS[floor]}


def test_imports_run_downwards():
    plan, upwards = floors(), []
    for file in set(PACKAGE.rglob("*.py")) - {PACKAGE / "__main__.py"}:
        own = file.relative_to(PACKAGE).parts[0] if file.parent != PACKAGE else ""
        for module in imported(file):
            parts = module.split(".")
            if parts[0] != "ndpsim" or len(parts) < 2 or parts[1] not in plan or parts[1] == own:
                continue
            if plan[parts[1]] >= max(plan.get(own, 0), 1):
                upwards.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not upwards


@pytest.mark.parametrize("floor", WINGS)
def test_the_parts_of_a_floor_import_in_order(floor):
    wrong = []
    for file in (PACKAGE / floor).rglob("*.py"):
        own = file.relative_to(PACKAGE / floor).with_suffix("").parts[0]
        for module in imported(file):
            parts = module.split(".")
            other = parts[2] if parts[:2] == ["ndpsim", floor] and len(parts) > 2 else own
            if other != own and not may_import(floor, own, other):
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not wrong
