"""Numba as this project uses it: one decorator, and a compile cache that notices every changed kernel.

Numba keys its cache on the file that holds a kernel, so a changed callee in *another* file would go unnoticed. The
cache folder is therefore named after a hash of all sources of the package and of the instruction set. Import `njit`
from here, never from numba, so that the folder is set before the first kernel is declared.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba.core import config

from ndpsim.data import isa_dir


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
    except OSError:  # a home that cannot be written: compile afresh in a folder of this process's own user
        folder = Path(tempfile.gettempdir()) / f"ndpsim-kernels-{os.getuid() if hasattr(os, 'getuid') else 0}"
        folder = folder / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    return folder


_CACHE_DIR = config.CACHE_DIR or str(_cache_dir())


def njit(function: Any) -> Any:
    """Compile a kernel: cached, without the GIL, and without any licence to reorder floating-point arithmetic."""
    before, config.CACHE_DIR = config.CACHE_DIR, _CACHE_DIR
    try:
        return numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before
