"""Which neurons are in GPU memory, and how they are exchanged as hot ones turn up and resident ones cool.

Source of the model: Hermes (HPCA 2025), section IV-C2: a hot neuron that is not in GPU memory is copied there over the
resident neuron with the lowest state; nothing is written back, as the DIMMs hold all weights. Ours, where it is silent:
hottest first; the resident neuron is one of the same group, so that it has the same size, and is colder than the new
one, so that equals do not displace each other for nothing; of equals the lower slot goes first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.bits import lowest_bit, popcount
from ndpsim.errors import InputError
from ndpsim.jit import njit
from ndpsim.sparsity.prediction.layout import WORD, NeuronLayout

_STATES = 16


class Swaps(NamedTuple):
    """Neurons that are copied to the GPU, layer by layer, hottest first, and those that they overwrite.

    incoming, evicted: int64[swaps], slots; bytes, waiting: int64[layers], what is copied, and hot neurons that are
    still not resident.
    """

    incoming: NDArray[np.int64]
    evicted: NDArray[np.int64]
    bytes: NDArray[np.int64]
    waiting: NDArray[np.int64]


class Residency:
    """The neurons in GPU memory: ``resident``, a mask of `NeuronLayout`, uint64[words], for reading.

    The bytes of a group in GPU memory never change: neurons are exchanged one for one.
    """

    def __init__(
        self,
        layout: NeuronLayout,
        layers: Sequence[int],
        neuron_bytes: Sequence[int],
        resident: NDArray[np.uint64],
    ) -> None:
        """Begin with the neurons of a placement.

        Args:
            layout: the neurons.
            layers: layer of each group, in rising order, as in the header of a trace.
            neuron_bytes: bytes of a neuron of each group.
            resident: mask of the neurons in GPU memory, uint64[words].

        Raises:
            InputError: sizes that do not fit each other.
        """
        groups = len(layout.neurons)
        if (len(layers), len(neuron_bytes), resident.shape) != (groups, groups, (layout.words,)):
            found = f"{len(layers)}, {len(neuron_bytes)} and {resident.shape}"
            raise InputError(
                f"layers, neuron_bytes, resident: expected {groups}, {groups} and {(layout.words,)}, found {found}"
            )
        self.layout = layout
        self.resident = resident.copy()
        self.neuron_bytes = np.array(neuron_bytes, dtype=np.int64)
        self._words = layout.first // WORD
        self._cuts = np.searchsorted(layers, np.arange(max(layers, default=-1) + 2))

    def bytes(self) -> int:
        """Bytes of the neurons in GPU memory."""
        return int(self.layout.counts(self.resident) @ self.neuron_bytes)

    def swap(self, hot: NDArray[np.uint64], states: NDArray[np.uint8], most_bytes: Sequence[int]) -> Swaps:
        """Exchange neurons of all layers, each by itself.

        Hot neurons come hottest first, whatever their group. One is copied if its bytes still fit into ``most_bytes``
        and a resident neuron of its group is colder; otherwise it waits, and the next one may be copied.

        Args:
            hot: which neurons are hot, uint64[words].
            states: how hot neurons are, uint8[slots], 0 to 15.
            most_bytes: most bytes to copy of each layer.
        """
        layers = len(self._cuts) - 1
        if len(most_bytes) != layers:
            raise InputError(f"most_bytes: expected one for each of {layers} layers, found {len(most_bytes)}")
        room = np.maximum(np.array(most_bytes, np.int64), 0)
        with np.errstate(over="ignore"):  # products that count bits
            return Swaps(*_swap(self._cuts, self._words, self.neuron_bytes, hot, states, room, self.resident))


@njit
def _by_state(mask: Any, states: Any, hottest_first: Any, slots: Any, found: Any) -> Any:
    """List set bits of a mask by their state, uint8, and then by their place until ``slots`` is full; return how many.

    found: their states, to fill in.
    """
    most = len(slots)
    if most == 0:
        return 0
    shelves, held = np.empty((_STATES, most), dtype=np.int64), np.zeros(_STATES, dtype=np.int64)
    first = _STATES - 1 if hottest_first else 0
    for w in range(len(mask)):
        word = mask[w]
        while word and held[first] < most:  # nothing comes before a full first shelf
            slot = WORD * w + lowest_bit(word)
            word &= word - np.uint64(1)
            state = states[slot]
            if held[state] < most:
                shelves[state, held[state]] = slot
                held[state] += 1
    n = 0
    for step in range(_STATES):
        state = _STATES - 1 - step if hottest_first else step
        for i in range(min(held[state], most - n)):
            slots[n], found[n] = shelves[state, i], state
            n += 1
    return n


@njit
def _absent(hot: Any, resident: Any) -> Any:
    """Number of neurons of the first mask that are not in the second."""
    found = np.int64(0)
    for w in range(len(hot)):
        found += np.int64(popcount(hot[w] & ~resident[w]))
    return found


@njit
def _sum(values: Any) -> Any:
    """Add up int64[n]."""
    total = 0
    for value in values:
        total += value
    return total


@njit
def _swap(cuts: Any, words: Any, sizes: Any, hot: Any, states: Any, most_bytes: Any, resident: Any) -> Any:
    """Exchange neurons; see `Residency.swap`.

    The groups of a layer are cuts[layer] to cuts[layer + 1] - 1, and their words in the masks begin at words[g].
    """
    layers = len(most_bytes)
    most = np.empty(len(sizes), dtype=np.int64)
    for layer in range(layers):
        for g in range(cuts[layer], cuts[layer + 1]):
            first, last = words[g], words[g + 1]
            most[g] = min(_absent(hot[first:last], resident[first:last]), most_bytes[layer] // sizes[g])
    total = _sum(most)
    incoming, evicted = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    copied, waiting = np.zeros(layers, dtype=np.int64), np.zeros(layers, dtype=np.int64)
    swaps = 0
    for layer in range(layers):
        first, last = cuts[layer], cuts[layer + 1]
        if first == last:
            continue
        own, size = words[first : last + 1], sizes[first:last]
        n = _swap_layer(
            own, size, hot, states, most_bytes[layer], most[first:last], resident, incoming[swaps:], evicted[swaps:]
        )
        for i in range(len(size)):
            copied[layer] += n[i] * size[i]
        swaps += _sum(n)
        waiting[layer] = _absent(hot[own[0] : own[-1]], resident[own[0] : own[-1]])
    return incoming[:swaps], evicted[:swaps], copied, waiting


@njit
def _swap_layer(
    words: Any,
    sizes: Any,
    hot: Any,
    states: Any,
    most_bytes: Any,
    most: Any,
    resident: Any,
    incoming: Any,
    evicted: Any,
) -> Any:
    """Exchange at most most[g] neurons of each group of a layer, and return how many it is, int64[groups]."""
    groups = len(sizes)
    largest = 0
    for n in most:
        largest = max(largest, n)
    shape = (groups, largest)
    new, old, heat = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    for g in range(groups):
        first, last = words[g], words[g + 1]
        heats = states[WORD * first : WORD * last]
        wanted = hot[first:last] & ~resident[first:last]
        cold = np.empty(most[g], dtype=np.int64)
        wants = _by_state(wanted, heats, True, new[g, : most[g]], heat[g])
        gives = _by_state(resident[first:last], heats, False, old[g, : most[g]], cold)
        most[g] = 0
        while most[g] < min(wants, gives) and cold[most[g]] < heat[g, most[g]]:
            most[g] += 1
    taken = np.zeros(groups, dtype=np.int64)
    swaps, copied, one = 0, 0, np.uint64(1)
    while True:
        best = -1
        for g in range(groups):
            fits = taken[g] < most[g] and copied + sizes[g] <= most_bytes
            if fits and (best < 0 or heat[g, taken[g]] > heat[best, taken[best]]):
                best = g
        if best < 0:
            return taken
        arrives, leaves = new[best, taken[best]], old[best, taken[best]]
        resident[words[best] + (arrives >> 6)] |= one << np.uint64(arrives & 63)
        resident[words[best] + (leaves >> 6)] &= ~(one << np.uint64(leaves & 63))
        incoming[swaps], evicted[swaps] = WORD * words[best] + arrives, WORD * words[best] + leaves
        copied += sizes[best]
        taken[best] += 1
        swaps += 1
