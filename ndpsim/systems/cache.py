"""Arrays that take long to make and are the same every time, kept in the user's cache folder between runs.

The folder is `ndpsim/traces` in XDG_CACHE_HOME, or in ~/.cache. It may be deleted at any time. What is damaged there,
or cannot be read or written, is as if it were not there.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.files import appearing

LIMIT: Final = 2 << 30
"""Bytes of all files together; those that were not used for longest go."""
_DAMAGED: Final = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile)


def cached(key: str, dtype: str, shape: tuple[int, ...], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the array of a key, of this type and shape: from the cache, or made, and kept if it is not too large.

    key: names all that the array depends on.
    """
    path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    found = _read(path, key)
    if found is not None and (found.dtype, found.shape) == (np.dtype(dtype), shape):
        return found
    made = make()
    if made.nbytes <= LIMIT:
        with suppress(OSError, InputError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with appearing(path) as part, part.open("wb") as file:
                np.savez(file, key=np.array(key), content=made)
            _prune(path)
    return made


def folder() -> Path:
    """Return the folder of the cache; it need not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "ndpsim" / "traces"


def _read(path: Path, key: str) -> NDArray[Any] | None:
    """Return the content of a file whose checksums are right and whose key this is, and mark it as used."""
    with suppress(*_DAMAGED), np.load(path, allow_pickle=False) as file:
        if str(file["key"]) == key:
            content: NDArray[Any] = file["content"]
            with suppress(OSError):
                os.utime(path)
            return content
    return None


def _prune(newest: Path) -> None:
    """Delete the files that were not used for longest, until the rest is within the limit."""
    files = [(path.stat(), path) for path in newest.parent.glob("*.npz")]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if total <= LIMIT or path == newest:
            continue
        with suppress(OSError):
            path.unlink()
        total -= stat.st_size
