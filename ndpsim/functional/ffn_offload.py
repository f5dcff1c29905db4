"""The simplest NDP system: every feed-forward block runs in the DIMMs, everything else on the host.

For each token and layer the neurons that fire are compiled into programs for the DIMMs, which return the block's
output. Which neurons fire is taken from the block's own first matrix, evaluated in float32 (a perfect predictor);
`all` computes every neuron instead. Beside it runs the same model, dense and in float32 throughout, on the same
tokens, and the likeliest tokens are compared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.placement import BalanceStrategy, LayerShape
from ndpsim.dimm.config import Machine
from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.rank_state import COUNTERS
from ndpsim.errors import InputError
from ndpsim.functional.dimms import DimmTotals, NdpDimms
from ndpsim.isa import codes
from ndpsim.llm.decoder import Decoder, draw
from ndpsim.llm.model import FloatArray, LanguageModel
from ndpsim.sparsity.capture import capture_in_memory

NEAR_TIE = 0.05
"""Logits closer than this may change places when activations are rounded to FP16; a wider swap is a bug."""


@dataclass(frozen=True)
class Divergence:
    """A step at which the NDP and the dense run prefer different tokens; gap: of their logits in the dense run."""

    step: int
    ndp_token: int
    dense_token: int
    gap: float

    @property
    def near_tie(self) -> bool:
        """Tell whether rounding explains it."""
        return self.gap < NEAR_TIE


@dataclass
class Generation:
    """What a run produced and what it cost; totals cover the generated tokens, prompt_totals the prompt before them.

    active_share has one value a layer and token, layers changing fastest.
    """

    layers: int
    tokens: list[int] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    largest_logit_difference: float = 0.0
    active_share: list[float] = field(default_factory=list)
    totals: DimmTotals | None = None
    prompt_totals: DimmTotals | None = None
    wall_s: float = 0.0

    @property
    def matches_dense(self) -> bool:
        """Tell whether every token is the dense run's likeliest one, up to near-ties (which `divergences` lists)."""
        return all(divergence.near_tie for divergence in self.divergences)

    def figures(self) -> dict[str, object]:
        """Return the figures of the generated tokens, for a report: seconds, bytes, joules, shares, counts."""
        totals = self.totals
        if totals is None:
            raise InputError("generation: has not ended")
        bursts = int(totals.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum())
        activates = int(totals.counters[:, :, rank_state.N_ACT].sum())
        stream_s = totals.stream_ps * 1e-12
        seconds = totals.total_ps * 1e-12
        per_dimm = totals.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum((1, 2)) * codes.ATOM_BYTES
        return {
            "tokens": len(self.tokens),
            "simulated_s": seconds,
            "ndp_s_per_token": seconds / max(len(self.tokens), 1),
            "prompt_s": self.prompt_totals.total_ps * 1e-12 if self.prompt_totals else 0.0,
            "dram_bytes": bursts * codes.ATOM_BYTES,
            "stream_gb_per_s": bursts * codes.ATOM_BYTES / stream_s / 1e9 if stream_s else 0.0,
            "row_hit_rate": 1 - activates / bursts if bursts else 0.0,
            "commands": {
                name: int(totals.counters[:, :, i].sum()) for i, name in enumerate(COUNTERS) if name != "trains"
            },
            "upload_bytes": totals.upload_bytes,
            "active_share": float(np.mean(self.active_share)) if self.active_share else 0.0,
            "active_share_by_layer": [float(np.mean(self.active_share[i :: self.layers])) for i in range(self.layers)],
            "dimm_bytes": [int(size) for size in per_dimm],
            "dimm_busy_s": [float(busy * 1e-12) for busy in totals.busy_ps],
            **totals.energy_figures(),
            "matches_dense": self.matches_dense,
            "near_ties": [vars(d) for d in self.divergences if d.near_tie],
            "mismatches": [vars(d) for d in self.divergences if not d.near_tie],
            "largest_logit_difference": self.largest_logit_difference,
            "wall_s": self.wall_s,
        }


