"""Tensor parallelism: every card of a machine holds a slice of each layer, and they add up twice a layer.

Source of the model: Megatron-LM (Shoeybi et al., 2019) as serving engines run it. Queries, keys and values are split
by heads, the block by neurons, embedding and output head by words; the outputs of attention and of the block, and the
embedding, are added up over all cards, and of the head each card offers the likeliest of its words. Layers whose
attention and block are parallel add up once.

Where sizes do not divide, the busiest card counts, for all others wait for it: it has the next whole number up of
neurons and words, and of groups of heads. A group is a KV head with the query heads that read it: 64 query heads in 8
groups on 5 cards are 16 on the busiest.
"""

from typing import Final

import numpy as np

from ndpsim.gpu.kernels import kernels
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_times import DenseTimes, dense_times, part_times
from ndpsim.systems.cards.gpu_only import CARDS_ONLY, GpuOnly
from ndpsim.systems.parts.host_weights import cache_bytes
from ndpsim.systems.system import PS_PER_US

_CANDIDATE_BYTES: Final = 8  # a word and its logit


class TensorParallel(GpuOnly):
    """A model split over `gpu.count` cards, which work in step: `gpu` stands for all of them in the accounts."""

    name = "tensor-parallel"
    several_cards = True
    ignores = CARDS_ONLY

    def _enough(self, size: int) -> str:
        """Return what would hold the bytes of a card: more cards, or else a larger card."""
        room = self.devices.gpu.card.memory_bytes * self.policy.memory_share.value
        for cards in range(self.cards + 1, self.job.shape.ffn + 1):
            part = self.slice(self.job.shape, cards)
            if part.weight_bytes() + cache_bytes(part, self.job) <= room:
                return f"gpu.count: at least {cards}"
        return super()._enough(size)

    def slice(self, shape: ModelShape, cards: int) -> ModelShape:
        """Return the shape of the busiest card's part of the model."""
        groups = -(-shape.kv_heads // cards)
        return shape.with_overrides(
            kv_heads=groups,
            heads=groups * (shape.heads // shape.kv_heads),
            ffn=-(-shape.ffn // cards),
            vocab=-(-shape.vocab // cards),
        )

    @property
    def cards(self) -> int:
        """How many cards there are."""
        return self.devices.config.gpu.count.value

    def forward(self, step: Step, now: int) -> int:
        """Run a forward pass on all cards."""
        self.begin(step)
        times = self.times(step)
        size, ends = 2 * step.tokens * self.shape.hidden, _CANDIDATE_BYTES * step.logit_tokens
        sums = self._all_reduce_ps(size)
        now = self._add_up(size, sums, self.compute(times, ("embedding",), now))
        for layer in range(self.shape.layers):
            now = self.compute(times, ("qkv", "attention", "projection"), now, layer)
            if self.shape.block == "sequential":
                now = self._add_up(size, sums, now, layer)
            now = self._add_up(size, sums, self.compute(times, ("ffn",), now, layer), layer)
        return self._add_up(ends, self._all_reduce_ps(ends), self.head(times, now))

    def step_times(self, tokens: int, sequences: int) -> DenseTimes:
        """Return the times of steps on all cards."""
        parts = part_times(self.devices.gpu, self.shape, tokens, sequences)
        sums = [self._all_reduce_ps(2 * count * self.shape.hidden) for count in range(tokens + 1)]
        ends = [self._all_reduce_ps(_CANDIDATE_BYTES * count) for count in range(sequences + 1)]
        often = 1 + self.shape.layers * (2 if self.shape.block == "sequential" else 1)
        tokens_ps = parts.embedding + self.shape.layers * parts.layer + often * np.array(sums)
        return dense_times(self.devices.gpu, self.shape, tokens_ps, parts.head + np.array(ends))

    def _all_reduce_ps(self, size: int) -> int:
        if not size:
            return 0
        reduce = kernels([("all_reduce", "fp16", {"bytes": size, "gpus": self.cards})])
        return int(self.devices.gpu.microseconds(reduce)[0] * PS_PER_US)

    def _add_up(self, size: int, time: int, now: int, layer: int = -1) -> int:
        if time:
            self.meter.move("all-reduce", size)
        link = "nvlink" if self.devices.gpu.card.nvlink_gb_per_s else "pcie"
        return self.critical(link, "all-reduce", now, time, layer)
