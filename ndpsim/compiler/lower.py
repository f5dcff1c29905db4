"""Lower one token of a layer to the programs of all DIMMs.

Each DIMM computes its active neurons in the order of their numbers, and adds them into a partial result in that
order. The partial results meet in a chain over DIMM-Link: y = p0 + (p1 + (p2 + ...)), from the last DIMM with an
active neuron down to DIMM 0, which returns y to the host. DIMMs on the way that have no active neuron pass on what
they receive. The chain is cut in pieces so that hops overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.placement import BalanceStrategy, LayerShape, Placement, place
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import DimmProgram, Program
from ndpsim.isa.spec import isa

MERGE_PIECE = 1024  # elements: 4 KiB take 164 ns on a 25 GB/s link, three times its latency

_mat, _list, _dot, _axpy, _fill, _mul, _cvt, _add = (
    encoder(name) for name in ("mat", "list", "dot", "axpy", "fill", "mul", "cvt", "add")
)
_hin, _hout, _send, _recv, _end = (encoder(name) for name in ("hin", "hout", "send", "recv", "end"))
_ACTIVATION = {name: encoder(name) for name in ("relu", "silu", "gelu")}
_F32 = isa().types["f32"].code
Words = NDArray[np.uint64]


def _aligned(size: int) -> int:
    return -(-size // codes.ALIGNMENT) * codes.ALIGNMENT


def _ascending(numbers: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return the distinct numbers below a limit in ascending order, several times as fast as by sorting them."""
    taken = np.zeros(limit, np.bool_)
    taken[numbers] = True
    return np.flatnonzero(taken)


@dataclass(frozen=True)
class Buffers:
    """Where things lie in the buffer: inputs, FP32 and narrow values of `tile` neurons, result, incoming piece."""

    x: int
    gate: int
    up: int
    narrow: int
    y: int
    incoming: int
    tile: int


