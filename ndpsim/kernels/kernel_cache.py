"""Compiled kernels kept in the user's cache folder between processes.

A file holds one kernel for one set of argument types. Its name has a digest of all that the machine code depends on
(`kernel_digest`) and of nothing else, so that the same kernel is found from any checkout and after edits elsewhere.
What is damaged is compiled anew.

Numba's own cache knows the file of a kernel alone, not what it calls. This one uses private parts of Numba: the
interface of its caches, how it stores a result of compilation, and the place of a dispatcher's cache.
"""

import gc
import hashlib
import os
import pickle
import sys
import time
import uuid
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import numba.core.caching
import numba.core.config
from numba.core import event, sigutils
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from ndpsim import wall
from ndpsim.cache_folders import cache_folder, writable
from ndpsim.kernels import compiling
from ndpsim.kernels.inner_kernels import begin, end, inner, is_inner, set_environments
from ndpsim.kernels.kernel_digest import UnknownDependencyError, kernel_digest, types_digest

_config: Any = numba.core.config
_Interface: Any = numba.core.caching._Cache
_result: Any = CompileResult
_dumps: Any = dumps
_SUFFIX: Final = ".kernel"
_CHECKSUM_BYTES: Final = 32
LIMIT: Final = 1 << 30
"""Bytes of all files together, before a process adds its own; those that were not used for longest go."""
_UNUSED_S: Final = 30 * 24 * 3600
_TOUCH_S: Final = 24 * 3600


def kernel_folder() -> Path:
    """Return the folder of compiled kernels, NUMBA_CACHE_DIR if that is set; it need not exist."""
    return Path(_config.CACHE_DIR) if _config.CACHE_DIR else cache_folder("kernels")


class KernelCache(_Interface):
    """The cache of one dispatcher."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher
        self._enabled = True
        self._compile, self._add_overload = dispatcher.compile, dispatcher.add_overload
        dispatcher.compile, dispatcher.add_overload = self.compile, self.add_overload
        _caches.add(self)

    def compile(self, sig: Any) -> Any:
        """Compile the kernel as the dispatcher would, in full if Python is to call it."""
        if not _listener.is_inner:
            arguments = tuple(sigutils.normalize_signature(sig)[0])
            found = self._dispatcher.overloads.get(arguments)
            if found is not None and is_inner(found):
                del self._dispatcher.overloads[arguments]
        return self._compile(sig)

    def add_overload(self, result: Any) -> None:
        """Let the dispatcher have a result; let Python call it only if it is not that of an inner kernel."""
        if is_inner(result):
            self._dispatcher.overloads[tuple(result.signature.args)] = result
        else:
            self._add_overload(result)

    @property
    def cache_path(self) -> str:
        """The folder of compiled kernels."""
        return str(_folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled for these types of arguments, or None."""
        with wall.STARTING:
            target_context.refresh()
            path = self._path(sig, target_context.codegen(), _listener.is_inner)
            content = _read(path) if path else None
            if path is None or content is None:
                return None
            try:
                with inner(target_context) if _listener.is_inner and _listener.depth == 1 else nullcontext():
                    return _result._rebuild(target_context, *pickle.loads(content))
            except Exception:  # whole, yet not understood, whatever the reason: as if it were not there
                _damaged(path)
                return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for these types of arguments."""
        with wall.STARTING:
            if not is_inner(data):
                set_environments(data)
            self._save(sig, data)

    def _save(self, sig: Any, data: Any) -> None:
        path = self._path(sig, data.codegen, is_inner(data))
        if path is None or data.library.has_dynamic_globals or not all(part.can_cache for part in data.lifted):
            return
        with suppress(OSError):
            _remove_unused(path.parent)
        content = _dumps(data._reduce())
        part = path.with_name(f".{uuid.uuid4().hex}{_SUFFIX}.part")
        with suppress(OSError):  # a full disk, say: what was compiled serves this process
            try:
                part.write_bytes(hashlib.sha256(content).digest() + content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def enable(self) -> None:
        """Use the cache."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write."""
        self._enabled = False

    def flush(self) -> None:
        """Forget nothing: what is kept stays right whatever changes."""

    def name(self, codegen: Any) -> str:
        """Return how names of files of this kernel begin. Raises UnknownDependencyError."""
        function = self._dispatcher.py_func
        name = "".join(c for c in f"{function.__module__}.{function.__qualname__}" if c.isalnum() or c in "._")
        return f"{name[-120:]}-{kernel_digest(self._dispatcher, codegen.magic_tuple())}"

    def _path(self, sig: Any, codegen: Any, as_inner: bool) -> Path | None:
        if not self._enabled:
            return None
        try:
            return _folder() / f"{self.name(codegen)}-{types_digest(sig)}{'i' * as_inner}{_SUFFIX}"
        except UnknownDependencyError:
            return None


