"""Hermes (HPCA 2025): hot neurons on the GPU, cold neurons, attention and the KV cache in NDP-DIMMs.

`shared_layers` is the frame of a token. Which neurons are computed is what the predictor says (`hot_neurons`); neurons
that it misses are left out and counted. During the output projection hot neurons are copied to the GPU over PCIe, as
many bytes as its time offers, and once a window cold neurons move between DIMMs over DIMM-Link.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.kinds import Unit
from ndpsim.llm.step import Step
from ndpsim.machine.rows import NeuronRows, deal
from ndpsim.sparsity.frequency import frequencies
from ndpsim.sparsity.groups import block_of, kind_of, qkv_of
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.systems.hermes.hot_neurons import HotNeurons
from ndpsim.systems.hermes.offline import Probe, fitted, placement_problem
from ndpsim.systems.hermes.placement import PLACE
from ndpsim.systems.hermes.predictor_policy import PredictorPolicy
from ndpsim.systems.hermes.remap import WindowRemap
from ndpsim.systems.parts.neuron_trace import require_neurons
from ndpsim.systems.parts.shared_layers import GroupShare, LayerPlan, SharedLayers, TokenPlan
from ndpsim.systems.system import ONE_CARD, OTHER_FORMATS, Devices, Job
from ndpsim.tables import Given, Switch


class HermesPolicy(PredictorPolicy):
    """The parameters of Hermes; see `workloads/systems/hermes.toml`.

    probe_rows, probe_draws: of each DIMM on average, and how often, in the programs from which the time of a neuron in
    the DIMMs is taken.
    """

    probe_rows: Annotated[Given[Annotated[int, Field(strict=True, ge=1, le=1 << 16)]], Unit("row")]
    probe_draws: Annotated[Given[Annotated[int, Field(strict=True, ge=1, le=64)]], Unit("draw")]
    remap: Switch
    window: Annotated[Given[Annotated[int, Field(strict=True, gt=0, le=1024)]], Unit("token")]
    literal_guard: Switch


class Hermes(SharedLayers):
    """One GPU and NDP-DIMMs that run a model on a trace."""

    name = "hermes"
    ignores = ("cpu", *ONE_CARD, *OTHER_FORMATS)
    Policy = HermesPolicy
    policy: HermesPolicy

    def __init__(self, job: Job, devices: Devices, policy: HermesPolicy) -> None:
        """Place the model. Raises InputError if the trace is of another model, or if something does not fit."""
        super().__init__(job, devices, policy)
        trace, parents = job.activations()
        require_neurons(trace, job.shape)
        layout, dimms = NeuronLayout(trace.header.neurons), devices.dimms.dimms
        often = [frequencies(trace, group, job.prompt) for group in range(trace.header.groups)]
        probe = Probe(policy.probe_rows.value, policy.probe_draws.value, policy.gpu_probe.value)
        problem = placement_problem(devices, self.dimms, often, probe)
        placement, rule = PLACE[policy.placement.value](problem, policy.bundle.value), policy.rule()
        self.neurons = HotNeurons(layout, trace, parents, self.neuron_bytes, often, placement.resident, rule)
        rows = [self.dimms.rows[kind_of(group)] for group in range(len(often))]
        owners = [fitted(placement.dimm[g], problem.frequencies[g], dimms, held) for g, held in enumerate(rows)]
        self.rows = [NeuronRows(own, dimms, held) for own, held in zip(owners, rows, strict=True)]
        guard: Literal["literal", "corrected"] = "literal" if policy.literal_guard.value else "corrected"
        self.remap = WindowRemap(layout, self.neuron_bytes, dimms, guard)
        self.tokens = 0

    def enter(self, sequence: int) -> None:
        """Set the states of a sequence's neurons from its prompt."""
        self.neurons.enter(sequence)

    def decode(self, step: Step, now: int) -> int:
        """Run a token of each sequence, exchange hot neurons for the next one, and learn."""
        neurons, window, place = self.neurons, self.policy.window.value, self.tokens % self.policy.window.value
        neurons.predict(step.places, step.cached_tokens)
        cold = neurons.computed & ~neurons.resident
        remaps = self.policy.remap.value and self.tokens > 0 and place == window - 1
        union = np.bitwise_or.reduce(neurons.computed, axis=0)
        on_gpu = neurons.layout.counts(union & neurons.resident)
        plan = TokenPlan(on_gpu, [self._layer(layer, cold, remaps) for layer in range(self.shape.layers)])
        done = self.run(step, plan, now)
        if self.policy.adjust.value:
            link = self.devices.pcie
            swaps = neurons.swap([link.bytes_within(time) for time in done.free])
            self.meter.move("swap", int(swaps.bytes.sum()))
            self.meter.count("hot neurons that wait", int(swaps.waiting.sum()))
        for one in cold:
            self.remap.observe(one)
        neurons.learn()
        if place == window - 1:
            self.remap.begin_window()
        self.tokens += 1
        return done.end

    def _layer(self, layer: int, cold: NDArray[np.uint64], remaps: bool) -> LayerPlan:
        """Plan a layer. cold: uint64[sequences, words], what the DIMMs compute; remaps: whether neurons move.

        They move during the output projection, so that the block finds them where they went.
        """
        qkv = self._share(qkv_of(layer), cold)
        over = self._remap(layer) if remaps else np.zeros(1, np.int64)
        return LayerPlan(qkv, self._share(block_of(layer), cold), int(over.sum()), int(over.max()))

    def _share(self, group: int, cold: NDArray[np.uint64]) -> GroupShare:
        """Return the cold neurons of a group that are computed."""
        words, rows = self.neurons.layout.words_of(group), self.rows[group]
        chosen, masks = deal(cold[:, words], rows.dimm, rows.row, self.devices.dimms.dimms)
        return GroupShare(chosen, masks if len(cold) > 1 else None)

    def _remap(self, layer: int) -> NDArray[np.int64]:
        """Move neurons of a layer between DIMMs, and return the bytes over each path, int64[DIMMs * DIMMs]."""
        dimms = self.devices.dimms.dimms
        over = np.zeros(dimms * dimms, np.int64)
        for group in (qkv_of(layer), block_of(layer)):
            rows = self.rows[group]
            moves = self.remap.remap(group, rows.dimm)
            moved = rows.move(moves.neurons, moves.target)
            paths = moves.source[moved].astype(np.int64) * dimms + moves.target[moved]
            over += np.bincount(paths, minlength=len(over)) * self.neuron_bytes[group]
            self.meter.count("neurons that changed DIMM", len(paths))
        return over

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next token depends on."""
        found = {f"neurons.{name}": values for name, values in self.neurons.state().items()}
        found |= {f"remap.{name}": values for name, values in self.remap.state().items()}
        found["tokens"] = np.array(self.tokens)
        for group, rows in enumerate(self.rows):
            found |= {f"rows.{group}.{name}": values for name, values in rows.state().items()}
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `state` returned."""
        self.tokens = int(state["tokens"])
        parts: list[tuple[str, Any]] = [("neurons.", self.neurons), ("remap.", self.remap)]
        parts += [(f"rows.{group}.", rows) for group, rows in enumerate(self.rows)]
        for prefix, part in parts:
            part.restore({n.removeprefix(prefix): values for n, values in state.items() if n.startswith(prefix)})

    def figures(self) -> dict[str, Any]:
        """Return how good the predictor was, and what lies on the GPU."""
        return {**super().figures(), "predictor": self.neurons.figures()}

    @property
    def resident_bytes(self) -> int:
        """Bytes of neurons in GPU memory."""
        return self.neurons.residency.bytes()
