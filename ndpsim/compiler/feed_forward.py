"""A feed-forward block of any batch: down.T @ (act(up @ x)), or down.T @ (act(gate @ x) * (up @ x)) if gated.

Each DIMM computes its active neurons in tiles (`ndpsim.compiler.tiles`). Dot products over several tiles of columns are
dot products of each tile, added in the order of the columns: ((t0 + t1) + t2) + ... The rest is a sum of scaled rows.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.masks import list_sections, listed
from ndpsim.compiler.merge import (
    END,
    Share,
    Shares,
    Words,
    aligned,
    assemble,
    checked_batch,
    checked_shares,
    gpu_part,
    last_of,
    merge,
)
from ndpsim.compiler.placement import LayerPlacement, LayerShape
from ndpsim.compiler.row_sum import matrices, padded, row_sum, sum_input, sum_result
from ndpsim.compiler.streams import SETS_KEPT, Streams
from ndpsim.compiler.tiles import BlockPlan, Room, block_plan, cut, grained, most_sequences, plan_block
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa

_dot, _axpy, _fill, _mul, _cvt, _add, _hin = (
    encoder(name) for name in ("dot", "axpy", "fill", "mul", "cvt", "add", "hin")
)
_ACTIVATION = {name: encoder(name) for name in ("relu", "silu", "gelu")}
_F32 = isa().types["f32"].code


class FeedForward:
    """Compiles tokens of a feed-forward block whose neurons are placed on DIMMs.

    Rows come as one array for each DIMM, uint32[n], numbers of its stored neurons in the order in which they are
    added; for a batch they are the union over its sequences, and masks beside them say which sequences need each.
    `shares_of` deals active neurons out.
    """

    def __init__(self, machine: Machine, placement: LayerPlacement) -> None:
        """Take a block. Raises InputError for a single matrix."""
        if placement.shape.activation is None:
            raise InputError(f"{placement.name}: expected a block with an activation, found a single matrix")
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()
        self._held = tuple(placement.held.tolist())

    def compile(self, shares: Shares, batch: int = 1, *, gpu: bool = False, masks: Shares | None = None) -> Program:
        """Compile one token of each of `batch` sequences.

        gpu: whether a partial result of the GPU is added; masks: beside each row a number, uint32, whose bit s says
        whether sequence s needs it (without them, all do). Raises InputError if a DIMM lacks a row, if the buffer is
        too small for the values of all neurons of a DIMM, or as `list_sections` does.
        """
        placement, rows = self.placement, checked_shares(self.placement, shares)
        counts = rows.lengths()
        plan = self._plan(max(counts), batch, gpu)
        streams = _streams(plan, self._held, last_of(counts), gpu, masks is not None).of(rows)
        lists = list_sections(placement.name, rows, masks, batch)
        tiles = [batch * (plan.sums.width if plan.fused else columns) for _, columns in plan.sums.columns]
        mark = gpu_part(streams, tiles, max(counts) > 0, plan.sums.piece) if gpu else -1
        return assemble(self._machine_json, streams, lists, placement.regions, placement.first_atom, mark=mark)

    def host_input(
        self, x: NDArray[np.generic], shares: Sequence[Share], gpu: NDArray[np.float32] | None = None
    ) -> list[bytes]:
        """Return what the host sends to each DIMM.

        x: [batch, width] in the stored type; gpu: float32[batch, width], the partial result of the GPU.
        """
        plan = self.plan(shares, len(x), gpu is not None)
        once = [padded(x[:, first : first + cols]) for first, cols in plan.columns]
        streams = []
        for dimm, rows in enumerate(shares):
            tiles = len(cut(len(rows), plan.sums.tile))
            times = tiles if len(once) > 1 else min(tiles, 1)
            streams.append(b"".join(once * times + sum_input(plan.sums, None, gpu if dimm == 0 else None)))
        return streams

    def result(
        self, host_out: Sequence[bytes], shares: Sequence[Share], batch: int = 1, *, gpu: bool = False
    ) -> NDArray[np.float32]:
        """Read what the DIMMs returned: float32[batch, width]."""
        return sum_result(self.plan(shares, batch, gpu).sums, host_out)

    def plan(self, shares: Sequence[Share], batch: int, gpu: bool) -> BlockPlan:
        """Return the tiles in which a token is computed."""
        return self._plan(max(map(len, shares)), batch, gpu)

    def _plan(self, rows: int, batch: int, gpu: bool) -> BlockPlan:
        return plan_block(self.placement.shape, checked_batch(batch), self._grained(rows), Room.of(self.machine, gpu))

    def most_sequences(self, rows: int, gpu: bool) -> int:
        """Return how many sequences a program has room for whose DIMMs have at most so many rows; 0 if for none."""
        return _most_sequences(self.placement.shape, self._grained(rows), Room.of(self.machine, gpu))

    def _grained(self, rows: int) -> int:
        return grained(rows, max(self._held))


@lru_cache(maxsize=1 << 12)
def _most_sequences(shape: LayerShape, rows: int, room: Room) -> int:
    return most_sequences(lambda batch: block_plan(shape, batch, rows, room))


@lru_cache(maxsize=SETS_KEPT)
def _streams(plan: BlockPlan, held: tuple[int, ...], last: int, gpu: bool, masked: bool) -> Streams:
    """Return what DIMMs run that store `held` neurons from atom 0 on; `last` is the last one that works."""

    def encode(dimm: int, rows: int) -> Words:
        return _stream(plan, held[dimm], dimm, rows, last, gpu, masked)

    return Streams(encode, len(held))


def _stream(plan: BlockPlan, held: int, dimm: int, rows: int, last: int, gpu: bool, masked: bool) -> Words:
    """Return what a DIMM runs that computes `rows` of the `held` neurons that it stores from atom 0 on."""
    if dimm > last:
        return END
    sums, shape = plan.sums, plan.shape
    offsets = shape.offsets(held)
    registers = offsets if plan.fused else offsets[:-1]
    parts = []
    for t, (first, count) in enumerate(cut(rows, sums.tile)):
        narrow, masks = sums.a + t * sums.step, rows + first if masked else None
        for columns in plan.columns:
            if t == 0 or columns[1] < sums.width:
                parts += [matrices(sums.type, registers, held, columns, sums.stride), _brought(plan, columns[1])]
            parts.append(_neurons(plan, first, count, masks, columns, narrow))
    if plan.fused:
        parts.append(merge(dimm, rows > 0, last, sums.y, sums.incoming, sums.batch * sums.width, gpu, sums.piece))
    else:
        parts += row_sum(sums, offsets[-1], held, dimm, rows, last, gpu, masked)
    return np.concatenate([*parts, END])


@lru_cache(maxsize=1 << 14)
def _brought(plan: BlockPlan, cols: int) -> Words:
    """Bring a tile of the inputs; if fused, begin the results."""
    sums = plan.sums
    words = [_hin(plan.x, aligned(sums.batch * cols * codes.TYPE_BYTES[sums.type]))]
    return words_to_array([*words, _fill(sums.y, 0, sums.batch * sums.width)] if plan.fused else words)


@lru_cache(maxsize=1 << 14)
def _neurons(
    plan: BlockPlan, first: int, count: int, masks: int | None, columns: tuple[int, int], narrow: int
) -> Words:
    """Multiply a tile of neurons with a tile of the inputs, and add that to what the columns before gave.

    The last columns are followed by the activation, and by the scale factors at `narrow`, which if fused are used at
    once.
    """
    sums, batch, gated, activation = plan.sums, plan.sums.batch, plan.shape.gated, plan.shape.activation or ""
    values, more, whole = batch * count, columns[0] > 0, sum(columns) == sums.width
    words = listed(first, count, masks)
    for m, at in enumerate((plan.gate, plan.up) if gated else (plan.up,)):
        words.append(_dot(m, 0, plan.x, plan.part if more else at, batch))
        if more:
            words.append(_add(_F32, at, plan.part, at, values))
        if whole:
            words.append(_mul(plan.gate, at, at, values) if m else _ACTIVATION[activation](at, at, values))
    if whole:
        words.append(_cvt(_F32, sums.type, plan.up, narrow, values))
    if plan.fused:
        words.append(_axpy(2 if gated else 1, 0, narrow, sums.y, batch))
    return words_to_array(words)
