"""Synthetic traces with a fixed seed, by name: the ends of what a memory system can be asked to do."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ndpsim.dram.address_map import HostMap, host_map
from ndpsim.dram.requests.request import Requests, Trace
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

NAMES = {
    "sequential": "reads, one burst after the other",
    "random": "reads, uniform over 8 GiB",
    "mixed": "as random, but every third request is a write",
    "row-hit": "reads that rotate over channels, ranks, bank groups and banks, and use up each row",
    "chase": "random reads, each after the one ahead is done",
}
MAX_REQUESTS = 10**10
RANDOM_BYTES = 8 << 30
ROW_HIT_MAP = "row bank bank_group rank column pseudo_channel channel"
_SEED = 12345
_SKIPPED = {"random": 0, "mixed": 1_000_000, "chase": 2_000_000}
"""The three random traces are cut from one sequence of draws, at these places."""


def synthetic(name: str, n: int, standard: Standard, address_map: HostMap | None = None) -> Trace:
    """Return the trace of that name (one of NAMES) with n requests.

    Where the bursts of `row-hit` lie is fixed, so that their addresses depend on the map that decodes them:
    `address_map`, by default ROW_HIT_MAP. All others are the same addresses whatever the map.
    """
    if name not in NAMES:
        raise InputError(f"trace: expected one of {', '.join(NAMES)}, found {name!r}")
    if not 1 <= n <= MAX_REQUESTS:
        raise InputError(f"trace: {name}: expected 1 to {MAX_REQUESTS} requests, found {n}")
    rotated = address_map or host_map(ROW_HIT_MAP, standard)
    bursts = RANDOM_BYTES // standard.burst_bytes

    def read(size: int) -> Iterator[Requests]:
        rng = np.random.default_rng(_SEED)
        rng.integers(0, bursts, _SKIPPED.get(name, 0))
        for start in range(0, n, size):
            index = np.arange(start, min(start + size, n))
            if name == "row-hit":
                address = _row_hits(index, rotated)
            elif name == "sequential":
                address = index * standard.burst_bytes
            else:
                address = rng.integers(0, bursts, len(index)) * standard.burst_bytes
            none = np.zeros_like(index)
            write = index % 3 == 2 if name == "mixed" else none
            yield Requests.of(address, write, none, index > 0 if name == "chase" else none)

    return Trace(n, timed=False, dependent=name == "chase", read=read, form="synthetic")


def _row_hits(index: npt.NDArray[np.int64], address_map: HostMap) -> npt.NDArray[np.int64]:
    """Address int64[n] of requests int64[n]: their numbers count places up, the first of these fields fastest."""
    counts = address_map.counts()
    fields = {}
    for name in ("channel", "pseudo_channel", "rank", "bank_group", "bank", "column", "row"):
        fields[name] = index % counts[name]
        index = index // counts[name]
    return address_map.encode(fields)
