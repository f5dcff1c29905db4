"""Lower tokens of one placed layer, given by the numbers of its active neurons, to the programs of all DIMMs.

Each DIMM computes its active neurons in the order of their numbers: those of a block as `FeedForward` does, the rows of
a single matrix as `PlacedMatrix` does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.matrix import PlacedMatrix
from ndpsim.compiler.merge import shares_of
from ndpsim.compiler.placement import BalanceStrategy, LayerPlacement, LayerShape, place
from ndpsim.dimm.config import Machine
from ndpsim.isa.program import Program


class LayerCompiler:
    """Compiles tokens of one placed layer.

    Active neurons are distinct neuron numbers, in any order; for a batch, the union over its sequences: every sequence
    computes all of them, and weights are read once. Methods raise InputError if a neuron does not exist or occurs
    twice, or if the batch does not fit into the buffer.
    """

    def __init__(self, machine: Machine, placement: LayerPlacement) -> None:
        self.placement = placement
        block = placement.shape.activation is not None
        self._operator = FeedForward(machine, placement) if block else PlacedMatrix(machine, placement)

    def compile(self, active: NDArray[np.integer], batch: int = 1) -> Program:
        """Compile one token of each of `batch` sequences."""
        return self._operator.compile(shares_of(self.placement, active), batch)

    def host_input(self, x: NDArray[np.generic], active: NDArray[np.integer]) -> list[bytes]:
        """Return what the host sends to each DIMM; x: [batch, width] of the layer's stored type."""
        return self._operator.host_input(x, shares_of(self.placement, active))

    def result(self, host_out: Sequence[bytes], active: NDArray[np.integer], batch: int = 1) -> NDArray[np.generic]:
        """Read what the DIMMs returned.

        A block gives float32[batch, width]; a single matrix gives float32 (int32 for i8) [batch, len(active)] in
        ascending order of the active neurons.
        """
        return self._operator.result(host_out, shares_of(self.placement, active), batch)


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
