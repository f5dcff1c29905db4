"""Deja Vu with weights in host memory: predictors say which neurons of a block fire, and only those are fetched.

Source of the model: Liu et al., Deja Vu (ICML 2023), and its adaptation to offloading through CUDA unified memory in
PowerInfer (SOSP 2024) and Hermes (HPCA 2025):

- A block's active neurons, those of any sequence, are foretold one layer ahead by two linear layers without bias. They
  run on the GPU beside everything else, so that only what does not fit into its waiting is seen. They are taken to be
  right: as in the trace, no more and no fewer.
- Attention is dense, for traces know of no heads. The prompt is dense too: all its tokens together need all neurons.
- Weights that are not on the GPU come by page faults, in whole pages; the kernel computes what is there meanwhile.
  Rows of a neuron (those of the second matrix, too) lie one behind the other.

Ours, where the sources are silent: predictors, embedding, head and KV cache are on the GPU, with room for a layer that
passes; what is left holds attention of the first layers, and then their blocks. A least-recently-used order, which the
driver has by itself, would keep nothing, for each token runs through all layers.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.kernels import kernels
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import StepTimes
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.sparsity.groups import block_of
from ndpsim.systems.parts.dense_layers import DenseLayers, Part
from ndpsim.systems.parts.host_weights import Sizes, copy_picoseconds
from ndpsim.systems.parts.neuron_trace import require_neurons
from ndpsim.systems.system import DIMM_UNITS, ONE_CARD, OTHER_FORMATS, PS_PER_US, Devices, Job
from ndpsim.tables import Count, Rate, Table

_ATTENTION: Final = ("qkv", "attention", "projection")


class DejaVuPolicy(Table):
    """The parameters of Deja Vu; see `workloads/systems/deja-vu.toml`.

    link_gb_per_s: of what page faults move; page_kib: what one moves at least; predictor_rank: width between the two
    layers of a predictor.
    """

    link_gb_per_s: Rate
    page_kib: Count
    predictor_rank: Count


class DejaVu(DenseLayers):
    """One card that computes the active neurons of each block, and fetches those that it does not hold."""

    name = "deja-vu"
    ignores = ("cpu", "preset.attention", *ONE_CARD, *DIMM_UNITS, *OTHER_FORMATS)
    Policy = DejaVuPolicy
    policy: DejaVuPolicy

    def __init__(self, job: Job, devices: Devices, policy: DejaVuPolicy) -> None:
        """Fill the card. Raises InputError if the trace is of another model, or if something does not fit."""
        super().__init__(job, devices, policy)
        shape, sizes, rank = self.shape, Sizes.of(job, devices), policy.predictor_rank.value
        self.predictor_bytes = 2 * shape.layers * rank * (shape.hidden + shape.ffn)
        block = sum(one.bytes("fp16") for one in shape.matrices() if one.name in ("gate_up", "up", "down"))
        fixed = self.predictor_bytes + sizes.embedding + sizes.head + sizes.cache + sizes.layer
        sizes.require(fixed, "predictors, embedding, head, KV cache and a layer", devices)
        self.trace, _ = job.activations()
        require_neurons(self.trace, shape)
        room, self.away = sizes.card - fixed, []
        for size in (sizes.layer - block, block):  # of attention, and of blocks
            resident = min(room // size, shape.layers)
            room -= resident * size
            self.away.append([0] * resident + [size] * (shape.layers - resident))

    def predictor_ps(self, batch: int) -> int:
        """Return the time of one layer's predictor."""
        rank = self.policy.predictor_rank.value
        widths = ((rank, self.shape.hidden), (self.shape.ffn, rank))
        tables = [("gemm", "fp16", {"m": batch, "n": n, "k": k}) for n, k in widths]
        return int(self.devices.gpu.microseconds(kernels(tables)).sum() * PS_PER_US)

    def layer(self, layer: int, times: StepTimes, now: int) -> int:
        """Run a layer of the prompt, all of whose weights are needed."""
        for parts, away in ((_ATTENTION, self.away[0][layer]), (("ffn",), self.away[1][layer])):
            now = self.beside([("gpu", part, getattr(times, part)) for part in parts], self._fetch(away), now, layer)
        return now

    def forward(self, step: Step, now: int) -> int:
        """Run prompts densely, then the active neurons of a token of each decoding sequence."""
        if step.prefills:
            now = super().forward(step.prefills, now)
        return self._decode(step.decodes, now) if step.decodes else now

    def _decode(self, step: Step, now: int) -> int:
        """Run a token of each sequence."""
        self.begin(step)
        layers, batch = self.shape.layers, len(step.places)
        times = self.times(step)
        active = [self._active(layer, step) for layer in range(layers)]
        counts = np.array([len(neurons) for neurons in active], np.int64)
        self.meter.count("active neurons", int(counts.sum()))
        sparse = layer_times(self.devices.gpu, self.shape, batch, np.zeros_like(counts), counts)
        blocks = ((sparse.ffn_norm + sparse.block) * PS_PER_US).astype(np.int64).tolist()
        now = self.compute(times, ("embedding",), now)
        predictor_ps = self.predictor_ps(batch)
        now = self.critical("gpu", "predictor", now, predictor_ps)
        for layer, (neurons, block) in enumerate(zip(active, blocks, strict=True)):
            attention: list[Part] = [("gpu", part, getattr(times, part)) for part in _ATTENTION]
            copies = [self._fetch(self.away[0][layer]), self._fetch(self._pages(neurons) if self.away[1][layer] else 0)]
            left = predictor_ps if layer < layers - 1 else 0
            for parts, copy in zip((attention, [("gpu", "ffn", block)]), copies, strict=True):
                computed = now + sum(time for *_, time in parts)
                now = self.beside(parts, copy, now, layer)
                hidden = min(left, now - computed)
                self.meter.work("gpu", "predictor", computed, computed + hidden, layer + 1)
                left -= hidden
            now = self.critical("gpu", "predictor", now, left, layer + 1)
        return self.head(times, now)

    def _active(self, layer: int, step: Step) -> NDArray[np.int64]:
        """Return which neurons of a block fire in any sequence, each at its place in the trace; rising."""
        group, tokens = block_of(layer), np.array(step.cached_tokens)
        rows = self.trace.packed(group, int(tokens.min()), int(tokens.max()) + 1)
        rows = rows[tokens - tokens.min(), list(step.places)]
        return np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(rows, axis=0), bitorder="little"))

    def _pages(self, neurons: NDArray[np.int64]) -> int:
        """Return the bytes of all pages on which rows of these neurons lie, in all matrices of a block."""
        page = self.policy.page_kib.value * 1024
        pages = touched_pages(neurons, 2 * self.shape.hidden, page) * (2 + self.shape.gated)
        self.meter.count("pages fetched", pages)
        return pages * page

    def _fetch(self, size: int) -> int:
        if size:
            self.meter.move("h2d", size)
        return copy_picoseconds(self.devices, self.policy.link_gb_per_s.value, size)

    def figures(self) -> dict[str, Any]:
        """Return what lies on the card."""
        attention, blocks = (sizes.count(0) for sizes in self.away)
        return {
            "resident_attention_layers": attention,
            "resident_ffn_layers": blocks,
            "predictor_bytes": self.predictor_bytes,
        }


def touched_pages(rows: NDArray[np.int64], row_bytes: int, page: int) -> int:
    """Return on how many pages some rows of a matrix lie that begins with a page; rows: rising."""
    if not len(rows):
        return 0
    first, last = rows * row_bytes // page, (rows * row_bytes + row_bytes - 1) // page
    return int((last - first + 1).sum() - (first[1:] == last[:-1]).sum())
