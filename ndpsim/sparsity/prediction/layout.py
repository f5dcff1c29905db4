"""All neurons of a model side by side in one row of bits, so that a token is a few operations on whole arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.sparsity.trace import ActivationTrace

WORD = 64


@dataclass(frozen=True)
class NeuronLayout:
    """Where the neurons of each group lie: a neuron has a *slot*, and each group begins at a whole word of 64 slots.

    A *mask* is uint64[words]: bit s % 64, lowest first, of word s // 64 tells of slot s. Slots beyond the last neuron
    of a group are empty: their bits are zero.
    """

    neurons: tuple[int, ...]
    first: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    """int64[groups + 1]: the first slot of each group, and the number of slots."""

    def __post_init__(self) -> None:
        words = [-(-n // WORD) for n in self.neurons]
        object.__setattr__(self, "first", np.cumsum([0, *words], dtype=np.int64) * WORD)

    @property
    def slots(self) -> int:
        """Slots of all groups."""
        return int(self.first[-1])

    @property
    def words(self) -> int:
        """Words of a mask."""
        return self.slots // WORD

    def of(self, group: int) -> slice:
        """The slots of the neurons of a group."""
        return slice(int(self.first[group]), int(self.first[group]) + self.neurons[group])

    def words_of(self, group: int) -> slice:
        """The words of a group in a mask."""
        return slice(int(self.first[group]) // WORD, int(self.first[group + 1]) // WORD)

    def spread(self, groups: Sequence[NDArray[Any]], empty: Any = 0) -> NDArray[Any]:
        """Lay out one array[neurons] a group as one array[slots]; empty slots hold ``empty``.

        Raises:
            InputError: the arrays are not as long as the groups.
        """
        found = tuple(len(group) for group in groups)
        if found != self.neurons:
            raise InputError(f"groups: expected {self.neurons} values by group, found {found}")
        slots = np.full(self.slots, empty, dtype=np.result_type(*groups))
        for group, values in enumerate(groups):
            slots[self.of(group)] = values
        return slots

    def mask(self, slots: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Pack bool[slots], or bool[..., slots], into masks."""
        return np.packbits(slots, axis=-1, bitorder="little").view(np.uint64)

    def flags(self, mask: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Unpack masks, uint64[..., words], into bool[..., slots]."""
        return np.unpackbits(mask.view(np.uint8), axis=-1, bitorder="little").view(np.bool_)

    def masks(self, trace: ActivationTrace, start: int, stop: int) -> NDArray[np.uint64]:
        """Which neurons fire in at least one sequence of a trace, token by token: uint64[stop - start, words].

        Raises:
            InputError: the trace has other groups than this layout, or not these tokens.
        """
        if trace.header.neurons != self.neurons:
            raise InputError(f"trace: expected {self.neurons} neurons by group, found {trace.header.neurons}")
        found = np.zeros((max(stop - start, 0), self.slots // 8), dtype=np.uint8)
        for group in range(len(self.neurons)):
            rows = np.bitwise_or.reduce(trace.packed(group, start, stop), axis=1)
            first = int(self.first[group]) // 8
            found[:, first : first + rows.shape[1]] = rows
        return found.view(np.uint64)

    def sequence_masks(
        self, trace: ActivationTrace, sequences: Sequence[int], tokens: Sequence[int]
    ) -> NDArray[np.uint64]:
        """Which neurons fire in each of n sequences of a trace, each at a token of its own: uint64[n, words].

        Raises InputError as `masks`.
        """
        if trace.header.neurons != self.neurons:
            raise InputError(f"trace: expected {self.neurons} neurons by group, found {trace.header.neurons}")
        found = np.zeros((len(sequences), self.slots // 8), dtype=np.uint8)
        begin, places = min(tokens), np.array(tokens) - min(tokens)
        for group in range(len(self.neurons)):
            rows = trace.packed(group, begin, max(tokens) + 1)[places, list(sequences)]
            first = int(self.first[group]) // 8
            found[:, first : first + rows.shape[1]] = rows
        return found.view(np.uint64)

    def counts(self, mask: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Set bits of a mask by group, int64[groups]."""
        ones = np.bitwise_count(mask).astype(np.int64)
        return np.asarray(np.add.reduceat(ones, self.first[:-1] // WORD))
