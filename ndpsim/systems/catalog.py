"""The systems that ship with ndpsim, by name, and systems in files of the user's."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from ndpsim.errors import InputError, ProgramError
from ndpsim.files import unreadable
from ndpsim.systems.system import System

SYSTEMS: Final = {
    "hermes": "ndpsim.systems.hermes.hermes:Hermes",
    "hermes-base": "ndpsim.systems.hermes.base:HermesBase",
    "hermes-host": "ndpsim.systems.hermes.host:HermesHost",
    "accelerate": "ndpsim.systems.offloading.accelerate:Accelerate",
    "flexgen": "ndpsim.systems.offloading.flexgen:FlexGen",
    "deja-vu": "ndpsim.systems.offloading.deja_vu:DejaVu",
    "gpu-only": "ndpsim.systems.cards.gpu_only:GpuOnly",
    "tensor-parallel": "ndpsim.systems.cards.tensor_parallel:TensorParallel",
}
"""Where the class of each one is."""


def load_system(name: str) -> type[System]:
    """Return the class of a system: by name, or from a file, `file.py` if it has only one, else `file.py:Class`.

    Raises:
        InputError: there is no such system, or the file cannot be imported, or it has no such class.
    """
    if name in SYSTEMS:
        module, _, class_name = SYSTEMS[name].partition(":")
        found: type[System] = getattr(import_module(module), class_name)
        return found
    path, class_name = plugin_place(name)
    classes = {
        key: one
        for key, one in vars(_imported(path)).items()
        if inspect.isclass(one) and issubclass(one, System) and one.__module__ == _module_name(path)
    }
    if class_name and class_name not in classes:
        raise InputError(f"{path}: {class_name}: expected one of {', '.join(classes) or 'no system'}, found no such")
    if not class_name and len(classes) != 1:
        found_names = f"{', '.join(classes)} (name one: {path}:Class)" if classes else "none"
        raise InputError(f"{path}: expected one class of ndpsim.systems.system.System, found {found_names}")
    chosen = classes[class_name or next(iter(classes))]
    missing = sorted(chosen.__abstractmethods__)
    if missing:
        raise InputError(f"{path}: {chosen.__name__}: expected the methods {', '.join(missing)}, found none")
    if not isinstance(getattr(chosen, "name", None), str):
        raise InputError(f"{path}: {chosen.__name__}: expected a text as its attribute name, found none")
    return chosen


def plugin_place(name: str) -> tuple[Path, str]:
    """Return the file of a system that is none of ours, and its class or "". Raises InputError if there is no file."""
    text, _, class_name = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = Path(text)
    if path.suffix != ".py":
        raise InputError(f"system '{name}': expected one of {', '.join(SYSTEMS)}, or a file (.py or .py:Class)")
    if found := unreadable(path):
        raise InputError(f"{path}: expected a Python file with a system, found {found}")
    return path, class_name


def _module_name(path: Path) -> str:
    return f"ndpsim_system_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"


def _imported(path: Path) -> ModuleType:
    """Import a file, whatever its place. Raises InputError naming the line at which it fails."""
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file with a system, found another kind of file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of its classes look there
    try:
        with plugin_errors(path):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        where = Path(error.filename or path)
        raise InputError(f"{where}: line {error.lineno}: expected Python, found: {error.msg}") from None
    return module


@contextmanager
def plugin_errors(path: Path | None) -> Iterator[None]:
    """Turn what the code of a plug-in raises into one sentence that names its line; without a plug-in, do nothing."""
    try:
        yield
    except (InputError, ProgramError, SyntaxError):
        raise
    except Exception as error:
        line = _line_in(path, error) if path else None
        if line is None:
            raise
        text = "".join(str(error).splitlines()[:1])
        found = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise InputError(f"{path}: line {line}: expected no exception, found {found}") from error


def _line_in(path: Path, error: BaseException) -> int | None:
    """Return the innermost line of a file that an exception came through, or None if it did not."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
