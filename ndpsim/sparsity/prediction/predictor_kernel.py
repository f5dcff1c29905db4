"""The kernels of the activation predictor: one pass over all neurons of a model for each of its steps."""

from typing import Any

import numpy as np

from ndpsim.bits import lowest_bit
from ndpsim.jit import borrowing, njit

NO_PARENT = 0
"""Offset of a place behind those of the widest group that never fires."""
ALONE = 1
"""Offset of the place for neurons without any parent: it counts as three parents, and has a need of its own."""
EXTRA = 2


@njit
def first_states(frequency: Any, least: Any, states: Any) -> None:
    """Fill in states, uint8[n]: how many of the frequencies ``least``, float64[15], a neuron's reaches."""
    for n in range(len(frequency)):
        state = 0
        for edge in least:
            state += frequency[n] >= edge
        states[n] = state


@njit
def predict(
    active: Any,
    first: Any,
    preceding: Any,
    fired: Any,
    parents: Any,
    need: Any,
    level: Any,
    by_state: Any,
    states: Any,
    predicted: Any,
) -> None:
    """Predict which neurons are active, group by group.

    Args:
        active: uint64[words], which neurons are.
        first: int64[groups + 1], the first word of each group.
        preceding: int64[groups], the group that precedes each; -1 for none.
        fired: uint8[widest + EXTRA] for the activity of one group; ``widest`` is a multiple of 64.
        parents: uint16 or uint32[slots, 2], the places of each neuron's two parents in ``fired``.
        need: uint8[4], the least state that is active by the number of active parents; the last, without parents.
        level: uint8[3], the state that stands for so many active parents where the state is not counted.
        by_state: whether states are counted; otherwise those of neurons with parents become their level.
        states: uint8[slots].
        predicted: to fill in, uint64[words].
    """
    widest, least = len(fired) - EXTRA, need[0]
    for one in need:
        least = min(least, one)
    fired[widest + NO_PARENT] = 0
    fired[widest + ALONE] = 3
    for group in range(len(preceding)):
        before = preceding[group]
        if before >= 0:
            _unpack(active[first[before] : first[before + 1]], fired)
        begin, end = first[group], first[group + 1]
        slots = slice(64 * begin, 64 * end)
        _predict_group(fired, parents[slots], need, least, level, by_state, states[slots], predicted[begin:end])


@borrowing
def _unpack(mask: Any, fired: Any) -> None:
    """Write the bits of a mask, uint64[words], as uint8[64 * words] of 0 and 1."""
    for w in range(len(mask)):
        word = mask[w]
        for b in range(64):
            fired[64 * w + b] = (word >> np.uint64(b)) & np.uint64(1)


@borrowing
def _predict_group(
    fired: Any, parents: Any, need: Any, least: Any, level: Any, by_state: Any, states: Any, predicted: Any
) -> None:
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
def update(active: Any, rise: Any, fall: Any, most: Any, states: Any) -> None:
    """Raise the states, uint8[slots], of active neurons, and lower the others; both end at 0 and ``most``, uint8."""
    for w in range(len(active)):
        word = active[w]
        for b in range(64):
            state = states[64 * w + b]
            higher, lower = np.uint8(state + rise), np.uint8(state - min(state, fall))
            states[64 * w + b] = min(higher, most) if (word >> np.uint64(b)) & np.uint64(1) else lower