class FfnOffload:
    """A language model whose feed-forward blocks live in NDP-DIMMs."""

    def __init__(
        self,
        model: LanguageModel,
        machine: Machine,
        *,
        balance: str | BalanceStrategy = "round_robin",
        active: str = "exact",
        log: bool = False,
    ) -> None:
        if active not in ("exact", "all"):
            raise InputError(f"active: expected exact or all, found {active}")
        self.model = model
        self.machine = machine
        self.active = active
        self.dimms = NdpDimms(machine, log=log)
        self.shares: list[float] = []
        card = model.card
        frequencies = self._frequencies() if balance == "by_frequency" else [None] * card.layers
        for layer in range(card.layers):
            weights: dict[str, NDArray[np.generic]] = {
                "up": model.layer(layer, "w1").astype(np.float16),
                "down": np.ascontiguousarray(model.layer(layer, "w2").T).astype(np.float16),
            }
            shape = LayerShape(card.d_ffn, card.d_model, activation="relu")
            self.dimms.add_layer(shape, weights, balance=balance, frequencies=frequencies[layer])

    def feed_forward(self, layer: int, x: FloatArray) -> FloatArray:
        """Run one block in the DIMMs; x and the result are float32[d_model]."""
        fires = self._firing(layer, x)
        self.shares.append(len(fires) / self.model.card.d_ffn)
        y = self.dimms.run(layer, x.astype(np.float16)[None, :], fires)
        return np.asarray(y[0], np.float32)

    def _firing(self, layer: int, x: FloatArray) -> NDArray[np.int64]:
        if self.active == "all":
            return np.arange(self.model.card.d_ffn)
        return np.flatnonzero(self.model.layer(layer, "w1") @ x > 0)

    def _frequencies(self, tokens: int = 200) -> list[NDArray[np.float64]]:
        """Count how often each neuron fires on the held-out text; float64[d_ffn] a layer."""
        trace = capture_in_memory(self.model, self.model.heldout_text(), tokens)
        return [trace.fired(layer, 0, tokens).sum(axis=0).astype(np.float64) for layer in range(self.model.card.layers)]

    def generate(
        self,
        prompt: Sequence[int],
        count: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        on_token: Callable[[int], None] | None = None,
    ) -> Generation:
        """Generate `count` tokens after `prompt` (token ids), comparing each step with the dense model.

        `on_token` is called after each token of the prompt and of the result.
        """
        if not prompt:
            raise InputError("prompt: expected at least one token, found none")
        began = time.perf_counter()
        result = Generation(self.model.card.layers)
        rng = np.random.default_rng(seed)
        ndp, dense = Decoder(self.model), Decoder(self.model)
        for token in prompt[:-1]:
            ndp.step(token, self.feed_forward)
            dense.step(token)
            if on_token:
                on_token(token)
        result.prompt_totals = self.dimms.take_totals()
        self.shares.clear()
        token = prompt[-1]
        for step in range(count):
            logits, expected = ndp.step(token, self.feed_forward), dense.step(token)
            self._compare(result, step, logits, expected)
            token = draw(logits, temperature, rng) if temperature > 0 else int(logits.argmax())
            result.tokens.append(token)
            if on_token:
                on_token(token)
        result.totals = self.dimms.take_totals()
        result.active_share = list(self.shares)
        result.wall_s = time.perf_counter() - began
        return result

    @staticmethod
    def _compare(result: Generation, step: int, logits: FloatArray, expected: FloatArray) -> None:
        difference = float(np.abs(logits - expected).max())
        if not difference <= result.largest_logit_difference:  # a NaN counts as the largest
            result.largest_logit_difference = difference
        ours, theirs = int(logits.argmax()), int(expected.argmax())
        if ours != theirs:
            result.divergences.append(Divergence(step, ours, theirs, float(expected[theirs] - expected[ours])))
