"""A whole model in the DIMMs of a machine: where each neuron's weights lie, and the time of each layer's programs.

Attention neurons are the input channels of the Q, K and V projection, feed-forward neurons are slices of that block.
Every DIMM has some rows more than its share, so that neurons can move between DIMMs; a row is the place of a neuron.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.attention import Attention, CacheShape, place_cache
from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.merge import Shares
from ndpsim.compiler.placement import LayerShape, place
from ndpsim.compiler.projection import Projection
from ndpsim.dimm.config import Machine
from ndpsim.dimm.decode import OP
from ndpsim.dimm.energy import NdpWork, add_ndp_work
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import IS_STREAM, Timer, add_stream_ps
from ndpsim.dimm.timing_kernel import Ints
from ndpsim.dram.rank_state import N_RD, N_WR
from ndpsim.isa import codes
from ndpsim.isa.program import Program
from ndpsim.jit import njit
from ndpsim.llm.shape import ModelShape

Kind = Literal["attention", "ffn"]
KINDS: Final[tuple[Kind, ...]] = ("attention", "ffn")
SPARE: Final = 8  # a DIMM has one row in so many more than its share


@dataclass(frozen=True)
class Span:
    """When a program ran, in picoseconds; partial_ps: when DIMM 0 was ready for the GPU's partial result (or end)."""

    start: int
    end: int
    partial: int

    def after(self, partial: int) -> int:
        """Return the end if the GPU's partial result is there at `partial`: what comes behind it waits as long."""
        return self.end + max(partial - self.partial, 0)


class NdpModel:
    """The weights and the KV cache of a model on NDP-DIMMs, timed without data."""

    def __init__(self, machine: Machine, shape: ModelShape, sequences: int, capacity: int) -> None:
        """Place all layers, one behind the other, and their caches of `capacity` tokens for each sequence.

        Raises InputError if the DIMMs are too small.
        """
        self.machine, self.shape, self.sequences = machine, shape, sequences
        self.timer = Timer(machine)
        self._work = np.zeros(len(fields(NdpWork)), np.int64)
        self.stream_ps = np.zeros(machine.dimms, np.int64)
        dimms, first = machine.dimms, 0
        self.rows: dict[Kind, int] = {}
        widths: dict[Kind, int] = {"attention": shape.hidden, "ffn": shape.ffn}
        for kind, neurons in widths.items():
            share = -(-neurons // dimms)
            self.rows[kind] = share + -(-share // SPARE)
        projection = LayerShape(self.rows["attention"] * dimms, shape.attention_width + 2 * shape.kv_width, None)
        block = LayerShape(self.rows["ffn"] * dimms, shape.hidden, "relu", shape.gated)
        cache = CacheShape(sequences, capacity, shape.heads, shape.kv_heads, shape.head_width)
        self.projections, self.attentions, self.blocks = [], [], []
        for layer in range(shape.layers):
            qkv = place(projection, machine, first_atom=first, name=f"layer{layer}.attention")
            ffn = place(block, machine, first_atom=qkv.end, name=f"layer{layer}.ffn")
            kv = place_cache(cache, machine, first_atom=ffn.end, name=f"layer{layer}.cache")
            first = kv.end
            self.projections.append(Projection(machine, qkv))
            self.attentions.append(Attention(machine, kv))
            self.blocks.append(FeedForward(machine, ffn))

    def neuron_bytes(self, kind: Kind) -> int:
        """Bytes that a DIMM reads for one neuron: whole bursts of all its vectors."""
        layer = self.projections[0] if kind == "attention" else self.blocks[0]
        return layer.placement.shape.neuron_bytes

    @property
    def work(self) -> NdpWork:
        """What the units have done."""
        return NdpWork(*self._work.tolist())

    @property
    def counters(self) -> NDArray[np.int64]:
        """Commands so far, int64[DIMMs, ranks, 7] (`COUNTERS`)."""
        return self.timer.counters

    @property
    def dram_bytes(self) -> NDArray[np.int64]:
        """Bytes that each DIMM has moved between DRAM and its unit, int64[DIMMs]."""
        bursts = self.counters[:, :, [N_RD, N_WR]].sum((1, 2))
        return np.asarray(bursts * codes.ATOM_BYTES, np.int64)

    def sparse(
        self, kind: Kind, layer: int, shares: Shares, start: int, *, gpu: bool, masks: Shares | None = None
    ) -> Span:
        """Time the projection or the feed-forward block of a layer on the rows of each DIMM.

        gpu: whether the GPU adds a part; masks: which sequences need each row (without them, all do).
        """
        compilers: Any = self.projections if kind == "attention" else self.blocks
        return self._run(compilers[layer].compile(shares, self.sequences, gpu=gpu, masks=masks), start, gpu)

    def attend(self, layer: int, contexts: NDArray[np.int64], start: int) -> Span:
        """Time attention over contexts that include the new token, int64[sequences]."""
        return self._run(self.attentions[layer].compile(contexts), start, False)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that changes from program to program, as arrays."""
        clocks = {f"timer.{name}": values for name, values in self.timer.state().items()}
        return {
            **clocks,
            "work": self._work.copy(),
            "stream_ps": self.stream_ps.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        begin = "timer."
        self.timer.restore({name.removeprefix(begin): one for name, one in state.items() if name.startswith(begin)})
        self._work[:], self.stream_ps[:] = state["work"], state["stream_ps"]

    def _run(self, program: Program, start: int, gpu: bool) -> Span:
        resolved = resolve(program, self.machine.buffer_bytes).require_clean()
        begin = self.timer.now_ps = max(self.timer.now_ps, start)
        spans = self.timer.advance(program, resolved).spans
        add_ndp_work(resolved, self._work)
        partial = int(_accounts(resolved.ops, resolved.starts, spans, IS_STREAM, self.stream_ps))
        return Span(begin, self.timer.now_ps, partial if gpu else self.timer.now_ps)


@njit
def _accounts(ops: Ints, starts: Ints, spans: Ints, is_stream: NDArray[np.bool_], stream_ps: Ints) -> int:
    """Add up the time in which each DIMM moves rows, and return when DIMM 0 is ready to take the GPU's partial result.

    It adds that last, tile by tile; the last tile. That is its first `hin` behind everything that it does with its own
    rows and with what comes from other DIMMs. ops, spans: instructions that run, and from when to when.
    """
    add_stream_ps(ops, starts, spans, is_stream, stream_ps)
    first = end = starts[1] - 1
    for at in range(end, -1, -1):
        code = ops[at, OP]
        if code == codes.OP_HIN:
            first = at
        elif is_stream[code] or code == codes.OP_RECV:
            break
    return spans[first, 0]