@dataclass
class LayerCompiler:
    """Compiles tokens of one placed layer.

    What does not depend on the token, or only on how many neurons are active, is encoded once and kept.
    """

    machine: Machine
    placement: Placement
    _kept: dict[tuple[str | int, ...], Words] = field(default_factory=dict, repr=False)

    @cached_property
    def _machine_json(self) -> str:
        return self.machine.to_json()

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place of every neuron in the order of DIMMs and their rows, and the place at which each DIMM begins."""
        starts = np.cumsum([0, *map(len, self.placement.neurons)], dtype=np.int64)
        return starts[self.placement.owner] + self.placement.local, starts

    @property
    def shape(self) -> LayerShape:
        """Return the layer's shape."""
        return self.placement.shape

    def compile(self, active: NDArray[np.integer], batch: int = 1) -> Program:
        """Compile one token (or one token of each of `batch` sequences) with these active neurons.

        active: distinct neuron numbers, in any order; for a batch, the union over its sequences: every sequence
        computes all of them, and weights are read once. Raises InputError if a neuron does not exist or occurs
        twice, or if the batch does not fit into the buffer.
        """
        active = self._checked(active)
        buffers = self._buffers(batch)
        lists = self._lists(active)
        if self.shape.activation is None:
            streams = [self._matrix(d, len(rows), batch, buffers) for d, rows in enumerate(lists)]
        else:
            last = max((d for d, rows in enumerate(lists) if len(rows)), default=0)
            streams = [self._block(d, len(rows), last, batch, buffers) for d, rows in enumerate(lists)]
        parts = zip(streams, lists, self.placement.regions, strict=True)
        return Program(
            self._machine_json,
            tuple(DimmProgram(np.concatenate(words), rows, regions) for words, rows, regions in parts),
        )

    def host_input(self, x: NDArray[np.generic]) -> bytes:
        """Return the bytes that the host sends to every DIMM; x: [batch, width] of the layer's stored type."""
        raw = np.ascontiguousarray(x).tobytes()
        return raw.ljust(_aligned(len(raw)), b"\0")

    def result(self, host_out: list[bytes], active: NDArray[np.integer], batch: int = 1) -> NDArray[np.generic]:
        """Read what the DIMMs returned.

        A block gives float32[batch, width]; a single matrix gives float32 (int32 for i8) [batch, len(active)] in
        ascending order of the active neurons.
        """
        if self.shape.activation is not None:
            return np.frombuffer(host_out[0], np.float32).reshape(batch, self.shape.width)
        active = self._checked(active)
        kind = np.int32 if self.shape.type == "i8" else np.float32
        y = np.empty((batch, len(active)), kind)
        owner = self.placement.owner[active]
        tile = self._buffers(batch).tile
        for dimm, raw in enumerate(host_out):
            places = np.flatnonzero(owner == dimm)
            values = np.frombuffer(raw, kind)
            for first in range(0, len(places), tile):
                part = places[first : first + tile]
                y[:, part] = values[first * batch : (first + len(part)) * batch].reshape(batch, -1)
        return y

    def _checked(self, active: NDArray[np.integer]) -> NDArray[np.int64]:
        given = np.asarray(active)
        if given.size and given.dtype.kind not in "iu":
            raise InputError(f"active neurons: expected their numbers, found {given.dtype}")
        given = given.astype(np.int64).reshape(-1)
        if given.size and (given.min() < 0 or given.max() >= self.shape.neurons):
            wrong = given.min() if given.min() < 0 else given.max()
            raise InputError(f"active neurons: expected 0 to {self.shape.neurons - 1}, found {wrong}")
        ordered = _ascending(given, self.shape.neurons)
        if len(ordered) < len(given):
            raise InputError("active neurons: expected each neuron once, found one twice")
        return ordered

    def _lists(self, active: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
        """Return for each DIMM the rows of its active neurons, ascending."""
        places, starts = self._places
        taken = _ascending(places[active], self.shape.neurons)
        cuts = np.searchsorted(taken, starts).tolist()
        pieces = zip(cuts, cuts[1:], starts.tolist(), strict=False)
        return [(taken[begin:end] - start).astype(np.uint32) for begin, end, start in pieces]

    def _buffers(self, batch: int) -> Buffers:
        """Lay out the buffer; what is left for values a neuron gives the number of neurons handled at a time."""
        shape, size = self.shape, isa().types[self.shape.type].bits // 8
        most = (1 << isa().fields["batch"].width) - 1
        if not 1 <= batch <= most:
            raise InputError(f"batch: expected 1 to {most}, found {batch}")
        x = _aligned(batch * shape.width * size)
        block = shape.activation is not None
        y = 4 * batch * shape.width if block else 0
        incoming = min(y, 4 * MERGE_PIECE) if self.machine.dimms > 1 else 0
        per_neuron = batch * ((8 if shape.gated else 4) + size) if block else 4 * batch
        fixed = x + y + incoming + codes.ALIGNMENT  # the narrow values are rounded up to the alignment
        tile = (self.machine.buffer_bytes - fixed) // per_neuron
        if tile < 1:
            remedy = "smaller batch" if batch > 1 else "larger buffer"
            raise InputError(
                f"batch: {batch} inputs and results of {shape.width} elements need {fixed + per_neuron} bytes "
                f"of a buffer that has {self.machine.buffer_bytes}; use a {remedy}"
            )
        tile = min(tile, shape.neurons)
        wide = 4 * batch * tile
        up = x + wide if shape.gated else x
        narrow = up + wide
        after = narrow + (_aligned(size * batch * tile) if block else 0)
        return Buffers(x=0, gate=x, up=up, narrow=narrow, y=after, incoming=after + y, tile=tile)

    def _encoded(self, write: Callable[..., list[int]], *arguments: int) -> Words:
        """Return what one of the methods below writes, uint64[n, 2], encoded when it is first asked for."""
        key: tuple[str | int, ...] = (write.__name__, *arguments)
        if key not in self._kept:
            self._kept[key] = words_to_array(write(*arguments))
        return self._kept[key]

    def _matrix(self, dimm: int, n: int, batch: int, at: Buffers) -> list[Words]:
        if n == 0:
            return [self._encoded(self._nothing)]
        words = [self._encoded(self._inputs, dimm, batch)]
        for first in range(0, n, at.tile):
            words.append(self._encoded(self._matrix_tile, first, min(at.tile, n - first), batch))
        return [*words, self._encoded(self._nothing)]

    def _block(self, dimm: int, n: int, last: int, batch: int, at: Buffers) -> list[Words]:
        if dimm > last:
            return [self._encoded(self._nothing)]
        words = []
        if n:
            words.append(self._encoded(self._inputs, dimm, batch))
            for first in range(0, n, at.tile):
                words.append(self._encoded(self._block_tile, first, min(at.tile, n - first), batch))
        return [*words, self._encoded(self._merge, dimm, n > 0, last, batch)]

    def _nothing(self) -> list[int]:
        return [_end()]

    def _inputs(self, dimm: int, batch: int) -> list[int]:
        """Set one matrix register for each matrix, and take the inputs."""
        shape, rows = self.shape, len(self.placement.neurons[dimm])
        kind = isa().types[shape.type].code
        words = [
            _mat(kind, m, base, rows, shape.width, shape.row_atoms) for m, base in enumerate(self.placement.bases[dimm])
        ]
        at = self._buffers(batch)
        words.append(_hin(at.x, _aligned(batch * shape.row_bytes)))
        return words if shape.activation is None else [*words, _fill(at.y, 0, batch * shape.width)]

    def _matrix_tile(self, first: int, count: int, batch: int) -> list[int]:
        at = self._buffers(batch)
        return [_list(0, first, count), _dot(0, 0, at.x, at.up, batch), _hout(at.up, 4 * batch * count)]

    def _block_tile(self, first: int, count: int, batch: int) -> list[int]:
        """Compute some neurons and add them into the partial result."""
        shape, at = self.shape, self._buffers(batch)
        values = batch * count
        act = _ACTIVATION[shape.activation or "relu"]
        words = [_list(0, first, count)]
        if shape.gated:
            words += [_dot(0, 0, at.x, at.gate, batch), act(at.gate, at.gate, values)]
            words += [_dot(1, 0, at.x, at.up, batch), _mul(at.gate, at.up, at.up, values)]
        else:
            words += [_dot(0, 0, at.x, at.up, batch), act(at.up, at.up, values)]
        words.append(_cvt(_F32, isa().types[shape.type].code, at.up, at.narrow, values))
        words.append(_axpy(2 if shape.gated else 1, 0, at.narrow, at.y, batch))
        return words

    def _merge(self, dimm: int, works: bool, last: int, batch: int) -> list[int]:
        """Take part in the chain of partial results, piece by piece."""
        at = self._buffers(batch)
        words = []
        total = batch * self.shape.width
        for first in range(0, total, MERGE_PIECE):
            count = min(MERGE_PIECE, total - first)
            piece = at.y + 4 * first
            if dimm < last:
                target = at.incoming if works else piece
                words.append(_recv(target, 4 * count, dimm + 1))
                if works:
                    words.append(_add(_F32, piece, at.incoming, piece, count))
            elif not works:
                words.append(_fill(piece, 0, count))
            if dimm > 0:
                words.append(_send(piece, 4 * count, dimm - 1))
        if dimm == 0:
            words.append(_hout(at.y, 4 * total))
        return [*words, _end()]


def layer_compiler(
    shape: LayerShape,
    machine: Machine,
    *,
    balance: str | BalanceStrategy = "round_robin",
    frequencies: NDArray[np.float64] | None = None,
    first_atom: int = 0,
    name: str = "layer",
) -> LayerCompiler:
    """Place a layer and return its compiler; see `place` for the arguments."""
    placed = place(shape, machine, balance=balance, frequencies=frequencies, first_atom=first_atom, name=name)
    return LayerCompiler(machine, placed)
