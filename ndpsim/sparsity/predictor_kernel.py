"""The kernels of the activation predictor: one pass over all neurons of a model for each of its steps."""

from typing import Any

import numpy as np

from ndpsim.bits import lowest_bit
from ndpsim.jit import njit

NO_PARENT = 0
"""Offset of a slot behind the last one that never fires."""
ALONE = 1
"""Offset of the slot for neurons without any parent: it counts as three parents, and has a need of its own."""
EXTRA = 2


@njit
def unpack(mask: Any, fired: Any) -> None:
    """Write the bits of a mask, uint64[words], as uint8[64 * words + EXTRA] of 0 and 1."""
    slots = 64 * len(mask)
    fired[slots + NO_PARENT] = 0
    fired[slots + ALONE] = 3
    for w in range(len(mask)):
        word = mask[w]
        for b in range(64):
            fired[64 * w + b] = (word >> np.uint64(b)) & np.uint64(1)


@njit
def predict(fired: Any, parents: Any, need: Any, level: Any, by_state: Any, states: Any, predicted: Any) -> None:
    """Predict which neurons are active.

    Args:
        fired: uint8[slots + EXTRA] from `unpack`.
        parents: uint32[slots, 2], the slots of each neuron's two parents in ``fired``.
        need: uint8[4], the least state that is active by the number of active parents; the last, without parents.
        level: uint8[3], the state that stands for so many active parents where the state is not counted.
        by_state: whether states are counted; otherwise those of neurons with parents become their level.
        states: uint8[slots].
        predicted: to fill in, uint64[words].
    """
    least = need.min()
    for w in range(len(predicted)):
        asked = np.uint64(0) if by_state else ~np.uint64(0)
        if by_state:  # most states are too low whatever the parents do, which then need not be fetched
            for b in range(64):
                asked |= np.uint64(states[64 * w + b] >= least) << np.uint64(b)
        word = np.uint64(0)
        while asked:
            b = lowest_bit(asked)
            asked &= asked - np.uint64(1)
            slot = 64 * w + b
            count = fired[parents[slot, 0]] + fired[parents[slot, 1]]
            if not by_state and count < 3:
                states[slot] = level[count]
            word |= np.uint64(states[slot] >= need[count]) << np.uint64(b)
        predicted[w] = word


@njit
def update(fired: Any, rise: Any, fall: Any, most: Any, states: Any) -> None:
    """Raise the states, uint8[slots], of neurons that fired, and lower the others; both end at 0 and ``most``."""
    for slot in range(len(states)):
        s = states[slot]
        states[slot] = min(s + rise, most) if fired[slot] else max(s - fall, 0)
