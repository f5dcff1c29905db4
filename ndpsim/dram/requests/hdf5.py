"""Request traces as HDF5: datasets address, write and, where needed, arrival and after; read block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ndpsim.dram.requests.request import Requests, Trace, require_valid
from ndpsim.errors import InputError
from ndpsim.files import has_checksums
from ndpsim.hdf5_fields import dataset_of, integer_of, text_of
from ndpsim.hdf5_files import appearing_hdf5

FORMAT = "ndpsim-request-trace"
VERSION = 1
_STORED = {"address": "int64", "write": "uint8", "arrival": "int64", "after": "uint16"}
_OPTIONAL = ("arrival", "after")
_CHUNK = 1 << 16


def open_hdf5(path: Path) -> Trace:
    """Return the trace in an HDF5 file; its values are checked as its blocks are read."""
    with _reading(path) as datasets:
        length, present = len(datasets["address"]), set(datasets)
    return Trace(length, "arrival" in present, "after" in present, lambda size: _blocks(path, size), "HDF5")


def write_hdf5(path: Path, requests: Requests, timed: bool) -> None:
    """Write requests as HDF5, whole or not at all."""
    absent = {name for name, present in (("arrival", timed), ("after", requests.after.any())) if not present}
    packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
    with appearing_hdf5(path) as file:
        file.attrs.update(format=np.bytes_(FORMAT), version=VERSION, requests=len(requests.address))
        for name, dtype in _STORED.items():
            if name not in absent:
                values = getattr(requests, name).astype(dtype)
                file.create_dataset(name, data=values, chunks=(_CHUNK,), maxshape=(None,), **packing)


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Yield the datasets of a file, which are as long as the file says that it has requests."""
    try:
        if not has_checksums(path):
            raise InputError("format: expected HDF5 with checksums, found another kind of file")
        with h5py.File(path, "r") as file:
            if (found := text_of(file, "format")) != FORMAT:
                raise InputError(f"format: expected {FORMAT!r}, found {found!r}")
            if (version := integer_of(file, "version")) != VERSION:
                raise InputError(f"version: expected {VERSION}, found {version}")
            shape = (integer_of(file, "requests"),)
            names = [name for name in _STORED if name in file or name not in _OPTIONAL]
            yield {name: dataset_of(file, name, _STORED[name], shape) for name in names}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: expected a whole request trace, found: {' '.join(reason.split())}") from error


def _blocks(path: Path, size: int) -> Iterator[Requests]:
    latest = 0
    with _reading(path) as datasets:
        for start in range(0, len(datasets["address"]), size):
            stop = min(start + size, len(datasets["address"]))
            block = Requests.of(
                *(datasets[name][start:stop] if name in datasets else np.zeros(stop - start) for name in _STORED)
            )
            require_valid(block, start, latest, "")
            latest = int(block.arrival[-1])
            yield block
