"""Where the caches of this user lie.

They are below `ndpsim` in the user's cache folder: XDG_CACHE_HOME, or the folder that the operating system has for
caches (~/.cache on Linux). All of them may be deleted at any time.
"""

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o700


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
    """Return a folder of this user's own that exists and can be written: this one, or one for temporary files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return _private(Path(tempfile.gettempdir()) / f"ndpsim-{folder.name}-{_user()}")


def _private(folder: Path) -> Path:
    """Return a folder that no other user can write: this one, or else a new one that goes when the process ends."""
    try:
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and stat.S_IMODE(found.st_mode) == _PRIVATE:
            return folder
    except OSError:
        pass
    new = Path(tempfile.mkdtemp(prefix="ndpsim-"))
    atexit.register(shutil.rmtree, new, ignore_errors=True)
    return new


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
