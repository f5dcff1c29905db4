"""Hermes (HPCA 2025): hot neurons on the GPU, cold neurons, attention and the KV cache in NDP-DIMMs.

A layer of a decode step goes, as in section IV-A2 and figure 6 of the paper:

1. QKV: the GPU adds the active channels that it holds, the DIMMs all others, and merge both.
2. Attention: the DIMMs.
3. Output projection: the GPU, dense. Meanwhile hot neurons are copied to it over PCIe, as many bytes as the
   projection's time offers, and once a window cold neurons move between DIMMs over DIMM-Link.
4. Feed-forward block: as QKV, both from the GPU's output of the projection.

Which neurons are computed is what the predictor says; neurons that it misses are left out and counted. Norms and the
output head run on the GPU, the residual additions and the rotary embedding in passing. Hermes-base computes all
neurons, and a layer's whole QKV or block is on the GPU or in the DIMMs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import load_machine
from ndpsim.dimm.energy import energy_figures
from ndpsim.errors import InputError
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.graph import graph
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.machine.ndp_model import KINDS, Kind, NdpModel, Rows, deal
from ndpsim.sparsity.layout import NeuronLayout
from ndpsim.sparsity.predictor import PredictionQuality, Predictor, PredictorRule
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.systems.hermes_config import HermesConfig
from ndpsim.systems.hermes_result import Result
from ndpsim.systems.hermes_start import fitted, placement_problem, whole_layers
from ndpsim.systems.placement import Placement, place_greedily, place_optimally, place_randomly
from ndpsim.systems.remap import WindowRemap
from ndpsim.systems.residency import Residency

PS_A_US: Final = 1_000_000
_PLACE: Final = {"greedy": place_greedily, "optimal": place_optimally, "random": place_randomly}


@dataclass(frozen=True)
class Mechanisms:
    """What of Hermes is switched on; without `sparse` it is Hermes-base."""

    sparse: bool = True
    placement: Literal["greedy", "optimal", "random"] = "greedy"
    adjust: bool = True
    remap: bool = True
    rule: PredictorRule = field(default_factory=PredictorRule)


class Hermes:
    """One GPU and NDP-DIMMs that run a model on a trace."""

    def __init__(
        self,
        config: HermesConfig,
        shape: ModelShape,
        trace: ActivationTrace,
        parents: Sequence[NDArray[np.int32]],
        mechanisms: Mechanisms,
    ) -> None:
        """Place the model.

        trace: with attention and FFN groups of every layer, and a prompt as profile; parents: of each group's neurons
        (`Predictor`). Raises InputError if the trace is of another model, or if something does not fit.
        """
        self.config, self.shape, self.trace, self.mechanisms = config, shape, trace, mechanisms
        _check(trace, shape)
        header = trace.header
        machine = load_machine(
            config.machine.dimm.value, placement=config.machine.placement.value, dimms=config.machine.dimms.value
        )
        self.batch = header.sequences
        self.ndp = NdpModel(machine, shape, self.batch, trace.tokens)
        self.gpu = GpuModel.load(config.machine.gpu.value)
        self.layout = NeuronLayout(header.neurons)
        groups = range(header.groups)
        self._bytes = [self.ndp.neuron_bytes(KINDS[g % 2]) for g in groups]
        profile = self.layout.flags(self.layout.masks(trace, 0, header.prompt_tokens)).mean(axis=0)
        frequencies = [profile[self.layout.of(g)] for g in groups]
        placement = self._place(frequencies)
        self.residency = Residency(
            self.layout, header.layer, self._bytes, self.layout.mask(self.layout.spread(placement.resident))
        )
        owners = [fitted(placement.dimm[g], frequencies[g], machine.dimms, self.ndp.rows[KINDS[g % 2]]) for g in groups]
        self.remap = WindowRemap(self.layout, self._bytes, self.layout.spread(owners), machine.dimms)
        self.rows = [Rows(owners[g], machine.dimms, self.ndp.rows[KINDS[g % 2]]) for g in groups]
        self.predictor = Predictor(self.layout, parents, header.preceding, mechanisms.rule)
        self.predictor.start(frequencies)
        self.result = Result(
            model=shape.name,
            system="hermes" if mechanisms.sparse else "hermes-base",
            sequences=self.batch,
            prompt_tokens=header.prompt_tokens,
            gpu=self.gpu.origin,
            resident_bytes=self.residency.bytes(),
            quality=PredictionQuality(self.layout) if mechanisms.sparse else None,
        )

    def run(self, tell: Callable[[int], None] = lambda done: None) -> Result:
        """Run the prompt and all tokens; `tell` hears how many tokens are done."""
        result, first = self.result, self.trace.header.prompt_tokens
        result.prompt_ps = self._prompt(first)
        now = result.prompt_ps
        for number in range(self.trace.tokens - first):
            end = self._token(first + number, now)
            result.token_ps.append(end - now)
            now = end
            tell(number + 1)
        result.dimm_ps, result.dram_bytes = self.ndp.stream_ps, self.ndp.dram_bytes
        result.energy = energy_figures(self.ndp.machine, self.ndp.counters, self.ndp.work, now)
        return result

    def _prompt(self, tokens: int) -> int:
        """Return the time of the prompt: the weights come over PCIe layer by layer while the GPU computes the last one.

        The KV cache goes back to the DIMMs, and the GPU's neurons are loaded behind it.
        """
        rate = self.config.machine.pcie_gb_per_s.value * 1e3
        whole = graph(self.shape, Step.prefill(self.batch, tokens))
        compute = step_microseconds(self.gpu, self.shape, whole)
        copy = self.shape.weight_bytes() / rate
        kv = self.batch * tokens * self.shape.kv_bytes_per_token() / rate
        loaded = self.residency.bytes() / rate
        slower, other = max(copy, compute), min(copy, compute) / self.shape.layers
        self.result.count("h2d", self.shape.weight_bytes() + self.residency.bytes())
        self.result.count("d2h", self.batch * tokens * self.shape.kv_bytes_per_token())
        self.result.spend("prompt", int((slower + other + kv + loaded) * PS_A_US))
        self.result.gpu_ps += int(compute * PS_A_US)
        return self.result.operation_ps["prompt"]

    def _token(self, token: int, now: int) -> int:
        """Run a token of all sequences and return when it has ended."""
        layout, shape = self.layout, self.shape
        active = layout.masks(self.trace, token, token + 1)[0]
        if self.mechanisms.sparse:
            computed = self.predictor.predict(active)
            if self.result.quality is not None:
                self.result.quality.add(computed, active)
        else:
            computed = layout.mask(layout.spread([np.ones(n, np.bool_) for n in layout.neurons]))
        hot, states = self.predictor.hot(), self.predictor.states
        on_gpu = computed & self.residency.resident
        cold = computed & ~self.residency.resident
        counts = layout.counts(on_gpu)
        times = layer_times(self.gpu, shape, self.batch, counts[0::2], counts[1::2])
        layers = (np.column_stack(times[:-1]) * PS_A_US).astype(np.int64).tolist()
        contexts = np.full(self.batch, token + 1, np.int64)
        hidden = self.batch * shape.hidden * 2
        qkv = self.batch * (shape.attention_width + 2 * shape.kv_width) * 4
        for layer, (norm, project, output, norm2, block) in enumerate(layers):
            self.result.gpu_ps += norm + project + output + norm2 + block
            ready = now + self._pcie("h2d", hidden) + norm + project + self._pcie("d2h", qkv)
            span = self.ndp.sparse("attention", layer, self._shares(2 * layer, cold), now, gpu=project > 0)
            end = span.after(ready) if project else span.end
            self.result.spend("qkv", end - now)
            attended = self.ndp.attend(layer, contexts, end).end
            self.result.spend("attention", attended - end)
            begin = attended + self._pcie("h2d", hidden)
            projected = begin + output + norm2
            if self.mechanisms.sparse and self.mechanisms.adjust:
                room = (projected - begin) * self.config.machine.pcie_gb_per_s.value / 1e3
                swaps = self.residency.swap(layer, hot, states, int(room))
                self.result.count("swap", swaps.bytes)
                self.result.waiting += swaps.waiting
            if self._moves_now(token):
                projected = max(projected, begin + self._remap(layer))
            start = projected + self._pcie("d2h", hidden)
            self.result.spend("projection", start - attended)
            ready = projected + block + self._pcie("d2h", 2 * hidden)
            span = self.ndp.sparse("ffn", layer, self._shares(2 * layer + 1, cold), start, gpu=block > 0)
            now = span.after(ready) if block else span.end
            self.result.spend("ffn", now - start)
        self.remap.observe(cold)
        self.predictor.update(active)
        if (token + 1 - self.trace.header.prompt_tokens) % self.config.policy.window.value == 0:
            self.remap.begin_window()
        head = int(times.head * PS_A_US) + self._pcie("h2d", hidden)
        self.result.spend("output head", head)
        return now + head

    def _place(self, frequencies: Sequence[NDArray[np.float64]]) -> Placement:
        if not self.mechanisms.sparse:
            return whole_layers(self.config.machine, self.ndp, self.layout.neurons)
        return _PLACE[self.mechanisms.placement](
            placement_problem(self.config.machine, self.ndp, self.gpu, frequencies)
        )

    def _shares(self, group: int, cold: NDArray[np.uint64]) -> list[NDArray[np.uint32]]:
        rows, dimms = self.rows[group], self.ndp.machine.dimms
        chosen, starts = deal(cold[self.layout.words_of(group)], rows.dimm, rows.row, dimms)
        return [chosen[starts[d] : starts[d + 1]] for d in range(dimms)]

    def _moves_now(self, token: int) -> bool:
        done = token - self.trace.header.prompt_tokens
        on = self.mechanisms.sparse and self.mechanisms.remap
        return on and done > 0 and done % self.config.policy.window.value == self.config.policy.window.value - 1

    def _remap(self, layer: int) -> int:
        """Move neurons of a layer between DIMMs and return the time that the busiest bridge takes."""
        busiest = 0
        link = self.ndp.machine.config.link
        for group in (2 * layer, 2 * layer + 1):
            moves, rows, first = self.remap.remap(group), self.rows[group], int(self.layout.first[group])
            per_pair: dict[tuple[int, int], int] = {}
            for slot, source, target in zip(moves.neurons.tolist(), moves.source, moves.target, strict=True):
                if rows.room(int(target)) == 0:
                    self.remap.dimm[slot] = source  # no row is free there; it stays
                    continue
                rows.move(slot - first, int(target))
                pair = (int(source), int(target))
                per_pair[pair] = per_pair.get(pair, 0) + self._bytes[group]
                self.result.moved += 1
            self.result.count("remap", sum(per_pair.values()))
            busiest = max(busiest, *per_pair.values(), 0) if per_pair else busiest
        return int(busiest * link.picoseconds_per_byte.value) + (link.latency_ps.value if busiest else 0)

    def _pcie(self, direction: str, size: int) -> int:
        """Return the picoseconds of a transfer, and count its bytes."""
        self.result.count(direction, size)
        machine = self.config.machine
        return int((machine.pcie_us.value + size / (machine.pcie_gb_per_s.value * 1e3)) * PS_A_US)


def _check(trace: ActivationTrace, shape: ModelShape) -> None:
    """Raise InputError if the trace is of another model, or has no prompt or nothing behind it."""
    header = trace.header
    widths: dict[Kind, int] = {"attention": shape.hidden, "ffn": shape.ffn}
    wanted = [(layer, kind, widths[kind]) for layer in range(shape.layers) for kind in KINDS]
    if list(zip(header.layer, header.kind, header.neurons, strict=True)) != wanted:
        raise InputError(
            f"trace: expected attention and ffn groups of the {shape.layers} layers of {shape.name}, "
            f"found {header.groups} groups of {header.model}"
        )
    if not 0 < header.prompt_tokens < trace.tokens:
        raise InputError(
            f"trace: expected a prompt and tokens behind it, found a prompt of {header.prompt_tokens} of {trace.tokens}"
        )
