"""A kernel's digest changes with all that its machine code depends on, and with nothing else."""

import ast
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import textwrap
import types
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import typeof
from numba.core.dispatcher import Dispatcher
from processes import environment

import ndpsim
from ndpsim.kernels import kernel_digest
from ndpsim.kernels.held import Held
from ndpsim.kernels.kernel_digest import UnknownDependencyError

PACKAGE = Path(ndpsim.__file__).parent
CONSTANTS = """
ROW = 3
WEIGHTS = (1, 2.5)
UNREAD = 1
"""
KERNELS = """
from typing import NamedTuple
import numpy as np
from ndpsim.jit import njit, borrowing, merged
import constants
from constants import WEIGHTS

class Point(NamedTuple):
    x: int
    y: int

TABLE = np.arange(4)

@merged
def _inner(x):
    return x + constants.ROW

@njit
def kernel(x, y=2):
    "What it does."
    return Point(_inner(x), TABLE[y]).x + WEIGHTS[0] + np.int64(y)
"""


def modules(constants, kernels):
    """Import `constants` and a module of kernels from source; return the latter."""
    for name, source in (("constants", constants), ("kernels", kernels)):
        module = sys.modules[name] = types.ModuleType(name)
        exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module


@pytest.fixture(autouse=True)
def _no_module_stays():
    yield
    sys.modules.pop("constants", None)
    sys.modules.pop("kernels", None)


def digest(constants=CONSTANTS, kernels=KERNELS, arguments=(1,), target="cpu"):
    module = modules(constants, kernels)
    return kernel_digest.kernel_digest(module.kernel, target) + kernel_digest.types_digest(map(typeof, arguments))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ROW = 3", "ROW = 4"),
        ("ROW = 3", "ROW = 3.0"),
        ("ROW = 3", "ROW = True"),
        ("(1, 2.5)", "(1, 2.25)"),
        ("x + constants", "x - constants"),
        ("constants.ROW", "constants.UNREAD"),
        ("arange(4)", "arange(5)"),
        ("arange(4)", "arange(4, dtype=np.int32)"),
        ("    x: int\n    y: int", "    y: int\n    x: int"),
        ("    y: int", "    y: int = 1"),
        ("y=2", "y=1"),
        ("@merged", "@borrowing"),
        ("np.int64(y)", "np.int32(y)"),
        ("[y]).x", "[y]).y"),
        ("_inner(x), ", "_inner(2), "),
    ],
)
def test_what_the_compiler_sees_changes_the_digest(old, new):
    assert old in CONSTANTS + KERNELS
    assert digest(CONSTANTS.replace(old, new), KERNELS.replace(old, new)) != digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNREAD = 1", "UNREAD = 2"),
        ("What it does.", "What else it does."),
        ("@njit\n", "# why\n\n@njit\n"),
        ("x: int", "x: float"),
        ("TABLE = np.arange(4)\n", "def other():\n    return 1\n\nTABLE = np.arange(4)\n"),
    ],
)
def test_what_the_compiler_does_not_see_leaves_the_digest(old, new):
    assert old in CONSTANTS + KERNELS
    assert digest(CONSTANTS.replace(old, new), KERNELS.replace(old, new)) == digest()


def test_a_text_that_is_docstring_and_value_counts_as_a_value():
    source = 'from ndpsim.jit import njit\n@njit\ndef kernel(x):\n    "a"\n    return "a"\n'
    assert digest(kernels=source) != digest(kernels=source.replace('"a"', '"b"'))


def test_each_type_of_arguments_and_each_processor_has_a_digest_of_its_own():
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    arguments = [1, 1.0, True, None, np.zeros(3), fixed, np.zeros((2, 2)).T, np.zeros(3, np.int8), (1,), (1, 1.0)]
    arguments += [np.zeros((4, 4))[::2, ::2], np.int32(1), "text", Held((1,)), Held((1.0,)), (Held((1,)),)]
    digests = {digest(arguments=(value,)) for value in arguments} | {digest(target="other cpu")}
    assert len(digests) == len(arguments) + 1


def test_named_tuples_of_one_name_are_told_apart_by_module_and_fields():
    sources = [
        "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n    y: int\n",
        "from typing import NamedTuple\nclass Point(NamedTuple):\n    y: int\n    x: int\n",
    ]
    points = []
    for name, source in (("one", sources[0]), ("one", sources[1]), ("two", sources[0])):
        module = types.ModuleType(name)
        exec(source, vars(module))
        points.append(module.Point(1, 2))
    assert len({digest(arguments=(point,)) for point in points}) == 3
    assert len({digest(arguments=(Held(point),)) for point in points}) == 3


