"""FlexGen's cost model, and the search of the shares of weights, KV cache and activations that stay on the card.

Source of the model: Sheng et al., FlexGen (ICML 2023), section 4.3, without disk: while a layer computes, the weights
of the next one come and caches and activations go, so that a layer takes the longest of the two directions of the link
and the computation. FlexGen relaxes the search to a linear programme and rounds; its percentages are whole numbers, so
all of them are tried here. Attention over the part of the cache that is on the host is computed there, or that part
is loaded: both are tried.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ndpsim.errors import InputError


class CardShares(NamedTuple):
    """What stays on the card, 0 to 1, and whether the host computes attention over its part of the cache.

    The shares are numbers, or arrays that broadcast.
    """

    weights: Any
    cache: Any
    hidden: Any
    host_attention: bool


class Lanes(NamedTuple):
    """Seconds of a layer's work that run side by side: to the card, from the card, and computing."""

    h2d: Any
    d2h: Any
    compute: Any

    @property
    def longest(self) -> Any:
        """Time of the layer."""
        return np.maximum(np.maximum(self.h2d, self.d2h), self.compute)


@dataclass(frozen=True)
class Pass:
    """A forward pass through one layer, all sequences. Seconds of computing and bytes.

    compute_s: without attention over what is cached before; attention_s, host_s: that, all on the card or all on the
    host; weights: of the next layer; hidden: activations between layers; read, written: of the cache; exchanged:
    queries to the host and its results back.
    """

    compute_s: float
    attention_s: float
    host_s: float
    weights: int
    hidden: int
    read: int
    written: int
    exchanged: int

    def lanes(self, shares: CardShares, rate: float) -> Lanes:
        """Return what it takes with some shares; rate: of the link, bytes a second each way."""
        away, idle = 1 - shares.cache, 1 - shares.hidden
        to = (1 - shares.weights) * self.weights + idle * self.hidden
        back = idle * self.hidden + away * self.written
        if shares.host_attention:
            there = away * (self.host_s + self.exchanged / rate)
            return Lanes(to / rate, back / rate, self.compute_s + shares.cache * self.attention_s + there)
        return Lanes((to + away * self.read) / rate, back / rate, self.compute_s + self.attention_s)


@dataclass(frozen=True)
class Problem:
    """What the search knows. prompt, token: passes of the prompt and of a token in the middle of the output; passes:
    how many of the latter there are.

    rate: of the link, bytes a second. Bytes: weights, cache (at the end), hidden (of the prompt): of everything; stage:
    of the largest layer, which comes while another one computes; card, host: room.
    """

    prompt: Pass
    token: Pass
    layers: int
    passes: int
    rate: float
    weights: int
    cache: int
    hidden: int
    stage: int
    card: int
    host: int

    def seconds(self, shares: CardShares) -> Any:
        """Return the time of a run, without embedding and head."""
        prompt, token = (one.lanes(shares, self.rate).longest for one in (self.prompt, self.token))
        return self.layers * (prompt + self.passes * token)

    def fits(self, shares: CardShares) -> Any:
        """Tell whether card and host have room; the card holds two layers that pass, and of caches if they do."""
        on_card = shares.weights * self.weights + shares.cache * self.cache + shares.hidden * self.hidden
        passing = (1 - shares.weights) * 2 * self.stage
        if not shares.host_attention:
            passing = passing + (1 - shares.cache) * 2 * self.cache / self.layers
        on_host = self.weights + self.cache + self.hidden - on_card
        return (on_card + passing <= self.card) & (on_host <= self.host)


def search(problem: Problem) -> CardShares:
    """Return the shares with the least time; of equals, those with most on the card. Raises InputError if none fit."""
    whole = np.arange(100, -1, -1) / 100
    best, least = None, np.inf
    for host_attention in (False, True):
        tried = CardShares(whole[:, None, None], whole[None, :, None], whole[None, None, :], host_attention)
        seconds = np.where(problem.fits(tried), problem.seconds(tried), np.inf)
        if seconds.min() < least:
            least = seconds.min()
            w, c, h = np.unravel_index(seconds.argmin(), seconds.shape)
            best = CardShares(float(whole[w]), float(whole[c]), float(whole[h]), host_attention)
    if best is None:
        raise InputError(
            f"gpu.weights_gb: expected room for two layers beside what the host does not hold, at least "
            f"{2 * problem.stage / 1e9:.1f} GB, found {problem.card / 1e9:g} on the card and {problem.host / 1e9:g} "
            f"on the host for {(problem.weights + problem.cache) / 1e9:.1f} GB of weights and KV cache"
        )
    return best
