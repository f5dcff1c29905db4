"""Where the caches of this user lie.

They are below `ndpsim` in the user's cache folder: XDG_CACHE_HOME, or the folder that the operating system has for
caches (~/.cache on Linux). All of them may be deleted at any time.
"""

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o700
_OF_OTHERS: Final = 0o077


def cache_folder(name: str) -> Path:
    """Return the folder of a cache, `kernels` or `traces`; it need not exist."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if chosen.is_absolute():
        return chosen / "ndpsim" / name
    import platformdirs  # loaded only when it is needed, so that --help is quick

    usual = platformdirs.user_cache_path("ndpsim", appauthor=False)
    # the XDG specification says that a relative path is ignored, which not every version of platformdirs does
    return (usual if usual.is_absolute() else Path.home() / ".cache" / "ndpsim") / name


@cache
def writable(folder: Path) -> Path:
    """Return a folder that exists, can be written, and that nobody else owns or may write without being let in.

    It is this one, or one for temporary files: what is read from a cache of kernels is run.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            if _is_own(folder.stat(), stat.S_IWOTH):
                return folder
    return _private(Path(tempfile.gettempdir()) / f"ndpsim-{folder.name}-{_user()}")


def _private(folder: Path) -> Path:
    """Return a folder that no other user can write: this one, or else a new one that goes when the process ends."""
    with suppress(OSError):
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        found = folder.lstat()  # not of what a link leads to
        if stat.S_ISDIR(found.st_mode) and _is_own(found, _OF_OTHERS):
            return folder
    new = Path(tempfile.mkdtemp(prefix="ndpsim-"))
    atexit.register(shutil.rmtree, new, ignore_errors=True)
    return new


def _is_own(found: os.stat_result, without: int) -> bool:
    """Whether a folder belongs to this user, and its mode has none of some bits; Windows has no such bits."""
    return os.name == "nt" or (found.st_uid == _user() and not found.st_mode & without)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