GLOBALS = [
    "1", "2", "1.0", "True", "None", "'1'", "b'1'", "1j", "(1,)", "(1, 1)", "[1]", "np.int64(1)", "np.int32(1)",
    "np.arange(3)", "np.arange(3) * 2", "np.arange(3)[::-1]", "np.arange(3.0)", "np.ones((2, 3))", "np.ones((3, 2))",
    "np.ones((2, 3), order='F')", "np.float32", "np.float64", "np.sum", "abs", "Enum('E', {'A': 1}).A",
    "Enum('E', {'A': 2}).A", "Enum('E', {'B': 1}).B", "Enum('E', {'A': 1})", "Enum('E', {'A': 2})",
    "namedtuple('T', 'a b')(1, 2)", "namedtuple('T', 'b a')(1, 2)", "namedtuple('T', 'a b')(1, 3)", "ValueError",
    "types.int64", "types.int32", "(1, (2, 3))", "(1, (2, 4))",
]  # fmt: skip


def test_each_value_that_a_kernel_reads_gives_a_digest_of_its_own():
    start = "from collections import namedtuple\nfrom enum import Enum\nimport numpy as np\nfrom numba import types\n"
    start += "from ndpsim.jit import njit\n"
    as_global = start + "VALUE = {}\n@njit\ndef kernel(x):\n    return VALUE\n"
    as_cell = start + "def make(value):\n    @njit\n    def kernel(x):\n        return value\n    return kernel\n"
    as_cell += "kernel = make({})\n"
    for source in (as_global, as_cell):
        assert len({digest(kernels=source.format(value)) for value in GLOBALS}) == len(GLOBALS)


def test_kernels_and_defaults_among_the_arguments_count():
    kernels = [modules(CONSTANTS, KERNELS.replace("[y]", one)).kernel for one in ("[y]", "[1]")]
    arguments = [(typeof(kernel),) for kernel in kernels]
    arguments += [(numba.types.Omitted(value),) for value in (1, 2, 1.0)]
    arguments += [(numba.types.literal(value),) for value in (1, 2)]
    assert len({kernel_digest.types_digest(one) for one in arguments}) == len(arguments)


def test_the_tools_that_compile_count(monkeypatch, tmp_path):
    found = [digest()]

    def again():
        kernel_digest._sources.cache_clear()
        found.append(digest())

    for name in ("numba", "llvmlite", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(kernel_digest, "version", lambda one, name=name: "9.9" if one == name else version(one))
            again()
    read = Path.read_bytes
    for extension in ("jit", "held"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda path, name=extension: b"x" if path.stem == name else read(path))
            again()
    with monkeypatch.context() as patch:
        patch.setattr(kernel_digest, "sys", types.SimpleNamespace(implementation=types.SimpleNamespace(cache_tag="x")))
        again()
    with monkeypatch.context() as patch:
        patch.setattr("numba.core.config.OPT", "other")
        again()
    assert len(set(found)) == len(found) == 8
    again()
    assert found[-1] == found[0]


def test_a_kernel_that_reads_what_is_not_known_has_no_digest():
    with pytest.raises(UnknownDependencyError):
        digest(CONSTANTS.replace("ROW = 3", "ROW = {}"))
    with pytest.raises(UnknownDependencyError):
        digest(arguments=([1, 2],))


def all_kernels():
    for module in pkgutil.walk_packages(ndpsim.__path__, "ndpsim."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("ndpsim."):
            found |= {id(value): value for value in vars(module).values() if isinstance(value, Dispatcher)}
    return list(found.values())


def digests():
    kernels = [(f"{k.py_func.__module__}.{k.py_func.__qualname__}", k) for k in all_kernels()]
    return {name: kernel_digest.kernel_digest(kernel, "cpu") for name, kernel in kernels}


def test_every_kernel_of_the_package_has_a_digest_that_a_copy_with_other_words_has_too(tmp_path):
    copy = tmp_path / "elsewhere" / "ndpsim"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("isa", "workloads"):
        (copy.parent / name).symlink_to(PACKAGE.parent / name)
    for file in copy.rglob("*.py"):  # a docstring in each file but those that tell Numba how to compile
        module = ".".join(file.relative_to(copy.parent).with_suffix("").parts)
        if module not in kernel_digest._EXTENSIONS:
            text = file.read_text(encoding="utf-8")
            start = ast.parse(text).body[0]
            assert isinstance(start, ast.Expr)
            rest = text.splitlines()[start.end_lineno :]
            file.write_text("\n".join(['"""Other words."""', "", *rest, ""]), encoding="utf-8")
    folders = [str(copy.parent), str(Path(__file__).parent)]
    script = f"import json, sys; sys.path[:0] = {folders!r}\n"
    script += textwrap.dedent("""
        from test_kernel_digest import digests
        import ndpsim
        print(json.dumps([ndpsim.__file__, digests()]))
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    file, found = json.loads(run.stdout)
    assert file == str(copy / "__init__.py")
    assert found == digests() and len(found) > 100


def test_only_the_sources_that_all_digests_contain_import_numba():
    importing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(line.startswith(("import numba", "from numba")) for line in file.read_text("utf-8").splitlines())
    }
    extensions = {f"{name.replace('.', '/')}.py".removeprefix("ndpsim/") for name in kernel_digest._EXTENSIONS}
    assert importing == extensions | {
        f"kernels/{name}.py" for name in ("kernel_cache", "kernel_digest", "inner_kernels")
    }
