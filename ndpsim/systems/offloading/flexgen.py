"""FlexGen: a block of sequences goes through the model layer by layer while the weights of the next layer arrive.

Source of the model: Sheng et al., FlexGen (ICML 2023), and its code: `flexgen_search` decides which shares of weights,
KV cache and activations stay on the card. Each layer ends when its computation and all copies beside it have (zig-zag
order: all sequences pass a layer, in sub-batches whose activations fit, before the next one begins). The embedding
and the output head are layers of their own; a head that is tied to the embedding is loaded as if it were not.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ndpsim.errors import InputError
from ndpsim.llm.step import Step
from ndpsim.machine.cpu import cpu_picoseconds
from ndpsim.machine.dense_step import StepTimes
from ndpsim.machine.pcie import Pcie
from ndpsim.systems.offloading.flexgen_search import Pass, Problem, search
from ndpsim.systems.parts.dense_layers import DenseLayers, Part
from ndpsim.systems.parts.host_weights import Sizes
from ndpsim.systems.parts.room import card_enough, dimms_enough
from ndpsim.systems.system import DIMM_UNITS, ONE_CARD, OTHER_FORMATS, Devices, Job
from ndpsim.tables import Rate, Table


class FlexGenPolicy(Table):
    """The parameters of FlexGen; see `workloads/systems/flexgen.toml`. link_gb_per_s: of its copies, each way."""

    link_gb_per_s: Rate


class FlexGen(DenseLayers):
    """One card with the weights, caches and activations of a dense model spread over it and the host."""

    name = "flexgen"
    ignores = ("preset", *ONE_CARD, *DIMM_UNITS, *OTHER_FORMATS)
    Policy = FlexGenPolicy
    policy: FlexGenPolicy
    eager = True

    def __init__(self, job: Job, devices: Devices, policy: FlexGenPolicy) -> None:
        """Search the shares. Raises InputError if nothing fits."""
        super().__init__(job, devices, policy)
        sizes = self.sizes = Sizes.of(job, devices)
        self.link = Pcie.of(devices.config.pcie, policy.link_gb_per_s.value)
        self.rate = self.link.gb_per_s * 1e9
        self.sub_batch = self._sub_batch()
        prompt = Step.prefill(job.batch, job.prompt)
        middle = Step.decode(job.batch, job.prompt + job.output // 2)
        self.head_bytes = 2 * self.shape.vocab * self.shape.hidden
        problem = Problem(
            prompt=self._pass(prompt, self.times(prompt)),
            token=self._pass(middle, self.times(middle)),
            layers=sizes.layers,
            passes=job.output - 1,
            rate=self.rate,
            weights=sizes.weights,
            cache=sizes.cache,
            hidden=2 * self.shape.hidden * prompt.tokens,
            stage=max(sizes.layer, sizes.embedding, self.head_bytes),
            card=sizes.card,
            host=sizes.host,
        )
        try:
            self.shares = search(problem)
        except InputError as error:
            parts = [] if 2 * problem.stage <= problem.card else [card_enough(2 * problem.stage, devices)]
            whole = problem.weights + problem.cache + problem.hidden
            parts += [dimms_enough(whole, devices)] if whole > problem.host else []
            raise InputError("; ".join([str(error), *parts])) from None

    def _sub_batch(self) -> int:
        """Return how many sequences the card takes at a time: the most that divide the batch and leave it room."""
        shape, tokens, batch = self.shape, self.job.prompt, self.job.batch
        # as its cost model counts: queries, keys, values, scores, outputs and the block of a prompt, in FP16
        each = 2 * tokens * (9 * shape.hidden + (1 + shape.gated) * shape.ffn + shape.heads * tokens)
        room = self.devices.gpu.card.memory_bytes - self.sizes.card
        fitting = [count for count in range(1, batch + 1) if batch % count == 0 and count * each <= room]
        if not fitting:
            raise InputError(
                f"gpu.weights_gb: expected {each / 1e9:.1f} GB of the card's memory beside it for the activations of "
                f"a prompt, found {room / 1e9:.1f}; gpu.weights_gb: at most "
                f"{(self.devices.gpu.card.memory_bytes - each) / 1e9:.2f}, or fewer sequences"
            )
        return fitting[-1]

    def times(self, step: Step) -> StepTimes:
        """Return the times of a step's parts on the card, all sub-batches one after the other."""
        count, pairs = self.sub_batch, list(zip(step.new_tokens, step.cached_tokens, strict=True))
        parts = Counter(tuple(pairs[begin : begin + count]) for begin in range(0, len(pairs), count))
        total = np.zeros(len(StepTimes._fields), np.int64)
        for part, often in parts.items():
            new, cached = zip(*part, strict=True)
            total += often * np.array(super().times(Step(new, cached)), np.int64)
        return StepTimes(*total.tolist())

    def _pass(self, step: Step, times: StepTimes) -> Pass:
        """Return what a forward pass through a layer is; the prompt has nothing cached before it."""
        shape, width = self.shape, self.shape.attention_width
        token = shape.kv_bytes_per_token() // shape.layers
        read = step.cached * token
        host = cpu_picoseconds(self.devices.config.cpu, read, 4 * sum(step.contexts) * width)
        rest = times.qkv + times.projection + times.ffn
        return Pass(
            compute_s=1e-12 * (rest if read else rest + times.attention),
            attention_s=1e-12 * times.attention if read else 0.0,
            host_s=1e-12 * host if read else 0.0,
            weights=self.sizes.layer,
            hidden=2 * shape.hidden * step.tokens,
            read=read,
            written=step.tokens * token,
            exchanged=2 * 2 * width * step.tokens if read else 0,
        )

    def forward(self, step: Step, now: int) -> int:
        """Run a forward pass of all sequences; when it ends the embedding for the next one is on the card."""
        self.begin(step)
        times, sizes, layers = self.times(step), self.sizes, self.shape.layers
        layer = self._pass(step, times)
        if not step.cached:
            now = self._stage([], Pass(0, 0, 0, sizes.embedding, 0, 0, 0, 0), now)
        on_gpu, on_host = times.attention, 0
        if step.cached and self.shares.host_attention:
            on_gpu = int(self.shares.cache * times.attention)
            on_host = int((1 - self.shares.cache) * (layer.host_s + layer.exchanged / self.rate) * 1e12)
        parts = [
            ("gpu", "qkv", times.qkv),
            ("gpu", "attention", on_gpu),
            ("cpu", "attention", on_host),
            ("gpu", "projection", times.projection),
            ("gpu", "ffn", times.ffn),
        ]
        outer = Pass(0, 0, 0, sizes.layer, layer.hidden, 0, 0, 0)
        now = self._stage([("gpu", "embedding", times.embedding)], outer, now)
        for number in range(layers):
            arriving = layer if number < layers - 1 else replace(layer, weights=self.head_bytes)
            now = self._stage(parts, arriving, now, number)
        ends = min(step.contexts) == self.job.capacity - 1  # the token that comes of it is the last
        arriving = replace(outer, weights=0 if ends else sizes.embedding, hidden=0)
        return self._stage([("gpu", "head", times.head)], arriving, now)

    def _stage(self, parts: list[Part], arriving: Pass, now: int, layer: int = -1) -> int:
        """Compute parts one after the other and copy what goes on beside them; return when both have ended."""
        lanes = arriving.lanes(self.shares, self.rate)
        for direction, time in (("h2d", lanes.h2d), ("d2h", lanes.d2h)):
            if time:
                self.meter.move(direction, round(time * self.rate))
        longest = max(lanes.h2d, lanes.d2h)
        setup = self.link.us * 1e-6 if longest else 0
        return self.beside(parts, int((longest + setup) * 1e12), now, layer)

    def figures(self) -> dict[str, Any]:
        """Return the policy that was found."""
        return {"shares_on_card": self.shares._asdict(), "sub_batch": self.sub_batch}
