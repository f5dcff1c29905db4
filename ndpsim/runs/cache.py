"""Arrays that take long to make and are the same every time, kept in the user's cache folder between runs.

The folder (`ndpsim.cache_folders`) may be deleted at any time. What is damaged there, or cannot be read or written, is
as if it were not there. A file holds the bytes of an array and a checksum, and never changes: it is mapped into memory,
which is several times as fast as a copy.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.cache_folders import cache_folder
from ndpsim.errors import InputError
from ndpsim.files import appearing

LIMIT: Final = 2 << 30
"""Bytes of all files together; those that were not used for longest go."""


def cached(key: str, dtype: str, shape: tuple[int, ...], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the array of a key, of this type and shape: from the cache, or made, and kept if it is not too large.

    key: names all that the array depends on.
    """
    path = folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.array"
    name = f"{key} {dtype} {shape}"
    found = _read(path, name, dtype, shape)
    if found is not None:
        return found
    made = make()
    if made.nbytes <= LIMIT:
        with suppress(OSError, InputError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with appearing(path) as part, part.open("wb") as file:
                content = np.ascontiguousarray(made)
                file.write(content.data)
                file.write(_checksum(name, content))
            _prune(path)
    return made


def folder() -> Path:
    """Return the folder of the cache; it need not exist."""
    return cache_folder("traces")


def _read(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return the content of a file whose checksum is right and whose name this is, and mark it as used."""
    with suppress(OSError, ValueError):
        content = np.memmap(path, dtype, "c", shape=shape).view(np.ndarray)
        with path.open("rb") as file:
            file.seek(content.nbytes)
            found = file.read()
        if found == _checksum(name, content):
            with suppress(OSError):
                os.utime(path)
            return content
    return None


def _checksum(name: str, content: NDArray[Any]) -> bytes:
    return zlib.crc32(content.data, zlib.crc32(name.encode())).to_bytes(4, "little")


def _prune(newest: Path) -> None:
    """Delete the files that were not used for longest, until the rest is within the limit."""
    files = [(path.stat(), path) for path in newest.parent.glob("[!.]*")]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if total <= LIMIT or path == newest:
            continue
        with suppress(OSError):
            path.unlink()
        total -= stat.st_size
