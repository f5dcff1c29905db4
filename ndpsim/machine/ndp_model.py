"""A whole model in the DIMMs of a machine: where each neuron's weights lie, and the time of each layer's programs.

Attention neurons are the input channels of the Q, K and V projection, feed-forward neurons are slices of that block.
Every DIMM has some rows more than its share, so that neurons can move between DIMMs; a row is the place of a neuron.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.attention import AttentionCompiler
from ndpsim.compiler.batches import groups_of
from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.kv_cache import CacheShape, place_cache
from ndpsim.compiler.merge import Shares
from ndpsim.compiler.placement import LayerShape, enough_dimms, place
from ndpsim.compiler.projection import Projection
from ndpsim.dimm.accounts import Accounts
from ndpsim.dimm.config import Machine
from ndpsim.dimm.energy import NdpWork
from ndpsim.dimm.verify import Verifier
from ndpsim.dram.ndp import rank_state
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.program import Program
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.sparsity.groups import KINDS, Kind
from ndpsim.wall import PROGRAMS, TIMING


@dataclass(frozen=True)
class ProgramSpan:
    """When a program ran, in picoseconds; partial_ps: when DIMM 0 was ready for the GPU's partial result (or end)."""

    start: int
    end: int
    partial: int

    def after(self, partial: int) -> int:
        """Return the end if the GPU's partial result is there at `partial`: what comes behind it waits as long."""
        return self.end + max(partial - self.partial, 0)


