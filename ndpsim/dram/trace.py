"""Request traces in memory and in files: text for people and other tools, HDF5 for long ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ndpsim.dram.request import DTYPES, Requests, Trace, require_valid
from ndpsim.errors import InputError


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
            yield Requests(*(column[start : start + size] for column in requests))

    return Trace(len(requests.address), arrival is not None, bool(requests.after.any()), read)


def _requests(address: Any, write: Any, arrival: Any, after: Any, where: str) -> Requests:
    length = len(address) if np.ndim(address) else 0
    columns = []
    for name, given in zip(Requests._fields, (address, write, arrival, after), strict=True):
        values = np.zeros(length, np.uint8) if given is None else np.asarray(given)
        if values.shape != (length,) or values.dtype.kind not in ("iub" if length else "iubf"):  # [] is float64
            raise InputError(f"{where}{name}: expected {length} integers, found {values.dtype} of shape {values.shape}")
        columns.append(values)
    require_valid(Requests(*columns), 0, 0, where)
    return Requests(*(np.ascontiguousarray(*column) for column in zip(columns, DTYPES, strict=True)))
