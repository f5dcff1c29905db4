"""Kernels that other kernels call are compiled only as far as their callers need them.

Numba optimizes each function together with all that it calls, and makes machine code of it, although a caller takes
over its intermediate code alone: of a chain of five kernels the innermost is optimized five times, and machine code is
made of each. While a kernel is compiled that Python calls, those that it calls are therefore linked and no more; it is
optimized with all of them, once. A kernel that Python calls later is then compiled by itself.

This uses private parts of Numba: the class of its code libraries, and what makes the functions that Python calls.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba.core.codegen

_Library: Any = numba.core.codegen.JITCodeLibrary
_NO_MACHINE_CODE = ctypes.cast(ctypes.pythonapi.PyErr_NoMemory, ctypes.c_void_p).value
"""What Python would call in place of an inner kernel: it returns with an error."""


class InnerLibrary(_Library):
    """The code of an inner kernel: linked, not optimized, and not made into machine code."""

    @property
    def codegen(self) -> Any:
        """Numba's code generator, which takes no environments of code that is not there."""
        return _WithoutEnvironments(self._codegen)

    def finalize(self) -> None:
        """Link what this kernel calls."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            if hasattr(library, "_reload_init"):  # not in older versions of Numba
                self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._final_module.verify()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return what stands for machine code."""
        assert _NO_MACHINE_CODE is not None, name
        return _NO_MACHINE_CODE

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        """Return the intermediate code, for the cache."""
        self._ensure_finalized()
        return self.name, "bitcode", self._final_module.as_bitcode()

    @classmethod
    def _unserialize(cls, codegen: Any, state: tuple[str, str, Any]) -> Any:
        name, kind, data = state
        if kind != "bitcode":
            return _Library._unserialize(codegen, state)
        self = cls(codegen, name)
        self._final_module = numba.core.codegen.ll.parse_bitcode(data)
        self._finalized = True
        return self


class _WithoutEnvironments:
    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: `set_environments` does it for the kernel that Python calls."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


def is_inner(result: Any) -> bool:
    """Whether a result of compilation is that of an inner kernel."""
    return isinstance(result.library, InnerLibrary)


def set_environments(result: Any) -> None:
    """Give the machine code of a kernel the environments of the inner kernels in it."""
    for environment in result._find_referenced_environments():
        result.library.codegen.set_env(environment.env_name, environment)


def begin(context: Any) -> None:
    """Compile inner kernels from here on."""
    context.codegen()._library_class = InnerLibrary
    context.create_cpython_wrapper = context.create_cfunc_wrapper = _no_wrapper


def end(context: Any) -> None:
    """Compile kernels that Python calls again."""
    del context.codegen()._library_class, context.create_cpython_wrapper, context.create_cfunc_wrapper


@contextmanager
def inner(context: Any) -> Iterator[None]:
    """Load or compile inner kernels."""
    begin(context)
    try:
        yield
    finally:
        end(context)


def _no_wrapper(*_: Any, **_more: Any) -> None:
    """Make nothing for Python to call."""
