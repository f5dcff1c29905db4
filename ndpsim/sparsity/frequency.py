"""How often each neuron of a trace fires: counted eight neurons at a time."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.jit import njit
from ndpsim.sparsity.trace import ActivationTrace

_FULL: Final = 255  # what a counter of eight bits holds
_SPREAD: Final = np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little").view(np.uint64)
"""By byte: its eight bits in a byte each."""


class Frequencies(NamedTuple):
    """Share of the tokens at which a neuron of a group fires: each, float32[sequences, neurons], by sequence; union,
    float32[neurons], in at least one sequence."""

    each: NDArray[np.float32]
    union: NDArray[np.float32]


def frequencies(trace: ActivationTrace, group: int, tokens: int) -> Frequencies:
    """Count how often the neurons of a group fire in the first tokens of a trace, of which there is at least one."""
    neurons = trace.header.neurons[group]
    rows = trace.packed(group, 0, tokens)
    counts = np.zeros((rows.shape[1] + (rows.shape[1] > 1), rows.shape[2], 8), np.int64)
    _count(rows, _SPREAD, rows.shape[1], counts)
    shares = (counts.reshape(len(counts), -1)[:, :neurons] / tokens).astype(np.float32)
    return Frequencies(shares[: rows.shape[1]], shares[-1])


@njit
def _count(rows: Any, spread: Any, sequences: Any, counts: Any) -> None:
    """Count the bits of rows, uint8[tokens, sequences, bytes], into int64[n, bytes, 8]; several have a union, last."""
    tokens, width, unites = rows.shape[0], rows.shape[2], counts.shape[0] > sequences
    eight = np.zeros((counts.shape[0], width), np.uint64)  # eight counters each
    union = np.zeros(width, np.uint8)
    for t in range(tokens):
        for s in range(sequences):
            for w in range(width):
                eight[s, w] += spread[rows[t, s, w]]
        if unites:
            union[:] = 0
            for s in range(sequences):
                for w in range(width):
                    union[w] |= rows[t, s, w]
            for w in range(width):
                eight[sequences, w] += spread[union[w]]
        if t % _FULL == _FULL - 1 or t == tokens - 1:
            for s in range(counts.shape[0]):
                for w in range(width):
                    for b in range(8):
                        counts[s, w, b] += np.int64((eight[s, w] >> np.uint64(8 * b)) & np.uint64(_FULL))
                    eight[s, w] = 0
