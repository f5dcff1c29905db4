"""Imports run down the floor plan of the README; what lies in no folder of the package is below all floors."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ndpsim"


def floors():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {name: int(floor) for name, floor in re.findall(r"^  (\w+)/ +(\d)  ", text, re.MULTILINE)}


def imported(file):
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_plan_names_every_folder():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert floors().keys() == folders


def test_imports_run_downwards():
    plan, upwards = floors(), []
    for file in set(PACKAGE.rglob("*.py")) - {PACKAGE / "__main__.py"}:
        own = file.relative_to(PACKAGE).parts[0] if file.parent != PACKAGE else ""
        for module in imported(file):
            parts = module.split(".")
            if parts[0] != "ndpsim" or len(parts) < 2 or parts[1] not in plan or parts[1] == own:
                continue
            if plan[parts[1]] >= plan.get(own, 0):
                upwards.append(f"{file.relative_to(ROOT)} imports {module}")
    assert not upwards