_caches: Final = WeakSet[KernelCache]()


class _Listener(event.Listener):
    """Counts kernels while Numba compiles them, the caller around what it calls, and tells whoever watches."""

    def __init__(self) -> None:
        self.depth = self._at_most = self._known = 0
        self.is_inner = self._collects = False
        self._done: set[str] = set()

    def on_start(self, event: Any) -> None:
        """A kernel begins to be compiled."""
        context = event.data["dispatcher"].targetctx
        if self.depth == 0:
            self.is_inner = isinstance(event.data["dispatcher"]._cache, KernelCache)  # what is compiled inside this one
            wall.STARTING.__enter__()
            self._collects = gc.isenabled()
            gc.disable()  # almost nothing of what compilation makes is garbage yet: looking for it takes a fifth of it
            if self._known != len(_caches):  # more modules have been imported
                self._known = len(_caches)
                self._at_most = len(self._done) + _not_compiled(context.codegen())
        elif self.depth == 1 and self.is_inner:
            begin(context)
        self.depth += 1
        self._tell()

    def on_end(self, event: Any) -> None:
        """A kernel has been compiled, or could not be."""
        if isinstance(event.data["dispatcher"]._cache, KernelCache):
            function = event.data["dispatcher"].py_func
            self._done.add(f"{function.__module__}.{function.__qualname__}")
        self.depth -= 1
        if self.depth == 1 and self.is_inner:
            end(event.data["dispatcher"].targetctx)
        if self.depth == 0:
            self.is_inner = False
            if self._collects:
                gc.enable()
            wall.STARTING.__exit__()
            self._tell()

    def _tell(self) -> None:
        done = len(self._done)
        compiling.tell(compiling.Compilation(done, max(self._at_most, done), self.depth > 0))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0


def _not_compiled(codegen: Any) -> int:
    """Return how many kernels of the modules that this process has imported are in no file."""
    found = {path.name.rpartition("-")[0] for path in _folder().glob(f"*{_SUFFIX}") if _size(path) > _CHECKSUM_BYTES}
    missing = 0
    for one in list(_caches):
        with suppress(UnknownDependencyError):
            missing += one.name(codegen) not in found
    return missing


_listener: Final = _Listener()
event.register("numba:compile", _listener)


@cache
def _folder() -> Path:
    return writable(kernel_folder())


@cache  # once in a process that compiles: others need not wait for it
def _remove_unused(folder: Path) -> None:
    """Remove kernels not used for a month, or for longest where all take too much, and what is half written."""
    kept = 0
    files = [(path.stat(), path) for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob(f".*{_SUFFIX}.part")]]
    for found, path in sorted(files, key=lambda one: -one[0].st_mtime):
        kept += found.st_size
        if time.time() - found.st_mtime > _UNUSED_S or kept > LIMIT:
            path.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """Return the content of a file if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[_CHECKSUM_BYTES:]).digest() != content[:_CHECKSUM_BYTES]:
        _damaged(path)
        return None
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > _TOUCH_S:
            os.utime(path)
    return content[_CHECKSUM_BYTES:]


def _damaged(path: Path) -> None:
    """Say that a file is of no use, and remove it."""
    _say_damaged(path.parent)
    with suppress(OSError):
        path.unlink()


@cache
def _say_damaged(folder: Path) -> None:
    sys.stderr.write(f"ndpsim: {folder}: damaged files of compiled kernels; these kernels are compiled anew\n")
