"""Bits of numbers, for kernels."""

from ndpsim.jit import njit


@njit
def popcount(bits: int) -> int:
    """Return how many bits of a number from 0 to 2^32 - 1 are set."""
    pairs = int(bits) - (int(bits) >> 1 & 0x55555555)
    fours = (pairs & 0x33333333) + (pairs >> 2 & 0x33333333)
    eights = fours + (fours >> 4) & 0x0F0F0F0F
    return (eights * 0x01010101 & 0xFFFFFFFF) >> 24
