"""An input-sparse projection: y = a @ W over the input channels that are not zero.

Each channel is one stored row of all outputs, so that a zero input skips a row; that is how Hermes (HPCA 2025, section
II-B) leaves out slices of the Q, K and V weights. The DIMMs add the channels that they own, the GPU those that it
holds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import Share, Words, aligned, assemble, checked_batch, checked_shares, last_of
from ndpsim.compiler.placement import Placement
from ndpsim.compiler.row_sum import padded, row_sum, sum_input, sum_result
from ndpsim.compiler.tiles import SumPlan, grained, plan_sum
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Program

_hin = encoder("hin")


class Projection:
    """Compiles tokens of a projection whose rows are placed on DIMMs.

    Rows come as one array for each DIMM, uint32[n], numbers of its stored rows in the order in which they are added;
    for a batch they are the union over its sequences. `shares_of` deals active channels out.
    """

    def __init__(self, machine: Machine, placement: Placement) -> None:
        """Take a single matrix of FP16 or BF16. Raises InputError for another one."""
        if placement.shape.activation is not None or placement.shape.type == "i8":
            raise InputError(f"{placement.name}: expected a single matrix of f16 or bf16 for a projection")
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()

    def compile(self, shares: Sequence[NDArray[np.integer]], batch: int = 1, *, gpu: bool = False) -> Program:
        """Compile one token of each of `batch` sequences.

        gpu: whether a partial result of the GPU is added. Raises InputError if a DIMM lacks a row, or if the buffer is
        too small for the batch.
        """
        rows = checked_shares(self.placement, shares)
        plan, last = self.plan(rows, batch, gpu), last_of(rows)
        streams = [self._stream(dimm, len(own), last, plan, gpu) for dimm, own in enumerate(rows)]
        return assemble(self._machine_json, streams, rows, self.placement.regions)

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
        shape, machine = self.placement.shape, self.machine
        held = max(map(len, self.placement.neurons))
        most = grained(max(map(len, shares)), held)
        merged = gpu or machine.dimms > 1
        return plan_sum(shape.width, shape.type, checked_batch(batch), most, machine.buffer_bytes, merged)

    def _stream(self, dimm: int, rows: int, last: int, plan: SumPlan, gpu: bool) -> list[Words]:
        if dimm > last:
            return []
        placement = self.placement
        held, (base, *_) = len(placement.neurons[dimm]), placement.bases[dimm]
        sums = row_sum(plan, base, held, placement.shape.row_atoms, dimm, rows, last, gpu)
        if rows == 0 or plan.step == 0:
            return sums
        size = aligned(plan.batch * rows * codes.TYPE_BYTES[plan.type])
        return [words_to_array([_hin(plan.a, size)]), *sums]
