"""Request traces in memory and in files: text for people and other tools, HDF5 for long ones."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ndpsim.dram.requests.hdf5 import open_hdf5, write_hdf5
from ndpsim.dram.requests.request import Requests, Trace, require_valid
from ndpsim.dram.requests.text import open_text, write_text
from ndpsim.errors import InputError
from ndpsim.files import unreadable


def array_trace(
    address: npt.ArrayLike,
    write: npt.ArrayLike | None = None,
    arrival: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
) -> Trace:
    """Return a trace of requests that are in memory; the columns are those of `Requests`, of any integer type.

    Raises InputError if lengths differ, a value is out of range, an arrival comes before the one of the request ahead,
    or a dependency reaches back beyond the first request.
    """
    requests = _requests(address, write, arrival, after, "")

    def read(size: int) -> Iterator[Requests]:
        for start in range(0, len(requests.address), size):
            yield requests.part(start, start + size)

    return Trace(len(requests.address), arrival is not None, bool(requests.after.any()), read)


def open_trace(path: str | os.PathLike[str], form: str | None = None) -> Trace:
    """Return the trace in a file: HDF5 if its name ends in .h5 or .hdf5, else text, compressed if it ends in .gz.

    form: the form of the text (`FORMS`); None: what its first request tells.
    Raises InputError if the file cannot be read or is of another kind; the blocks of the trace raise it where the file
    turns out to be damaged, cut short, or malformed.
    """
    path = Path(path)
    found = None
    if not path.exists():
        found = os.strerror(errno.ENOENT)
    elif found := unreadable(path):
        pass
    elif path.stat().st_size == 0:
        found = "an empty one"
    if found:
        raise InputError(f"{path}: expected a file with a request trace, found: {found}")
    if not _is_hdf5(path):
        return open_text(path, form)
    if form is not None:
        raise InputError(f"{path}: format: expected none for HDF5, found {form!r}")
    return open_hdf5(path)


def write_trace(
    path: str | os.PathLike[str],
    address: npt.ArrayLike,
    write: npt.ArrayLike | None = None,
    arrival: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
) -> None:
    """Write a trace whole or not at all; the columns are as in `array_trace`, the name tells the kind of the file.

    Raises InputError as `array_trace` does, and if the place cannot be written.
    """
    path = Path(path)
    requests = _requests(address, write, arrival, after, f"{path}: ")
    (write_hdf5 if _is_hdf5(path) else write_text)(path, requests, timed=arrival is not None)


def _is_hdf5(path: Path) -> bool:
    return path.suffix.lower() in (".h5", ".hdf5")


def _requests(address: Any, write: Any, arrival: Any, after: Any, where: str) -> Requests:
    length = len(address) if np.ndim(address) else 0
    columns: list[npt.NDArray[Any]] = []
    for name, given in zip(Requests._fields, (address, write, arrival, after), strict=True):
        values = np.zeros(length, np.uint8) if given is None else np.asarray(given)
        if values.shape != (length,) or values.dtype.kind not in ("iub" if length else "iubf"):  # [] is float64
            raise InputError(f"{where}{name}: expected {length} integers, found {values.dtype} of shape {values.shape}")
        columns.append(values)
    require_valid(Requests(*columns), 0, 0, where)
    return Requests.of(*columns)
