"""Files that appear whole or not at all, and HDF5 in the form whose damage is always noticed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ndpsim.errors import InputError

CHECKSUMMED: dict[str, Any] = {"libver": ("v110", "v110")}
"""For `h5py.File(path, "w", ...)`: checksums of all metadata. In older forms a damaged byte can crash the library."""


@contextmanager
def appearing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, which takes its place when the block ends well.

    Raises InputError if the folder or the place cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise InputError(f"{path}: expected a place that can be written, found: {reason}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def has_checksums(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is HDF5 of the form that guards its structure with checksums."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[:8] == b"\x89HDF\r\n\x1a\n" and start[8] >= 2
