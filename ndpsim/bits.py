"""Bits of a word, for kernels."""

from typing import Any

import numpy as np

from ndpsim.jit import merged


@merged
def popcount(x: Any) -> Any:
    """Number of set bits of a uint64, uint64."""
    # the form that LLVM knows as a population count, of which processors do eight at once; its product overflows
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@merged
def lowest_bit(x: Any) -> Any:
    """Place of the lowest set bit of a uint64 that is not zero, 0 to 63."""
    return np.int64(popcount(~x & (x - np.uint64(1))))
