"""Numba as this project uses it: one decorator, and a compile cache that notices every changed kernel.

Numba keys its cache on the file that holds a kernel, so a changed callee in *another* file would go unnoticed. The
cache folder is therefore named after a hash of all sources of the package and of the instruction set. Kernels import
`njit` from here, never from numba.
"""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numba.core
from numba import types
from numba.extending import intrinsic, overload

from ndpsim.data import isa_dir

_STALE_S = 30 * 24 * 3600


def _cache_dir() -> Path:
    digest = hashlib.sha256()
    for source in [*sorted(Path(__file__).parent.rglob("*.py")), isa_dir() / "ndp.toml"]:
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "ndpsim" / "kernels" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _remove_stale(folder)
    except OSError:  # a home that cannot be written: compile afresh in a folder of this process's own user
        folder = Path(tempfile.gettempdir()) / f"ndpsim-kernels-{os.getuid() if hasattr(os, 'getuid') else 0}"
        folder = folder / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _remove_stale(folder: Path) -> None:
    """Remove the caches of other versions that have not been used for a month."""
    os.utime(folder)
    for other in folder.parent.iterdir():
        if time.time() - other.stat().st_mtime > _STALE_S:
            shutil.rmtree(other, ignore_errors=True)


_config: Any = numba.core.config
_CACHE_DIR = _config.CACHE_DIR or str(_cache_dir())


def njit(function: Any) -> Any:
    """Compile a kernel: cached, without the GIL, and without any licence to reorder floating-point arithmetic."""
    before, _config.CACHE_DIR = _config.CACHE_DIR, _CACHE_DIR
    try:
        return numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    finally:
        _config.CACHE_DIR = before


def _borrowing(function: Any, **more: Any) -> Any:
    options: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy", "_nrt": False}
    before, _config.CACHE_DIR = _config.CACHE_DIR, _CACHE_DIR
    try:
        return numba.njit(**options, **more)(function)
    finally:
        _config.CACHE_DIR = before


def borrowing(function: Any) -> Any:
    """Compile a kernel that allocates nothing: as `njit`, but it does not count references to the arrays that it gets.

    Counting is an atomic operation for each array in each call, which in kernels that call small kernels takes more
    time than all else.
    """
    return _borrowing(function)


def merged(function: Any) -> Any:
    """As `borrowing`, and LLVM puts the kernel into its callers: for what is called for every request or command.

    A call hands over seven words for an array and a status back; without such calls requests are served twice as fast.
    """
    return _borrowing(function, forceinline=True)


def inlined(function: Any) -> Any:
    """Merge a kernel into its caller before that one is compiled: for large kernels that are called from one place.

    A call would hand the whole machine and state over by value, some 150 words; without it streams are timed 1.6
    times faster.
    """
    return numba.njit(inline="always", nogil=True, fastmath=False, error_model="numpy")(function)


def pointer_to(array: Any) -> Any:
    """Return an int64 array as kernels of small calls take it: a bare pointer, which `x[i]` reads and writes.

    It is one word in a call instead of seven, and a place costs no check for negative numbers; without the compiler it
    is the array itself. It must not outlive the array.
    """
    return array


def _pointer_type(_: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


_pointer: Any = intrinsic(_pointer_type)
_MERGED: Any = {"_nrt": False, "forceinline": True}


@overload(pointer_to, jit_options=_MERGED)
def _pointer_to(array: Any) -> Any:
    def compiled(array: Any) -> Any:
        return _pointer(array)

    return compiled
