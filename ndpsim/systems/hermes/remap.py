"""Which cold neurons move from one DIMM to another so that all DIMMs have as much to do.

Source of the model: Hermes (HPCA 2025), section IV-D and algorithm 1. The DIMMs of a group of neurons are sorted by the
activations that fell on their neurons in a window of tokens; the heaviest is paired with the lightest, the second with
the second last, and so on, and the most active neurons of the heavy DIMM move to the light one. The printed loop runs
while the heavy one has no more than the light one, which moves nothing but between equals, and pairs the heaviest with
a DIMM that is not there; `corrected` runs while the heavy one has more and a move brings them closer. Ours, where it is
silent: loads are balanced group by group, as the DIMMs wait for each other after each; a neuron moves with all of its
bytes and nothing moves back in exchange; of equals the lower slot and the lower DIMM go first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import njit
from ndpsim.sparsity.prediction.layout import WORD, NeuronLayout

MAX_DIMMS = 256
MAX_OBSERVED = (1 << 16) - 1
Guard = Literal["corrected", "literal"]


class Moves(NamedTuple):
    """Neurons of a group that are to change DIMMs, the most active first.

    neurons: int64[moves], numbers in the group; source, target: uint8[moves], DIMMs; pairs: int64[pairs, 2], the heavy
    and the light DIMM of each; pair_bytes: int64[pairs], what goes over the bridge of each; before, after:
    int64[dimms], activations of the window by DIMM.
    """

    neurons: NDArray[np.int64]
    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    pairs: NDArray[np.int64]
    pair_bytes: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]


class WindowRemap:
    """The activations of the present window, and what should move by them.

    Where neurons are is the caller's to know. A neuron has a DIMM whether it is in GPU memory or not; what a window
    counts is up to the caller, who hands over those that the DIMMs compute.
    """

    def __init__(
        self,
        layout: NeuronLayout,
        neuron_bytes: Sequence[int],
        dimms: int,
        guard: Guard = "corrected",
    ) -> None:
        """Begin a window.

        Args:
            layout: the neurons.
            neuron_bytes: bytes of a neuron of each group.
            dimms: how many DIMMs there are.
            guard: which loop, see above.

        Raises:
            InputError: sizes that do not fit each other.
        """
        if not 1 <= dimms <= MAX_DIMMS:
            raise InputError(f"dimms: expected 1 to {MAX_DIMMS}, found {dimms}")
        if guard not in ("corrected", "literal"):
            raise InputError(f"guard: expected corrected or literal, found {guard}")
        if len(neuron_bytes) != len(layout.neurons):
            raise InputError(f"neuron_bytes: expected {len(layout.neurons)} by group, found {len(neuron_bytes)}")
        self.layout, self.neuron_bytes, self.dimms, self.guard = layout, tuple(neuron_bytes), dimms, guard
        self.observed = 0
        self._counts = np.zeros(layout.slots, dtype=np.uint16)

    def observe(self, active: NDArray[np.uint64]) -> None:
        """Count neurons that the DIMMs computed, uint64[words]: once a token, or once a token and sequence."""
        if self.observed == MAX_OBSERVED:
            raise InputError(f"window: expected at most {MAX_OBSERVED} counts in a window, found more")
        self.observed += 1
        _count(active, self._counts)

    def begin_window(self) -> None:
        """Forget all counts."""
        self.observed = 0
        self._counts[:] = 0

    def loads(self, group: int, dimm: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Activations of the window by DIMM, int64[dimms]; dimm: where each neuron is, uint8[neurons]."""
        found = np.zeros(self.dimms, dtype=np.int64)
        _add(self._counts[self.layout.of(group)], dimm, found)
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the counts of the window."""
        return {"counts": self._counts.copy(), "observed": np.array(self.observed)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        self._counts[:], self.observed = state["counts"], int(state["observed"])

    def remap(self, group: int, dimm: NDArray[np.uint8], most_bytes: int | None = None) -> Moves:
        """Propose moves of a group's neurons by the counts of the window so far.

        Args:
            group: of the layout.
            dimm: the DIMM of each neuron, uint8[neurons].
            most_bytes: most bytes over the bridge of each pair; no limit if not given.

        Raises:
            InputError: not one DIMM for each neuron, or a DIMM that is not there.
        """
        if dimm.shape != (self.layout.neurons[group],) or int(dimm.max(initial=0)) >= self.dimms:
            found = f"{dimm.shape} up to {int(dimm.max(initial=0))}"
            raise InputError(
                f"dimm: expected {self.layout.neurons[group]} numbers of 0 to {self.dimms - 1}, found {found}"
            )
        size, slots = self.neuron_bytes[group], self.layout.of(group)
        most = self.layout.neurons[group] if most_bytes is None else max(most_bytes, 0) // size
        target, before = dimm.copy(), np.zeros(self.dimms, np.int64)
        neurons, source, pairs, moved, after = _remap(
            self._counts[slots], target, most, self.guard == "literal", before
        )
        return Moves(neurons, source, target[neurons], pairs, moved * size, before, after)


@njit
def _count(active: Any, counts: Any) -> None:
    """Add the bits of a mask, uint64[words], to counts, uint16[64 * words]."""
    for w in range(len(active)):
        word = active[w]
        for b in range(WORD):
            counts[WORD * w + b] += np.uint16((word >> np.uint64(b)) & np.uint64(1))


@njit
def _add(counts: Any, dimm: Any, loads: Any) -> None:
    """Add the activations of neurons, uint16[n], on DIMMs uint8[n], to the loads of these, int64[dimms]."""
    for n in range(len(counts)):
        loads[dimm[n]] += counts[n]


@njit
def _pairs(loads: Any) -> Any:
    """Pair the heaviest DIMM with the lightest, and so on: int64[pairs, 2], the heavy one and the light one."""
    heaviest = np.empty(len(loads), dtype=np.int64)
    for d in range(len(loads)):
        at = d
        while at > 0 and loads[heaviest[at - 1]] < loads[d]:
            heaviest[at] = heaviest[at - 1]
            at -= 1
        heaviest[at] = d
    pairs = np.empty((len(loads) // 2, 2), dtype=np.int64)
    for p in range(len(pairs)):
        pairs[p, 0], pairs[p, 1] = heaviest[p], heaviest[len(loads) - 1 - p]
    return pairs


@njit
def _remap(counts: Any, dimm: Any, most: Any, literal: Any, before: Any) -> Any:
    """Move the most active neurons of heavy DIMMs to their light ones, and keep ``dimm`` up to date.

    Args:
        counts: activations of each neuron, uint16[n].
        dimm: DIMM of each neuron, uint8[n].
        most: most moves of a pair.
        literal: whether the loop runs while the heavy load is at most the light one.
        before: to fill in, activations by DIMM, int64[dimms], all 0.

    Returns:
        Neurons and DIMMs that they left, in order, int64[moves] and uint8[moves]; heavy and light DIMM of each pair,
        int64[pairs, 2]; moves of each pair, int64[pairs]; activations by DIMM behind the moves, int64[dimms].
    """
    _add(counts, dimm, before)
    load, pairs = before.copy(), _pairs(before)
    pair_of, moved = np.empty(len(load), dtype=np.int64), np.empty(len(pairs), dtype=np.int64)
    for d in range(len(load)):
        pair_of[d] = -1
    for p in range(len(pairs)):
        moved[p] = 0
        pair_of[pairs[p, 0]] = p
    running = len(pairs)
    neurons, source = np.empty(len(dimm), dtype=np.int64), np.empty(len(dimm), dtype=np.uint8)
    moves = 0
    most_active = np.int64(0)
    for count in counts:
        most_active = max(most_active, np.int64(count))
    for active in range(most_active, 0, -1):
        for n in range(len(counts)):
            if counts[n] != active:
                continue
            p = pair_of[dimm[n]]
            if p < 0:
                continue
            heavy, light = pairs[p]
            gap = load[heavy] - load[light]
            goes_on = gap <= 0 if literal else active < gap
            if not goes_on or moved[p] == most:
                pair_of[heavy] = -1
                running -= 1
                if running == 0:
                    return neurons[:moves], source[:moves], pairs, moved, load
                continue
            neurons[moves], source[moves] = n, heavy
            moves += 1
            moved[p] += 1
            dimm[n] = light
            load[heavy] -= active
            load[light] += active
    return neurons[:moves], source[:moves], pairs, moved, load
