"""What the machine code of a kernel depends on, as a digest.

That is all that Numba's compiler sees: the byte code of the kernel and of the kernels that it calls, the constants
that they read, classes of named tuples, types of the arguments, and how it is told to compile. Where a source file
lies, comments, docstrings, and whatever else stands in it are not part of it. Whatever is not known here for certain
makes a kernel that is not cached.
"""

import enum
import hashlib
import json
import sys
import types as python
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numba.core.config
import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher

from ndpsim.kernels.code_digest import code_digest, globals_of, names_of

_FORMAT: Final = 1  # of this digest, and of the cached files
_config: Any = numba.core.config
_LIBRARIES: Final = ("numba", "llvmlite", "numpy")
_BY_NAME: Final = {"numba", "numpy", "math", "builtins", "typing"}  # packages that the libraries' versions stand for
_EXTENSIONS: Final = ("ndpsim.jit", "ndpsim.kernels.held")  # sources that tell Numba how to compile
_SETTINGS: Final = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "USING_SVML")
_PLAIN: Final = (types.Number, types.Boolean, types.NoneType, types.UnicodeType, types.CPointer, types.Literal)


class UnknownDependencyError(Exception):
    """A kernel depends on something whose value this module cannot read."""


def kernel_digest(kernel: Any, target: Any) -> str:
    """Return a digest, in hexadecimal, of all that the machine code of a dispatcher depends on but types of arguments.

    target: the processor, as text.

    Raises UnknownDependencyError.
    """
    return _digest([_toolchain(), str(target), *_Walk().functions([kernel])], 28)


def types_digest(signature: Any) -> str:
    """Return a digest, in hexadecimal, of types of arguments. Raises UnknownDependencyError."""
    walk = _Walk()
    return _digest([*walk.types(signature), *walk.functions([])], 20)


def _digest(parts: list[str], digits: int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:digits]


def _toolchain() -> str:
    """Return what all kernels depend on."""
    return " ".join([_sources(), *(f"{name}={getattr(_config, name, None)}" for name in _SETTINGS)])


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for name in _EXTENSIONS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise UnknownDependencyError(name)
        digest.update(Path(spec.origin).read_bytes())
    versions = [f"{name} {version(name)}" for name in _LIBRARIES]
    return f"{_FORMAT} {digest.hexdigest()} {sys.implementation.cache_tag} {versions}"


class _Walk:
    """A walk over a kernel and all that it calls, each once."""

    def __init__(self) -> None:
        self._waiting: list[Any] = []
        self._seen: set[int] = set()
        self._modules: set[str] = set()

    def functions(self, kernels: list[Any]) -> list[str]:
        """Describe kernels, those met so far, and all that they call: one of them first, the others sorted."""
        for kernel in kernels:
            self._meet(kernel)
        found = []
        while self._waiting:
            found.append(" ".join(self._function(self._waiting.pop())))
        return found[:1] + sorted(found[1:])

    def types(self, signature: Any) -> Iterator[str]:
        """Describe types of arguments."""
        for type_ in signature:
            parts = getattr(type_, "parts_for_digest", None)
            if isinstance(type_, types.BaseTuple):
                tuple_: Any = type_
                own = self._class(tuple_.instance_class) if isinstance(type_, types.BaseNamedTuple) else ""
                yield from [f"{own}(", *self.types(tuple_.types), ")"]
            elif isinstance(type_, types.Array) and isinstance(type_.dtype, _PLAIN):
                yield str(type_)
            elif isinstance(type_, types.Dispatcher):
                yield self._value(type_.dispatcher, frozenset())
            elif isinstance(type_, types.Omitted):
                yield f"omitted {self._value(type_.value, frozenset())}"
            elif parts is not None:
                yield from [type(type_).__qualname__, "(", *self.types(parts), ")"]
            elif isinstance(type_, _PLAIN):
                yield str(type_)
            else:
                raise UnknownDependencyError(f"an argument of type {type_}")

    def _meet(self, kernel: Any) -> None:
        if id(kernel) not in self._seen:
            self._seen.add(id(kernel))
            self._waiting.append(kernel)

    def _function(self, kernel: Any) -> Iterator[str]:
        """Describe a kernel by itself, and meet what it calls."""
        function = kernel.py_func
        names = names_of(function.__code__)
        yield f"{_name(function)} {code_digest(function.__code__)} {sorted(kernel.targetoptions.items())}"
        for name in sorted(globals_of(function.__code__)):
            if name in function.__globals__:  # a builtin is not
                yield f"{name}={self._value(function.__globals__[name], names)}"
        for cell in function.__closure__ or ():
            yield self._value(cell.cell_contents, names)
        yield self._value(function.__defaults__, names)

    def _value(self, value: Any, names: frozenset[str]) -> str:
        """Describe a value that a kernel reads; of a module, those of its values that have any of these names."""
        if value is None or type(value) in _SIMPLE:
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, enum.Enum):
            return f"{self._class(type(value))} {value.name} {self._value(value.value, names)}"
        if isinstance(value, (tuple, list)):
            own = type(value).__name__ if type(value) in (tuple, list) else self._class(type(value))
            return f"{own}({', '.join(self._value(item, names) for item in value)})"
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise UnknownDependencyError("an array of objects")
            digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
            return f"array {array.dtype} {array.shape} {array.flags.f_contiguous} {digest}"
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, python.ModuleType):
            return self._module(value, names)
        if isinstance(value, types.Type):
            return f"type {' '.join(self.types([value]))}"
        return self._callable(value)

    def _module(self, module: Any, names: frozenset[str]) -> str:
        if _package(module.__name__) in _BY_NAME or module.__name__ in self._modules:
            return str(module.__name__)
        self._modules.add(module.__name__)  # modules may name each other
        found = {name: vars(module)[name] for name in sorted(names & vars(module).keys())}
        text = ", ".join(f"{name}={self._value(value, names)}" for name, value in found.items())
        self._modules.remove(module.__name__)
        return f"{module.__name__}({text})"

    def _class(self, class_: Any) -> str:
        name = _name(class_)
        if issubclass(class_, tuple) and hasattr(class_, "_fields"):
            defaults = [self._value(value, frozenset()) for value in class_._field_defaults.values()]
            return f"{name}{class_._fields}{defaults}"
        if issubclass(class_, enum.Enum):
            return f"{name}{[(member.name, self._value(member.value, frozenset())) for member in class_]}"
        if _package(class_.__module__) in _BY_NAME or issubclass(class_, BaseException):
            return name
        raise UnknownDependencyError(f"the class {name}")

    def _callable(self, value: Any) -> str:
        if isinstance(value, Dispatcher):
            self._meet(value)
            return _name(value.py_func)
        module = getattr(value, "__module__", None) or ""
        if isinstance(value, np.ufunc) or _package(module) in _BY_NAME or module in _EXTENSIONS:
            return _name(value)
        raise UnknownDependencyError(f"{value!r}")


_SIMPLE: Final = {bool, int, float, complex, str, bytes}


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or value.__name__
    return f"{getattr(value, '__module__', '')}.{name}"


def _package(module: str) -> str:
    return module.partition(".")[0]
