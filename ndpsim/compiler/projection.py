"""An input-sparse projection: y = a @ W over the input channels that are not zero.

Each channel is one stored row of all outputs, so that a zero input skips a row; that is how Hermes (HPCA 2025, section
II-B) leaves out slices of the Q, K and V weights. The DIMMs add the channels that they own, the GPU those that it
holds.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.masks import list_sections
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
)
from ndpsim.compiler.placement import LayerPlacement, LayerShape
from ndpsim.compiler.row_sum import padded, row_sum, sum_input, sum_result
from ndpsim.compiler.streams import SETS_KEPT, Streams
from ndpsim.compiler.tiles import Room, SumPlan, grained, most_sequences, plan_sum, sum_plan
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Program

_hin = encoder("hin")


class Projection:
    """Compiles tokens of a projection whose rows are placed on DIMMs.

    Rows come as one array for each DIMM, uint32[n], numbers of its stored rows in the order in which they are added;
    for a batch they are the union over its sequences, and masks beside them say which sequences need each.
    `shares_of` deals active channels out.
    """

    def __init__(self, machine: Machine, placement: LayerPlacement) -> None:
        """Take a single matrix of FP16 or BF16. Raises InputError for another one."""
        if placement.shape.activation is not None or placement.shape.type == "i8":
            raise InputError(f"{placement.name}: expected a single matrix of f16 or bf16 for a projection")
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()
        self._held = tuple(placement.held.tolist())

    def compile(self, shares: Shares, batch: int = 1, *, gpu: bool = False, masks: Shares | None = None) -> Program:
        """Compile one token of each of `batch` sequences.

        gpu: whether a partial result of the GPU is added; masks: beside each row a number, uint32, whose bit s says
        whether sequence s needs it (without them, all do). Raises InputError if a DIMM lacks a row, if the buffer is
        too small for the batch, or as `list_sections` does.
        """
        placement, rows = self.placement, checked_shares(self.placement, shares)
        counts = rows.lengths()
        plan = self._plan(max(counts), batch, gpu)
        streams = _streams(plan, self._held, last_of(counts), gpu, masks is not None).of(rows)
        lists = list_sections(placement.name, rows, masks, batch)
        tiles = [batch * columns for _, columns in plan.columns]
        mark = gpu_part(streams, tiles, max(counts) > 0, plan.piece) if gpu else -1
        return assemble(self._machine_json, streams, lists, placement.regions, placement.first_atom, mark=mark)

    def host_input(
        self, a: NDArray[np.generic], shares: Sequence[Share], gpu: NDArray[np.float32] | None = None
    ) -> list[bytes]:
        """Return what the host sends to each DIMM.

        a: [batch, channels] in the stored type, whose channel n is row `placement.local[n]` of DIMM
        `placement.owner[n]`; gpu: float32[batch, width], the partial result of the GPU.
        """
        plan = self.plan(shares, len(a), gpu is not None)
        streams = []
        for dimm, rows in enumerate(shares):
            own = a[:, self.placement.neurons[dimm][rows]]
            before = [padded(own)] if plan.step and len(rows) else []
            during = sum_input(plan, None if plan.step else own, gpu if dimm == 0 else None)
            streams.append(b"".join(before + during))
        return streams

    def result(
        self, host_out: Sequence[bytes], shares: Sequence[Share], batch: int = 1, *, gpu: bool = False
    ) -> NDArray[np.float32]:
        """Read what the DIMMs returned: float32[batch, width]."""
        return sum_result(self.plan(shares, batch, gpu), host_out)

    def plan(self, shares: Sequence[Share], batch: int, gpu: bool) -> SumPlan:
        """Return the tiles in which a token is computed."""
        return self._plan(max(map(len, shares)), batch, gpu)

    def _plan(self, rows: int, batch: int, gpu: bool) -> SumPlan:
        shape = self.placement.shape
        return plan_sum(shape.width, shape.type, checked_batch(batch), self._grained(rows), Room.of(self.machine, gpu))

    def most_sequences(self, rows: int, gpu: bool) -> int:
        """Return how many sequences a program has room for whose DIMMs have at most so many rows; 0 if for none."""
        return _most_sequences(self.placement.shape, self._grained(rows), Room.of(self.machine, gpu))

    def _grained(self, rows: int) -> int:
        return grained(rows, max(self._held))


@lru_cache(maxsize=1 << 12)
def _most_sequences(shape: LayerShape, rows: int, room: Room) -> int:
    return most_sequences(lambda batch: sum_plan(shape.width, shape.type, batch, rows, room))


@lru_cache(maxsize=SETS_KEPT)
def _streams(plan: SumPlan, held: tuple[int, ...], last: int, gpu: bool, masked: bool) -> Streams:
    """Return what DIMMs run that store `held` rows from atom 0 on; `last` is the last one that works."""

    def encode(dimm: int, rows: int) -> Words:
        return _stream(plan, held[dimm], dimm, rows, last, gpu, masked)

    return Streams(encode, len(held))


def _stream(plan: SumPlan, held: int, dimm: int, rows: int, last: int, gpu: bool, masked: bool) -> Words:
    """Return what a DIMM runs that adds `rows` of the `held` rows that it stores from atom 0 on."""
    if dimm > last:
        return END
    parts = row_sum(plan, 0, held, dimm, rows, last, gpu, masked)
    if rows and plan.step:
        parts.insert(0, words_to_array([_hin(plan.a, aligned(plan.batch * rows * codes.TYPE_BYTES[plan.type]))]))
    return np.concatenate([*parts, END])
