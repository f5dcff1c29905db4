"""Requests to memory, as a host controller takes them: block by block, so that a trace of any length fits in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ndpsim.errors import InputError

BLOCK = 1 << 18
MAX_ADDRESS = (1 << 63) - 1
MAX_CYCLE = (1 << 48) - 1
MAX_AFTER = (1 << 16) - 1
DTYPES: tuple[type[np.integer], ...] = (np.int64, np.uint8, np.int64, np.int64)


class Requests(NamedTuple):
    """Some requests in order, each for one burst of the standard.

    address: int64[n], in bytes. write: uint8[n], 0 or 1. arrival: int64[n], the cycle before which the request does not
    enter. after: int64[n], how many requests back the one lies that must be done first; 0 for none.
    """

    address: npt.NDArray[np.int64]
    write: npt.NDArray[np.uint8]
    arrival: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]

    @classmethod
    def of(cls, address: Any, write: Any, arrival: Any, after: Any) -> Self:
        """Return columns of any integer type as requests; columns that fit are not copied."""
        columns = (address, write, arrival, after)
        return cls(*(np.ascontiguousarray(*column) for column in zip(columns, DTYPES, strict=True)))

    def part(self, start: int, stop: int) -> Self:
        """Return some of the requests, as views."""
        return self.of(*(column[start:stop] for column in self))


@dataclass(frozen=True)
class Trace:
    """A sequence of requests, which every call of `blocks` reads from the start.

    length: how many there are; None if only reading tells. timed: they have arrival cycles (if not, all are 0).
    dependent: some may wait for others. read: yields blocks of as many requests as it is told, the last one shorter.
    form: what kind of file or list it comes from.
    """

    length: int | None
    timed: bool
    dependent: bool
    read: Callable[[int], Iterator[Requests]]
    form: str = "in memory"

    def blocks(self, size: int = BLOCK) -> Iterator[Requests]:
        """Yield all requests, `size` at a time; raises InputError where a file turns out to be damaged."""
        return self.read(size)


def require_valid(block: Requests, first: int, latest: int, where: str) -> None:
    """Raise InputError unless a block can follow `first` requests of which the last arrived in cycle `latest`."""
    count = len(block.address)
    limits: dict[str, tuple[Any, Any]] = {
        "address": (0, MAX_ADDRESS),
        "write": (0, 1),
        "arrival": (np.concatenate([[latest], block.arrival[:-1]]), MAX_CYCLE),
        "after": (0, np.minimum(np.arange(first, first + count), MAX_AFTER)),
    }
    for name, (low, high) in limits.items():
        values: npt.NDArray[Any] = getattr(block, name)
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            at = int(wrong[0])
            low, high = (int(np.broadcast_to(limit, count)[at]) for limit in (low, high))
            raise InputError(
                f"{where}{name}: request {first + at}: expected an integer from {low} to {high}, found {values[at]}"
            )
