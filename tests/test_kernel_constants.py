"""Two modules may have a constant of one name, such as ROW; so kernels read constants through their module."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMITS = {"ndpsim.dram.requests.request", "ndpsim.dram.standard.file"}
"""Their constants are limits of what files may say, with names of their own."""


def integers(module):
    """Names of constants of a module that are integers."""
    return {
        name for name, value in vars(importlib.import_module(module)).items() if name.isupper() and type(value) is int
    }


def by_name(source):
    """The integer constants of `ndpsim.dram`, and the fields of decoded instructions, that a source imports by name."""
    for node in ast.walk(ast.parse(source)):
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if module not in LIMITS and module.startswith(("ndpsim.dram.", "ndpsim.dimm.decode")):
            yield from sorted({alias.name for alias in node.names} & integers(module))


def files():
    return sorted(file for floor in ("dram", "dimm") for file in (ROOT / "ndpsim" / floor).rglob("*.py"))


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT / "ndpsim")))
def test_constants_of_kernels_are_read_through_their_module(file):
    assert not list(by_name(file.read_text(encoding="utf-8")))


def test_an_import_by_name_is_found():
    assert list(by_name("from ndpsim.dram.host.state import ROW, Ints")) == ["ROW"]
    assert list(by_name("from ndpsim.dimm.decode import OP, decode_words")) == ["OP"]
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
