"""Activation traces: which neurons fire for each token, stored bit by bit in an HDF5 file.

Layout of a file, version 1:

============================ ==================================================================================
``/`` attribute ``format``   the text ``ndpsim-activation-trace``
attribute ``version``        1
attribute ``model``          name of the model
attribute ``layers``         number of layers
attribute ``neurons``        int64[layers], neurons of each layer
attribute ``tokens``         number of tokens
attribute ``rule``           in words, when a neuron counts as active
attribute ``source``         in words, the text or the generator that it comes from
attribute ``seed``           of the generator; absent where nothing was drawn
attribute ``thresholds``     float64[layers], threshold of each layer; absent where the rule has none
``/active/000``, ``001``...  one a layer, uint8[tokens, ceil(neurons / 8)]: neuron n is bit n % 8 (lowest first) of byte
                             n // 8; bits beyond the last neuron are zero; in chunks, shuffled and deflated
``/token_ids``               int32[tokens], token at each row; may be absent
============================ ==================================================================================

The file is written in HDF5's checksummed form: superblock 2 or later (``libver="latest"``) and texts of fixed length.
Only so does the HDF5 library notice damage before it follows a wrong address; files in the older form are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError

FORMAT = "ndpsim-activation-trace"
VERSION = 1
MAX_LAYERS = 4096
MAX_NEURONS = 1 << 24


@dataclass(frozen=True)
class TraceHeader:
    """What a trace is of; see the attributes of the file."""

    model: str
    neurons: tuple[int, ...]
    rule: str
    source: str
    seed: int | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.neurons)

    @property
    def chunk_tokens(self) -> int:
        """Tokens in one chunk of the file: about 64 KiB for the widest layer."""
        return min(max((1 << 16) // row_bytes(max(self.neurons)), 16), 512)

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= MAX_LAYERS:
            raise InputError(f"layers: expected 1 to {MAX_LAYERS}, found {self.layers}")
        for n in self.neurons:
            if not 1 <= n <= MAX_NEURONS:
                raise InputError(f"neurons: expected 1 to {MAX_NEURONS} in each layer, found {n}")
        if self.thresholds is not None and len(self.thresholds) != self.layers:
            raise InputError(f"thresholds: expected one for each of {self.layers} layers, found {len(self.thresholds)}")


def row_bytes(neurons: int) -> int:
    """Bytes of one token in a layer of so many neurons."""
    return (neurons + 7) // 8


def layer_path(layer: int) -> str:
    """Name of the dataset of a layer."""
    return f"active/{layer:03d}"


def pack(header: TraceHeader, fired: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.uint8]]:
    """Pack one bool[tokens, neurons] a layer into uint8[tokens, ceil(neurons / 8)], lowest bit first."""
    found = tuple(f.shape[1] for f in fired)
    if found != header.neurons:
        raise InputError(f"fired: expected {header.neurons} neurons by layer, found {found}")
    return [np.packbits(f, axis=1, bitorder="little") for f in fired]


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
