"""HDF5 files that appear whole or not at all, also on a full disk.

The HDF5 library crashes the process when it cannot write what it still holds as a file is closed. So it writes through
an object of Python's, which notes the first error and pretends to have written; the error is raised when the file is
closed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py

from ndpsim.files import appearing

_CACHE_SLOTS: Final = 521  # of chunks of a dataset, as HDF5 has it by itself


class _Target(io.RawIOBase):
    """A file for HDF5 whose writes always succeed, as far as the library knows; error: the first that did not."""

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def write(self, data: Any) -> int:
        """Write, and note an error."""
        size = len(memoryview(data).cast("B"))
        if self.error is None:
            try:
                at = self._file.tell()
                if self._file.write(data) == size:
                    return size
                self._file.seek(at)  # a disk that is nearly full takes a part; asked for the rest, it says why
                self._write_all(memoryview(data).cast("B"))
                return size
            except OSError as error:
                self.error = error
        return size

    def _write_all(self, data: memoryview) -> None:
        while data:
            data = data[self._file.write(data) :]

    def truncate(self, size: int | None = None) -> int:
        """Set the length, and note an error."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        """Read what is there; zeros stand for what could not be written."""
        found: int = self._file.readinto(buffer)
        if self.error is not None:
            view = memoryview(buffer).cast("B")
            view[found:] = bytes(len(view) - found)
            return len(view)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _created(target: _Target, chunk_cache: int) -> h5py.File:
    """Create a file with checksums of all metadata, and without the time of day, which h5py before 3.15 writes."""
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_obj_track_times(False)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_cache(0, _CACHE_SLOTS, chunk_cache, 0.75)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, target)
    return h5py.File(h5py.h5f.create(b"file", h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access))


@contextmanager
def appearing_hdf5(path: Path, chunk_cache: int = 1 << 20) -> Iterator[h5py.File]:
    """Yield a new HDF5 file, which takes the place of `path` when the block ends well.

    chunk_cache: bytes that HDF5 may hold of each dataset. Raises InputError if the place cannot be written, whatever
    else went wrong because of that.
    """
    with appearing(path) as part:
        target = _Target(part)
        try:
            with _created(target, chunk_cache) as file:
                yield file
        except Exception:
            if target.error is not None:
                raise target.error from None
            raise
        finally:
            target.close()
        if target.error is not None:
            raise target.error
