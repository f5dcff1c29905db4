"""A decode step whose layers a GPU and NDP-DIMMs share: the frame of Hermes, whoever decides where neurons lie.

A layer goes as in section IV-A2 and figure 6 of the paper (HPCA 2025):

1. QKV: the GPU adds the input channels that it holds, the DIMMs all others, and merge both.
2. Attention: the DIMMs.
3. Output projection: the GPU, dense. Meanwhile neurons may move between DIMMs.
4. Feed-forward block: as QKV, both from the GPU's output of the projection.

Norms and the output head run on the GPU, the residual additions and the rotary embedding in passing. Prompts are
`streamed_prompt`; a step with prompts and decodes runs the prompts first.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import Shares
from ndpsim.llm.step import Step
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.sparsity.groups import KINDS, Kind, block_of, by_kind, kind_of, layer_of, qkv_of
from ndpsim.systems.parts.streamed_prompt import StreamedPrompts
from ndpsim.systems.system import PS_PER_US, Devices, Job
from ndpsim.tables import Table

OPERATIONS: Final[dict[Kind, str]] = {"attention": "qkv", "ffn": "ffn"}
"""What the work on a group is called in results, by its kind."""


class GroupShare(NamedTuple):
    """What the DIMMs compute of a group: rows uint32[n] of each DIMM, and for each 32 sequences bits beside each row
    for those that need it (without them, all do)."""

    rows: Shares
    masks: Sequence[Shares] | None = None


class LayerPlan(NamedTuple):
    """What the DIMMs do in a layer. qkv, ffn: what they compute; moved, busiest: bytes of neurons that move between
    DIMMs during the output projection, over all paths and over the path with the most."""

    qkv: GroupShare
    ffn: GroupShare
    moved: int = 0
    busiest: int = 0


class TokenPlan(NamedTuple):
    """Who computes what in a decode step. on_gpu: int64[groups], how many neurons the GPU computes, QKV and block of
    each layer in turn; layers: of the DIMMs."""

    on_gpu: NDArray[np.int64]
    layers: Sequence[LayerPlan]


class Decoded(NamedTuple):
    """When a decode step ended, and how long PCIe was free in each layer while the GPU projected; picoseconds."""

    end: int
    free: list[int]


class SharedLayers(StreamedPrompts):
    """The frame: a system plans which neurons the GPU and the DIMMs compute."""

    def __init__(self, job: Job, devices: Devices, policy: Table) -> None:
        super().__init__(job, devices, policy)
        self.ndp = self.dimms = NdpModel(devices.dimms, job.shape, job.batch, job.capacity)
        self.gpu, self.shape = devices.gpu, job.shape
        self.neuron_bytes = [self.dimms.neuron_bytes(kind) for kind in KINDS] * self.shape.layers

    def run(self, step: Step, plan: TokenPlan, now: int) -> Decoded:
        """Run a token of each sequence as planned."""
        shape, batch, meter = self.shape, len(step.places), self.meter
        times = layer_times(self.gpu, shape, batch, *by_kind(plan.on_gpu))
        layers = (np.column_stack(times[:-1]) * PS_PER_US).astype(np.int64).tolist()
        contexts = self.dimms.contexts(step)
        hidden = batch * shape.hidden * 2
        qkv = batch * (shape.attention_width + 2 * shape.kv_width) * 4
        free = []
        for layer, (norm, project, output, norm2, block) in enumerate(layers):
            own = plan.layers[layer]
            at = now + self.pcie("h2d", hidden)
            meter.work("gpu", "qkv", at, at + norm + project, layer)
            ready = at + norm + project + (self.pcie("d2h", qkv) if project else 0)
            end = self._sparse(qkv_of(layer), own.qkv, batch, now, ready, project > 0)
            meter.spend("qkv", end - now)
            attended = self.dimms.attend(layer, contexts, end).end
            meter.work("dimms", "attention", end, attended, layer)
            meter.spend("attention", attended - end)
            begin = attended + self.pcie("h2d", hidden)
            projected = begin + output + norm2
            meter.work("gpu", "projection", begin, projected, layer)
            free.append(projected - begin)
            start = max(projected, self._moved(layer, own, begin)) + self.pcie("d2h", hidden)
            meter.spend("projection", start - attended)
            meter.work("gpu", "ffn", projected, projected + block, layer)
            ready = projected + block + (self.pcie("d2h", 2 * hidden) if block else 0)
            now = self._sparse(block_of(layer), own.ffn, batch, start, ready, block > 0)
            meter.spend("ffn", now - start)
        head = int(times.head * PS_PER_US)
        begin = now + self.pcie("h2d", hidden)
        meter.work("gpu", "head", begin, begin + head)
        meter.spend("head", begin + head - now)
        return Decoded(begin + head, free)

    def _sparse(self, group: int, share: GroupShare, batch: int, start: int, ready: int, gpu: bool) -> int:
        """Run the DIMMs' part of a group, and return when it is merged with the GPU's, which is there at `ready`."""
        kind, layer = kind_of(group), layer_of(group)
        span = self.dimms.sparse(kind, layer, share.rows, start, gpu=gpu, masks=share.masks, sequences=batch)
        end = span.after(ready) if gpu else span.end
        self.meter.work("dimms", OPERATIONS[kind], start, span.end, layer)
        return end

    def _moved(self, layer: int, plan: LayerPlan, begin: int) -> int:
        """Move neurons of a layer between DIMMs, and return when the busiest bridge is done."""
        if not plan.moved:
            return begin
        link = self.devices.dimms.config.link
        end = begin + plan.busiest * link.picoseconds_per_byte.value + link.latency_ps.value
        self.meter.move("remap", plan.moved)
        self.meter.work("dimm-link", "remap", begin, end, layer)
        return end

    def figures(self) -> dict[str, Any]:
        """Return what is particular to such systems."""
        return {"resident_bytes": self.resident_bytes}

    @property
    @abstractmethod
    def resident_bytes(self) -> int:
        """Bytes of neurons in GPU memory."""
