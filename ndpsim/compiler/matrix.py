"""A single matrix: the dot products of listed rows with every input, y = x @ W.T.

Each DIMM multiplies its rows in tiles of as many as have room in the buffer beside the inputs, and returns each tile,
[batch, rows], before the next one is begun.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import END, Share, Shares, Words, aligned, assemble, checked_batch, checked_shares
from ndpsim.compiler.placement import LayerPlacement
from ndpsim.compiler.row_sum import matrices, padded
from ndpsim.compiler.tiles import cut, too_small
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Joined, Program
from ndpsim.isa.spec import isa

_list, _dot, _hin, _hout = (encoder(name) for name in ("list", "dot", "hin", "hout"))


class PlacedMatrix:
    """Compiles tokens of a single matrix whose rows are placed on DIMMs.

    Rows come as one array for each DIMM, uint32[n], numbers of its stored rows; for a batch they are the union over its
    sequences. `shares_of` deals listed rows out.
    """

    def __init__(self, machine: Machine, placement: LayerPlacement) -> None:
        """Take a single matrix. Raises InputError for a block."""
        if placement.shape.activation is not None:
            raise InputError(f"{placement.name}: expected a single matrix, found a block")
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()

    def compile(self, shares: Shares, batch: int = 1) -> Program:
        """Compile one token of each of `batch` sequences.

        Raises InputError if a DIMM lacks a row, or if the buffer is too small for the inputs and one row's results.
        """
        placement, rows = self.placement, checked_shares(self.placement, shares)
        tile = self._tile(batch)
        streams = [self._stream(dimm, count, batch, tile) for dimm, count in enumerate(rows.lengths())]
        return assemble(self._machine_json, Joined.of(streams), rows, placement.regions, placement.first_atom)

    def host_input(self, x: NDArray[np.generic], shares: Sequence[Share]) -> list[bytes]:
        """Return what the host sends to each DIMM; x: [batch, width] in the stored type."""
        data = padded(x)
        return [data if len(rows) else b"" for rows in shares]

    def result(self, host_out: Sequence[bytes], shares: Sequence[Share], batch: int = 1) -> NDArray[np.generic]:
        """Read what the DIMMs returned: float32 (int32 for i8) [batch, rows], in the order of the neurons' numbers."""
        kind = np.int32 if self.placement.shape.type == "i8" else np.float32
        tile = self._tile(batch)
        parts = [np.empty((batch, 0), kind)]
        for raw, rows in zip(host_out, shares, strict=True):
            values = np.frombuffer(raw, kind)
            for first, count in cut(len(rows), tile):
                parts.append(values[first * batch : (first + count) * batch].reshape(batch, count))
        neurons = [held[rows] for held, rows in zip(self.placement.neurons, shares, strict=True)]
        return np.concatenate(parts, axis=1)[:, np.argsort(np.concatenate(neurons))]

    def _tile(self, batch: int) -> int:
        """Return how many rows have room for their results beside the inputs."""

        def tile(batch: int, buffer_bytes: int) -> int | None:
            rows = (buffer_bytes - aligned(batch * self.placement.shape.row_bytes)) // (4 * batch)
            return rows if rows > 0 else None

        found = tile(checked_batch(batch), self.machine.buffer_bytes)
        if found is None:
            raise too_small(batch, self.machine.buffer_bytes, "", tile)
        return found

    def _stream(self, dimm: int, rows: int, batch: int, tile: int) -> Words:
        if rows == 0:
            return END
        placement, shape = self.placement, self.placement.shape
        kind, held = isa().types[shape.type].code, len(placement.neurons[dimm])
        x_bytes = aligned(batch * shape.row_bytes)
        parts = [matrices(kind, (0,), held, (0, shape.width), shape.row_atoms), _inputs(x_bytes)]
        parts += [_products(first, count, batch, x_bytes) for first, count in cut(rows, tile)]
        return np.concatenate([*parts, END])


@lru_cache(maxsize=1 << 10)
def _inputs(x_bytes: int) -> Words:
    """Take the inputs to the beginning of the buffer."""
    return words_to_array([_hin(0, x_bytes)])


@lru_cache(maxsize=1 << 14)
def _products(first: int, count: int, batch: int, y: int) -> Words:
    """Multiply a tile of rows with the inputs, to buffer address `y`, and return it."""
    return words_to_array([_list(0, first, count), _dot(0, 0, 0, y, batch), _hout(y, 4 * batch * count)])