def _layer(shape: ModelShape, dimms: int, rows_per_spare: int) -> tuple[dict[Kind, int], LayerShape, LayerShape]:
    """Return the rows that each DIMM has of a projection and of a block, and the shapes of both with all rows."""
    rows: dict[Kind, int] = {}
    widths: dict[Kind, int] = {"attention": shape.hidden, "ffn": shape.ffn}
    for kind, neurons in widths.items():
        share = -(-neurons // dimms)
        rows[kind] = share + -(-share // rows_per_spare)
    projection = LayerShape(rows["attention"] * dimms, shape.attention_width + 2 * shape.kv_width, None)
    return rows, projection, LayerShape(rows["ffn"] * dimms, shape.hidden, "relu", shape.gated)


def _require_dimms(machine: Machine, shape: ModelShape, cache: CacheShape) -> None:
    """Raise InputError if the DIMMs have no room for a model and its cache."""

    spare = machine.config.software.rows_per_spare.value

    def need(dimms: int) -> int:
        rows, *layers = _layer(shape, dimms, spare)
        weights = sum(rows[kind] * len(one.matrices) * one.row_atoms for kind, one in zip(KINDS, layers, strict=True))
        pairs = -(-cache.sequences * cache.kv_heads // dimms)
        return shape.layers * (weights + pairs * cache.pair_atoms)

    if need(machine.dimms) > machine.atoms:
        room = machine.atoms * codes.ATOM_BYTES / (1 << 30)
        raise InputError(
            f"dimm.count: expected {enough_dimms(machine, need)} for the weights of {shape.name} and {cache.sequences} "
            f"KV cache{'s' * (cache.sequences > 1)} of {cache.capacity} tokens, found {machine.dimms} of {room:g} GiB"
        )


class NdpModel:
    """The weights and the KV cache of a model on NDP-DIMMs, timed without data."""

    def __init__(self, machine: Machine, shape: ModelShape, sequences: int, capacity: int) -> None:
        """Place all layers, one behind the other, and their caches of `capacity` tokens for each sequence.

        Raises InputError if the DIMMs are too small.
        """
        self.machine, self.shape, self.sequences = machine, shape, sequences
        self._accounts = Accounts(machine)
        self.timer = self._accounts.timer
        self.stream_ps = self._accounts.stream_ps
        first = 0
        cache = CacheShape(sequences, capacity, shape.heads, shape.kv_heads, shape.head_width)
        self.rows, projection, block = _layer(shape, machine.dimms, machine.config.software.rows_per_spare.value)
        _require_dimms(machine, shape, cache)
        self.projections, self.attentions, self.blocks = [], [], []
        for layer in range(shape.layers):
            qkv = place(projection, machine, first_atom=first, name=f"layer{layer}.attention")
            ffn = place(block, machine, first_atom=qkv.end, name=f"layer{layer}.ffn")
            kv = place_cache(cache, machine, first_atom=ffn.end, name=f"layer{layer}.cache")
            first = kv.end
            self.projections.append(Projection(machine, qkv))
            self.attentions.append(AttentionCompiler(machine, kv))
            self.blocks.append(FeedForward(machine, ffn))

    def neuron_bytes(self, kind: Kind) -> int:
        """Bytes that a DIMM reads for one neuron: whole bursts of all its vectors."""
        layer = self.projections[0] if kind == "attention" else self.blocks[0]
        return layer.placement.shape.neuron_bytes

    @property
    def work(self) -> NdpWork:
        """What the units have done."""
        return NdpWork(*self._accounts.work.tolist())

    @property
    def counters(self) -> NDArray[np.int64]:
        """Commands so far, int64[DIMMs, ranks, 7] (`COUNTERS`)."""
        return self.timer.counters

    @property
    def dram_bytes(self) -> NDArray[np.int64]:
        """Bytes that each DIMM has moved between DRAM and its unit, int64[DIMMs]."""
        bursts = self.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum((1, 2))
        return np.asarray(bursts * codes.ATOM_BYTES, np.int64)

    def sparse(
        self, kind: Kind, layer: int, shares: Shares, start: int, *,
        gpu: bool, masks: Sequence[Shares] | None = None, sequences: int | None = None,
    ) -> ProgramSpan:  # fmt: skip
        """Time the projection or the feed-forward block of a layer on the rows of each DIMM.

        gpu: whether the GPU adds a part; masks: for each 32 sequences, which of them need each row (without masks, all
        need all); sequences: how many run, by default as many as there are places. A batch that is too large for one
        program is several, one after the other; the GPU's part is for the first one.
        """
        compilers: Any = self.projections if kind == "attention" else self.blocks
        operator, spans = compilers[layer], []
        running = self.sequences if sequences is None else sequences
        for group in groups_of(shares, masks, running, lambda rows: operator.most_sequences(rows, gpu)):
            with PROGRAMS:
                program = operator.compile(group.rows, group.sequences, gpu=gpu, masks=group.masks)
            spans.append(self._run(program, start, gpu))
        return ProgramSpan(spans[0].start, spans[-1].end, spans[0].partial if gpu else spans[-1].end)

    def contexts(self, step: Step) -> NDArray[np.int64]:
        """Return the contexts of a step by place, int64[sequences], 0 for places that it leaves out."""
        found = np.zeros(self.sequences, np.int64)
        found[list(step.places)] = step.contexts
        return found

    def attend(self, layer: int, contexts: NDArray[np.int64], start: int) -> ProgramSpan:
        """Time attention over contexts that include the new token, int64[sequences], 0 for a place that is free."""
        with PROGRAMS:
            program = self.attentions[layer].compile(contexts)
        return self._run(program, start, False)

    def verify(self) -> Verifier:
        """Time the programs to come both ways, and compare."""
        self._accounts.verifier = Verifier(self.timer)
        return self._accounts.verifier

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that changes from program to program, as arrays."""
        clocks = {f"timer.{name}": values for name, values in self.timer.state().items()}
        return {
            **clocks,
            "work": self._accounts.work.copy(),
            "stream_ps": self.stream_ps.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        begin = "timer."
        self.timer.restore({name.removeprefix(begin): one for name, one in state.items() if name.startswith(begin)})
        self._accounts.work[:], self.stream_ps[:] = state["work"], state["stream_ps"]

    def _run(self, program: Program, start: int, gpu: bool) -> ProgramSpan:
        timer = self.timer
        begin = timer.now_ps = max(timer.now_ps, start)
        with TIMING:  # which decodes, checks and counts as well: all that is one kernel
            partial = self._accounts.run(program)
        return ProgramSpan(begin, timer.now_ps, partial if gpu else timer.now_ps)
