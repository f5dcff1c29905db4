"""Digests of code follow its instructions and constants, not its words or places; those of modules, all they import."""

import dis
import functools
import inspect
import sys
from types import CodeType

import pytest

import ndpsim.compiler.merge
import ndpsim.sparsity.generation.presets
from ndpsim.errors import InputError
from ndpsim.kernels.code_digest import _imports, code_digest, globals_of, modules_digest

SOURCE = '''"""Words."""
import os

class Thing:
    """More words."""
    size = 3

    def look(self, *, deep=False):
        """And more."""
        return os.path.join("a", str(self.size)) in {"b", "c"} and deep

def _plain(x=(1, 2.5)):
    def inner():
        return x, LIMIT
    return dict(first=inner, second=1_000)
'''


def digest(source):
    return code_digest(compile(source, "place.py", "exec"))


@pytest.mark.parametrize("old", ["Words", "More words", "And more"])
def test_words_do_not_count(old):
    assert digest(SOURCE.replace(old, "Whatever")) == digest(SOURCE)


def test_places_do_not_count():
    moved = SOURCE.replace("class", "# why\n\n\nclass")
    assert code_digest(compile(moved, "elsewhere.py", "exec")) == digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size = 3", "size = 4"),
        ("size = 3", "size = 3.0"),
        ("deep=False", "deep=True"),
        ('"a"', '"b"'),
        ('"c"}', '"d"}'),
        ("2.5", "2.25"),
        ("x, LIMIT", "LIMIT, x"),
        ("LIMIT", "LIMITS"),
        ("first", "third"),
        ("1_000", "1_001"),
        ("*, deep", "deep"),
        ("import os", "import sys as os"),
        ("    return dict", "    x = dict"),
    ],
)
def test_what_runs_counts(old, new):
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


def test_a_text_that_is_a_docstring_and_a_value_counts():
    source = 'def f():\n    "a"\n    return "a"\n'
    assert digest(source) != digest(source.replace('"a"', '"b"'))


def codes():
    """All code of some modules and functions."""
    modules = (ndpsim.compiler.merge, ndpsim.sparsity.generation.presets, functools, inspect)
    waiting = [compile(inspect.getsource(module), "", "exec") for module in modules]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def test_globals_and_imports_are_read_as_dis_reads_them():
    for code in codes():
        read = list(dis.get_instructions(code))
        inner = [globals_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
        own = {one.argval for one in read if one.opname == "LOAD_GLOBAL"}
        assert globals_of(code) == own.union(*inner)
    (module,) = [code for code in codes() if "TracePreset" in code.co_names and code.co_name == "<module>"]
    imported = {one.argval for one in dis.get_instructions(module) if one.opname == "IMPORT_NAME"}
    assert {name for name in imported if name.startswith("ndpsim")} <= set(_imports(module, "ndpsim"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules of a package and return the digest of its module `top`."""
    monkeypatch.syspath_prepend(tmp_path)
    number = 0

    def digest_of(without=frozenset(), **files):
        nonlocal number
        number += 1
        folder = tmp_path / f"package{number}"
        (folder / "part").mkdir(parents=True)
        contents = {"top": "from PACKAGE.part import low\nimport PACKAGE.part.base as base\n"}
        contents |= {"part/__init__": "", "part/low": "VALUE = 1\n", "part/base": "def f():\n    import json\n"}
        contents |= {"other": "import PACKAGE.top\n"}
        for name, content in {"__init__": "", **contents, **files}.items():
            (folder / f"{name}.py").write_text(content.replace("PACKAGE", "package"))
        folder.rename(tmp_path / "package")
        try:
            return fresh(modules_digest, without)
        finally:
            (tmp_path / "package").rename(folder)
            for name in [name for name in sys.modules if name.partition(".")[0] == "package"]:
                del sys.modules[name]

    def fresh(call, without):
        from ndpsim.kernels import code_digest as module

        module._module_code.cache_clear()
        sys.path_importer_cache.clear()
        return call(("package.top",), without)

    return digest_of


def test_a_digest_of_modules_follows_their_imports(package):
    low, base, other = "part/low", "part/base", "other"
    assert package() == package() == package(**{low: "# why\nVALUE = 1\n", other: "VALUE = 1\n"})
    assert package() != package(**{low: "VALUE = 2\n"})
    assert package() != package(**{base: "def f():\n    import os\n"})
    assert package() != package(**{"part/__init__": "VALUE = 1\n"})
    value = {"part/__init__": "VALUE = 1\n", low: "from package.part import VALUE\n"}  # no module
    assert package(**value) != package(**{**value, "part/__init__": "VALUE = 2\n"})
    deep = {"part/deep": "VALUE = 1\n", low: "def f():\n    from package.part.deep import VALUE\n"}
    assert package(**deep) != package(**{**deep, "part/deep": "VALUE = 2\n"})


def test_modules_that_do_not_count_are_left_out(package):
    without = frozenset({"package.part.low"})
    assert package(without) == package(without, **{"part/low": "VALUE = 2\n"})
    assert package(without) != package()


def test_errors_of_this_package_are_found():
    assert any(InputError.__module__ in _imports(code, "ndpsim") for code in codes())
