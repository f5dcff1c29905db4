"""Hermes-host (HPCA 2025, section V-A2): Hermes with the host's processor in the place of NDP-DIMMs, as PowerInfer.

Placement, predictor and swaps are those of Hermes (`hot_neurons`). A layer of a decode step goes so:

1. QKV: the GPU adds the active input channels that it holds, the CPU all others; the CPU adds both up, for it needs the
   result.
2. Attention: the CPU, over the KV cache in host memory.
3. Output projection: the GPU, dense. Meanwhile hot neurons are copied to it over PCIe, as many bytes as its time
   offers.
4. Feed-forward block: as QKV, but the GPU adds both up, as in PowerInfer, where it fuses that into the next norm.

On the CPU, a projection is one operator, attention one, and a block two: up to the activation, and down. Weights of
a neuron are read once for all sequences, and multiplied for those whose predictor says so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.llm.step import Step
from ndpsim.machine.cpu import cpu_picoseconds
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.sparsity.frequency import Frequencies, frequencies
from ndpsim.sparsity.groups import block_of, by_kind, kind_of, layer_of, qkv_of
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.systems.hermes.hot_neurons import HotNeurons
from ndpsim.systems.hermes.offline import gpu_room, gpu_seconds
from ndpsim.systems.hermes.placement import PLACE, PlacementProblem
from ndpsim.systems.hermes.predictor_policy import PredictorPolicy
from ndpsim.systems.parts.host_weights import Sizes
from ndpsim.systems.parts.neuron_trace import require_neurons
from ndpsim.systems.parts.room import dimms_enough
from ndpsim.systems.parts.shared_layers import OPERATIONS
from ndpsim.systems.parts.streamed_prompt import StreamedPrompts
from ndpsim.systems.system import DIMM_UNITS, ONE_CARD, OTHER_FORMATS, PS_PER_US, Devices, Job


class HermesHostPolicy(PredictorPolicy):
    """The parameters of Hermes-host; see `workloads/systems/hermes-host.toml`."""


class HermesHost(StreamedPrompts):
    """One GPU and the host's processor that run a model on a trace."""

    name = "hermes-host"
    ignores = (*ONE_CARD, *DIMM_UNITS, *OTHER_FORMATS)
    Policy = HermesHostPolicy
    policy: HermesHostPolicy

    def __init__(self, job: Job, devices: Devices, policy: HermesHostPolicy) -> None:
        """Place the model. Raises InputError if the trace is of another model, or if something does not fit."""
        super().__init__(job, devices, policy)
        shape, sizes = job.shape, Sizes.of(job, devices)
        if sizes.weights + sizes.cache > sizes.host:
            raise InputError(
                f"dimm.count: expected DIMMs with room for {sizes.weights / 1e9:.1f} GB of weights and "
                f"{sizes.cache / 1e9:.1f} GB of KV cache, found {sizes.host / 1e9:.1f} GB; "
                f"{dimms_enough(sizes.weights + sizes.cache, devices)}"
            )
        trace, parents = job.activations()
        require_neurons(trace, shape)
        self.shape, self.sizes = shape, sizes
        channel = 2 * (shape.attention_width + 2 * shape.kv_width)
        self.neuron_bytes = [channel, 2 * (2 + shape.gated) * shape.hidden] * shape.layers
        layout = NeuronLayout(trace.header.neurons)
        often = [frequencies(trace, group, job.prompt) for group in range(trace.header.groups)]
        placement = PLACE[policy.placement.value](self._problem(often), policy.bundle.value)
        self.neurons = HotNeurons(layout, trace, parents, self.neuron_bytes, often, placement.resident, policy.rule())

    def _problem(self, often: list[Frequencies]) -> PlacementProblem:
        """Return the problem of Hermes' placement with the host as the only other side, which streams at its rate."""
        config, layers = self.devices.config, self.shape.layers
        rate = config.cpu.memory_gb_per_s.value * config.cpu.memory_share.value * 1e9
        return PlacementProblem(
            [group.union.astype(np.float64) for group in often],
            self.neuron_bytes,
            gpu_seconds(self.shape, self.job.batch, self.devices.gpu, self.policy.gpu_probe.value) * layers,
            [size / rate for size in self.neuron_bytes],
            config.pcie.us.value * 1e-6,
            gpu_room(self.devices, self.shape),
            [self.sizes.host],
        )

    def enter(self, sequence: int) -> None:
        """Set the states of a sequence's neurons from its prompt."""
        self.neurons.enter(sequence)

    def decode(self, step: Step, now: int) -> int:
        """Run a token of each sequence."""
        shape, meter, neurons, batch = self.shape, self.meter, self.neurons, len(step.places)
        neurons.predict(step.places, step.cached_tokens)
        layout = neurons.layout
        union = np.bitwise_or.reduce(neurons.computed, axis=0)
        on_gpu = layout.counts(union & neurons.resident)
        read = layout.counts(union & ~neurons.resident)
        multiplied = sum(layout.counts(one & ~neurons.resident) for one in neurons.computed)
        cold = list(zip(read.tolist(), np.asarray(multiplied).tolist(), strict=True))
        times = layer_times(self.devices.gpu, shape, batch, *by_kind(on_gpu))
        layers = (np.column_stack(times[:-1]) * PS_PER_US).astype(np.int64).tolist()
        hidden, attended = 2 * batch * shape.hidden, 2 * batch * shape.attention_width
        room = []  # bytes of hot neurons that can be copied while the GPU projects
        for layer, (norm, project, output, norm2, block) in enumerate(layers):
            begin = now
            normed = self._gpu("qkv", begin, norm, layer)
            on_host = self._cold(qkv_of(layer), 1, cold, normed + self.pcie("d2h", hidden))
            projected = self._gpu("qkv", normed, project, layer)
            sums = self.pcie("d2h", 4 * batch * (shape.attention_width + 2 * shape.kv_width)) if project else 0
            merged = max(on_host, projected + sums)
            meter.spend("qkv", merged - begin)
            now = self._attend(layer, sum(step.contexts), merged)
            meter.spend("attention", now - merged)
            arrived = now + self.pcie("h2d", attended)
            normed = self._gpu("projection", arrived, output + norm2, layer)
            room.append(self.devices.pcie.bytes_within(normed - arrived))
            meter.spend("projection", normed - now)
            computed = self._gpu("ffn", normed, block, layer)
            sums = 0
            if cold[block_of(layer)][0]:
                on_host = self._cold(block_of(layer), 2, cold, normed + self.pcie("d2h", hidden))
                computed = max(computed, on_host + self.pcie("h2d", 2 * hidden))
            meter.spend("ffn", computed - normed)
            now = computed
        if self.policy.adjust.value:
            swaps = neurons.swap(room)
            meter.move("swap", int(swaps.bytes.sum()))
            meter.count("hot neurons that wait", int(swaps.waiting.sum()))
        neurons.learn()
        end = self._gpu("head", now, int(times.head * PS_PER_US))
        meter.spend("head", end - now)
        return end

    def _gpu(self, operation: str, now: int, time: int, layer: int = -1) -> int:
        self.meter.work("gpu", operation, now, now + time, layer)
        return now + time

    def _cold(self, group: int, operators: int, cold: list[tuple[int, int]], now: int) -> int:
        """Compute what the GPU does not hold of a group, if there is any, and return when it has ended."""
        read, multiplied = cold[group]
        if not read:
            return now
        size = self.neuron_bytes[group]  # two bytes a weight: as many as a product and a sum are FLOPs
        cpu = self.devices.config.cpu
        time = cpu_picoseconds(cpu, read * size, multiplied * size) + (operators - 1) * cpu_picoseconds(cpu, 0, 0)
        self.meter.work("cpu", OPERATIONS[kind_of(group)], now, now + time, layer_of(group))
        return now + time

    def _attend(self, layer: int, tokens: int, now: int) -> int:
        """Attend to the tokens of all contexts, new ones included, which join the cache."""
        size = tokens * self.shape.kv_bytes_per_token() // self.shape.layers
        time = cpu_picoseconds(self.devices.config.cpu, size, 4 * tokens * self.shape.attention_width)
        self.meter.work("cpu", "attention", now, now + time, layer)
        return now + time

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next token depends on."""
        return self.neurons.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `state` returned."""
        self.neurons.restore(state)

    def figures(self) -> dict[str, Any]:
        """Return how good the predictor was, and what lies on the GPU."""
        return {"resident_bytes": self.neurons.residency.bytes(), "predictor": self.neurons.figures()}
