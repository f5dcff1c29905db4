"""Random numbers by counter: any one can be asked for by itself, in any order, and is always the same.

A stream is named by a key and its numbers by two counters. Both are what splitmix64 (Steele, Lea and Flood, OOPSLA
2014) makes of them: the counters number the states of one generator, and the key says where it starts.
"""

from typing import Any

import numpy as np

from ndpsim.jit import merged

_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
STEP = np.uint64(_STEP)


def key(seed: int, *words: int) -> int:
    """Return the key of the stream that these words name, for words of 0 to 2^64 - 1: an integer of 64 bits."""
    state = _mixed((seed + _STEP) & _MASK)
    for word in words:
        state = _mixed((state + _STEP * (word + 1)) & _MASK)
    return state


def _mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@merged
def draw(stream: Any, i: Any, t: Any) -> Any:
    """Number (i, t) of a stream, uint64; i and t: non-negative integers below 2^32."""
    z = stream + STEP * ((np.uint64(i) << np.uint64(32)) | np.uint64(t))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@merged
def high(word: Any) -> Any:
    """The upper 32 bits, as an integer."""
    return np.int64(word >> np.uint64(32))


@merged
def low(word: Any) -> Any:
    """The lower 32 bits, as an integer."""
    return np.int64(word & np.uint64(0xFFFFFFFF))
