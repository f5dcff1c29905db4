"""Files that appear whole or not at all, and HDF5 in the form whose damage is always noticed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ndpsim.errors import InputError

fcntl: Any
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def require_place(path: str | os.PathLike[str]) -> Path:
    """Return where a file of this name will lie (links followed).

    Raises InputError if that is a folder, a device, or in a folder that does not exist or cannot be written.
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    found = None
    if not target.name or target.is_dir():
        found = "a folder"
    elif target.exists() and not target.is_file():
        found = "a device or a pipe"
    elif not target.parent.is_dir():
        found = os.strerror(errno.ENOENT)
    elif not os.access(target.parent, os.W_OK):
        found = os.strerror(errno.EACCES)
    if found:
        raise InputError(f"{path}: expected a place that can be written, found: {found}")
    return target


@contextmanager
def appearing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, which takes its place when the block ends well.

    Raises InputError if the folder or the place cannot be written.
    """
    path = require_place(path)
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


def unreadable(path: str | os.PathLike[str]) -> str | None:
    """Return what stands where a file is to be read, None if a file that can be read does.

    The HDF5 library says of a file that another program is writing only that it cannot be opened.
    """
    if not os.path.exists(path):
        return "no such file"
    if os.path.isdir(path):
        return "a folder"
    if not os.path.isfile(path):
        return "a device or a pipe"
    try:
        with open(path, "rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "a file that another program has locked"
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"a file that may not be read ({os.strerror(error.errno)})"
    return None


def has_checksums(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is HDF5 of the form that guards its structure with checksums."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[:8] == b"\x89HDF\r\n\x1a\n" and start[8] >= 2
