"""The offline placement by its equations: what one takes, and the best of all, by trying each, in plain Python."""

from collections.abc import Sequence
from itertools import product

GPU = -1


def seconds(
    units: Sequence[Sequence[int]],
    frequencies: Sequence[Sequence[float]],
    gpu_s: Sequence[float],
    dimm_s: Sequence[float],
    sync_s: float,
    dimms: int,
) -> float:
    """Equations 1 to 5; ``units``: for each neuron of each group the GPU or its DIMM."""
    total = 0.0
    for where, f, t_gpu, t_dimm in zip(units, frequencies, gpu_s, dimm_s, strict=True):
        gpu = t_gpu * sum(p for p, unit in zip(f, where, strict=True) if unit == GPU) + 2 * sync_s
        by_dimm = [t_dimm * sum(p for p, unit in zip(f, where, strict=True) if unit == j) for j in range(dimms)]
        total += max(gpu, *by_dimm)
    return total


def least(
    frequencies: Sequence[Sequence[float]],
    sizes: Sequence[int],
    gpu_s: Sequence[float],
    dimm_s: Sequence[float],
    sync_s: float,
    gpu_bytes: int,
    dimms: int,
) -> float:
    """The least time of all placements that fit the GPU (equation 6); the DIMMs have room for all."""
    size_of = [size for f, size in zip(frequencies, sizes, strict=True) for _ in f]
    best = float("inf")
    for flat in product(range(GPU, dimms), repeat=len(size_of)):
        if sum(size for size, unit in zip(size_of, flat, strict=True) if unit == GPU) <= gpu_bytes:
            rest = list(flat)
            units = [[rest.pop(0) for _ in f] for f in frequencies]
            best = min(best, seconds(units, frequencies, gpu_s, dimm_s, sync_s, dimms))
    return best
