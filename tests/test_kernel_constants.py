"""Two modules may have a constant of one name, such as ROW; so kernels read constants through their module."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMITS = {"ndpsim.dram.requests.request", "ndpsim.dram.standard.file"}
"""Their constants are limits of what files may say, with names of their own."""
OWN_WAY = {"ndp/hidden.py", "ndp/rank_loop.py"}
"""Files that still import a few by name."""


def integers(module):
    """Names of constants of a module that are integers."""
    return {
        name for name, value in vars(importlib.import_module(module)).items() if name.isupper() and type(value) is int
    }


def by_name(source):
    """The integer constants of `ndpsim.dram` that a source imports by name."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("ndpsim.dram")
            and node.module not in LIMITS
        ):
            yield from sorted({alias.name for alias in node.names} & integers(node.module))


def files():
    return sorted((ROOT / "ndpsim" / "dram").rglob("*.py"))


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT / "ndpsim" / "dram")))
def test_constants_of_kernels_are_read_through_their_module(file):
    if str(file.relative_to(ROOT / "ndpsim" / "dram")) not in OWN_WAY:
        assert not list(by_name(file.read_text(encoding="utf-8")))


def test_an_import_by_name_is_found():
    assert list(by_name("from ndpsim.dram.host.state import ROW, Ints")) == ["ROW"]
    assert not list(by_name("from ndpsim.dram.host import state as host\nfrom ndpsim.dram.host.state import Ints"))


def test_a_module_has_one_name_among_kernels():
    """`host.ROW` is the same everywhere."""
    names = {}
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    if alias.asname and (ROOT / module.replace(".", "/")).with_suffix(".py").exists():
                        names.setdefault(alias.asname, set()).add(module)
    assert all(len(modules) == 1 for modules in names.values()), names
