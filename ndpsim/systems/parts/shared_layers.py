"""A decode step whose layers a GPU and NDP-DIMMs share: the frame of Hermes, whoever decides where neurons lie.

A layer goes as in section IV-A2 and figure 6 of the paper (HPCA 2025):

1. QKV: the GPU adds the input channels that it holds, the DIMMs all others, and merge both.
2. Attention: the DIMMs.
3. Output projection: the GPU, dense. Meanwhile the policy may move neurons.
4. Feed-forward block: as QKV, both from the GPU's output of the projection.

Norms and the output head run on the GPU, the residual additions and the rotary embedding in passing. The prompt is
`streamed_prompt`.
"""

from abc import abstractmethod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import Shares
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.machine.ndp_model import KINDS, NdpModel
from ndpsim.systems.parts.streamed_prompt import streamed_prompt
from ndpsim.systems.system import PS_PER_US, Devices, Job, System
from ndpsim.tables import Table

GROUPS: Final = ("qkv", "ffn")


class Share(NamedTuple):
    """What the DIMMs compute of a group: rows uint32[n] of each DIMM, and bits of sequences for each (or all)."""

    rows: Shares
    masks: Shares | None = None


class SharedLayers(System):
    """The frame: a system says which neurons the GPU computes, and what the DIMMs compute of each group."""

    def __init__(self, job: Job, devices: Devices, policy: Table) -> None:
        super().__init__(job, devices, policy)
        self.ndp = self.dimms = NdpModel(devices.dimms, job.shape, job.batch, job.prompt + job.output)
        self.gpu, self.shape = devices.gpu, job.shape
        self.neuron_bytes = [self.dimms.neuron_bytes(KINDS[group % 2]) for group in range(2 * self.shape.layers)]

    @abstractmethod
    def share(self, group: int) -> Share:
        """Return what the DIMMs compute of a group (2 * layer for QKV, 2 * layer + 1 for the block) at this token."""

    def meanwhile(self, layer: int, begin: int, end: int) -> int:
        """Move neurons of a layer while the GPU projects from `begin` to `end`; return when both are done."""
        return end

    def prompt(self) -> int:
        """Run the prompt on the GPU."""
        return streamed_prompt(self)

    def step(self, number: int, now: int, counts: NDArray[np.int64]) -> int:
        """Run a token of all sequences; counts: int64[groups], the neurons that the GPU computes. Return the end."""
        shape, batch, meter = self.shape, self.job.batch, self.meter
        times = layer_times(self.gpu, shape, batch, counts[0::2], counts[1::2])
        layers = (np.column_stack(times[:-1]) * PS_PER_US).astype(np.int64).tolist()
        contexts = np.full(batch, self.job.prompt + number + 1, np.int64)
        hidden = batch * shape.hidden * 2
        qkv = batch * (shape.attention_width + 2 * shape.kv_width) * 4
        for layer, (norm, project, output, norm2, block) in enumerate(layers):
            at = now + self.pcie("h2d", hidden)
            meter.work("gpu", "qkv", at, at + norm + project, layer)
            ready = at + norm + project + (self.pcie("d2h", qkv) if project else 0)
            end = self._sparse(2 * layer, now, ready, project > 0)
            meter.spend("qkv", end - now)
            attended = self.dimms.attend(layer, contexts, end).end
            meter.work("dimms", "attention", end, attended, layer)
            meter.spend("attention", attended - end)
            begin = attended + self.pcie("h2d", hidden)
            projected = begin + output + norm2
            meter.work("gpu", "projection", begin, projected, layer)
            start = self.meanwhile(layer, begin, projected) + self.pcie("d2h", hidden)
            meter.spend("projection", start - attended)
            meter.work("gpu", "ffn", projected, projected + block, layer)
            ready = projected + block + (self.pcie("d2h", 2 * hidden) if block else 0)
            now = self._sparse(2 * layer + 1, start, ready, block > 0)
            meter.spend("ffn", now - start)
        head = int(times.head * PS_PER_US)
        begin = now + self.pcie("h2d", hidden)
        meter.work("gpu", "head", begin, begin + head)
        meter.spend("head", begin + head - now)
        return begin + head

    def _sparse(self, group: int, start: int, ready: int, gpu: bool) -> int:
        """Run the DIMMs' part of a group, and return when it is merged with the GPU's, which is there at `ready`."""
        kind = KINDS[group % 2]
        rows, masks = self.share(group)
        span = self.dimms.sparse(kind, group // 2, rows, start, gpu=gpu, masks=masks)
        end = span.after(ready) if gpu else span.end
        self.meter.work("dimms", GROUPS[group % 2], start, span.end, group // 2)
        return end

    def figures(self) -> dict[str, Any]:
        """Return what is particular to such systems."""
        return {"resident_bytes": self.resident_bytes}

    @property
    @abstractmethod
    def resident_bytes(self) -> int:
        """Bytes of neurons in GPU memory."""
