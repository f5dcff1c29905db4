"""Hermes (HPCA 2025): hot neurons on the GPU, cold neurons, attention and the KV cache in NDP-DIMMs.

`shared_layers` is the frame of a token. Which neurons are computed is what the predictor says (`hot_neurons`); neurons
that it misses are left out and counted. During the output projection hot neurons are copied to the GPU over PCIe, as
many bytes as its time offers, and once a window cold neurons move between DIMMs over DIMM-Link.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ndpsim.isa import codes
from ndpsim.machine.ndp_model import KINDS
from ndpsim.machine.rows import Rows, deal
from ndpsim.sparsity.frequency import frequencies
from ndpsim.sparsity.layout import NeuronLayout
from ndpsim.sparsity.predictor import PredictorRule
from ndpsim.systems.hermes.hot_neurons import HotNeurons
from ndpsim.systems.hermes.offline import fitted, placement_problem
from ndpsim.systems.hermes.placement import PLACE
from ndpsim.systems.hermes.remap import WindowRemap
from ndpsim.systems.parts.neuron_trace import require_neurons
from ndpsim.systems.parts.shared_layers import Share, SharedLayers
from ndpsim.systems.system import Devices, Job
from ndpsim.tables import Count, Given, Switch, Table


class HermesPolicy(Table):
    """The parameters of Hermes; see `workloads/systems/hermes.toml`."""

    placement: Given[Literal["greedy", "optimal", "random"]]
    adjust: Switch
    remap: Switch
    window: Count
    literal_guard: Switch
    predictor: Given[Literal["both", "token", "layer"]]
    strict: Switch
    hot_above: Count

    def rule(self) -> PredictorRule:
        """Return the numbers of the predictor."""
        return PredictorRule(part=self.predictor.value, strict=self.strict.value, hot=self.hot_above.value)


class Hermes(SharedLayers):
    """One GPU and NDP-DIMMs that run a model on a trace."""

    name = "hermes"
    Policy = HermesPolicy
    policy: HermesPolicy

    def __init__(self, job: Job, devices: Devices, policy: HermesPolicy) -> None:
        """Place the model. Raises InputError if the trace is of another model, or if something does not fit."""
        super().__init__(job, devices, policy)
        trace, parents = job.activations()
        require_neurons(trace, job.shape)
        layout, dimms = NeuronLayout(trace.header.neurons), devices.dimms.dimms
        often = [frequencies(trace, group, job.prompt) for group in range(trace.header.groups)]
        problem = placement_problem(devices.config, self.dimms, devices.gpu, often)
        placement, rule = PLACE[policy.placement.value](problem), policy.rule()
        self.neurons = HotNeurons(layout, trace, parents, self.neuron_bytes, often, placement.resident, rule)
        rows = [self.dimms.rows[KINDS[group % 2]] for group in range(len(often))]
        owners = [fitted(placement.dimm[g], problem.frequencies[g], dimms, held) for g, held in enumerate(rows)]
        self.rows = [Rows(own, dimms, held) for own, held in zip(owners, rows, strict=True)]
        guard: Literal["literal", "corrected"] = "literal" if policy.literal_guard.value else "corrected"
        self.remap = WindowRemap(layout, self.neuron_bytes, layout.spread(owners), dimms, guard)
        self._cold = np.zeros_like(self.neurons.computed)
        self._room = [0] * job.shape.layers
        self._remaps = False

    def token(self, number: int, now: int) -> int:
        """Run a token of all sequences."""
        neurons, window = self.neurons, self.policy.window.value
        neurons.predict(self.job.prompt + number)
        union = np.bitwise_or.reduce(neurons.computed, axis=0)
        self._cold = neurons.computed & ~neurons.resident
        self._remaps = self.policy.remap.value and number > 0 and number % window == window - 1
        end = self.step(number, now, neurons.layout.counts(union & neurons.resident))
        if self.policy.adjust.value:
            swaps = neurons.swap(self._room)
            self.meter.move("swap", int(swaps.bytes.sum()))
            self.meter.count("hot neurons that wait", int(swaps.waiting.sum()))
        for cold in self._cold:
            self.remap.observe(cold)
        neurons.learn()
        if (number + 1) % window == 0:
            self.remap.begin_window()
        return end

    def share(self, group: int) -> Share:
        """Return the cold neurons of a group that are computed."""
        words, rows, dimms = self.neurons.layout.words_of(group), self.rows[group], self.devices.dimms.dimms
        chosen, masks = deal(self._cold[:, words], rows.dimm, rows.row, dimms)
        return Share(chosen, masks if 1 < len(self._cold) <= codes.ENTRY_BITS else None)

    def meanwhile(self, layer: int, begin: int, end: int) -> int:
        """Copy hot neurons to the GPU while it projects, and move cold ones between DIMMs once a window.

        What is copied counts from the next token on; here, only how much it can be.
        """
        self._room[layer] = int((end - begin) * self.devices.config.pcie.gb_per_s.value / 1e3)
        return max(end, self._move(layer, begin)) if self._remaps else end

    def _move(self, layer: int, begin: int) -> int:
        """Move neurons of a layer between DIMMs, and return when the busiest bridge is done."""
        dimms, first = self.devices.dimms.dimms, self.neurons.layout.first
        over = np.zeros(dimms * dimms, np.int64)  # bytes by source and target
        for group in (2 * layer, 2 * layer + 1):
            moves = self.remap.remap(group)
            moved = self.rows[group].move(moves.neurons - first[group], moves.target)
            self.remap.dimm[moves.neurons[~moved]] = moves.source[~moved]  # no row is free there; they stay
            paths = moves.source[moved].astype(np.int64) * dimms + moves.target[moved]
            over += np.bincount(paths, minlength=len(over)) * self.neuron_bytes[group]
            self.meter.count("neurons that changed DIMM", len(paths))
        if not over.any():
            return begin
        link = self.devices.dimms.config.link
        end = begin + int(over.max()) * link.picoseconds_per_byte.value + link.latency_ps.value
        self.meter.move("remap", int(over.sum()))
        self.meter.work("dimm-link", "remap", begin, end, layer)
        return end

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that the next token depends on."""
        found = {f"neurons.{name}": values for name, values in self.neurons.state().items()}
        found |= {f"remap.{name}": values for name, values in self.remap.state().items()}
        for group, rows in enumerate(self.rows):
            found |= {f"rows.{group}.{name}": values for name, values in rows.state().items()}
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `state` returned."""
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
