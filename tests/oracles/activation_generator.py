"""The trace generator as GENERATOR.md describes it, one neuron, token and sequence at a time, in plain integers."""

from dataclasses import dataclass
from functools import cache

MASK = (1 << 64) - 1
G = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


@cache
def key(seed: int, *words: int) -> int:
    x = mix((seed + G) & MASK)
    for word in words:
        x = mix((x + G * (word + 1)) & MASK)
    return x


def draw(stream: int, i: int, t: int) -> tuple[int, int]:
    """Lower and upper 32 bits."""
    word = mix((stream + G * (i * 2**32 + t)) & MASK)
    return word % 2**32, word >> 32


@cache
def shuffle(stream: int, n: int) -> tuple[int, ...]:
    things = list(range(n))
    for i in range(n - 1, 0, -1):
        j = draw(stream, i, 0)[1] * (i + 1) >> 32
        things[i], things[j] = things[j], things[i]
    return tuple(things)


@dataclass(frozen=True)
class Letters:
    """The letters of the page for one layer: r, h, g, a, b, D, v as they are, and p by rank."""

    p: tuple[float, ...]
    r: float
    h: float
    g: float
    a: float
    b: float
    d: float
    v: float


def whole(chance: float) -> int:
    return round(chance * 2**32)


class SlowGenerator:
    """One kind of groups."""

    def __init__(self, seed: int, kind: int, neurons: int, layers: list[Letters], run_tokens: int) -> None:
        self.seed, self.kind, self.neurons, self.layers, self.run = seed, kind, neurons, layers, run_tokens
        self.clans = (neurons + 1) // 2

    def stream(self, purpose: int, *words: int) -> int:
        return key(self.seed, purpose, self.kind, *words)

    def active(self, layer: int, neuron: int, token: int, sequence: int) -> bool:
        home = shuffle(self.stream(6, layer), self.neurons)[neuron]
        rank = 2 * self.seat(layer, home // 2, token, sequence) + home % 2
        p = self.layers[layer].p
        number = self.number(layer, rank, self.event(layer, rank // 2, token), sequence)
        return number < p[min(rank, self.neurons - 1)] * 2**32

    def event(self, layer: int, clan: int, token: int) -> int:
        if draw(self.stream(2), clan, 0)[1] < whole(self.layers[layer].h):
            return 0
        for t in range(token, 0, -1):
            if draw(self.stream(1), clan, t)[1] < whole(self.layers[layer].r):
                return t
        return 0

    def number(self, layer: int, rank: int, event: int, sequence: int) -> int:
        common = draw(self.stream(3, sequence + 1), rank // 2, event)[0] < whole(self.layers[layer].g)
        who = 0 if common else sequence + 1
        low, high = draw(self.stream(4, layer, who), rank, event)
        return self.clan_number(layer, rank // 2, event, who) if low < whole(self.layers[layer].a) else high

    def clan_number(self, layer: int, clan: int, event: int, who: int) -> int:
        low, high = draw(self.stream(5, layer, who), clan, event)
        if layer > 0 and low < whole(self.layers[layer].b):
            return self.clan_number(layer - 1, clan, event, who)
        return high

    def seat(self, layer: int, seat: int, token: int, sequence: int) -> int:
        letters = self.layers[layer]
        pairs, swap = self.stream(9, sequence + 1), self.stream(10, sequence + 1)
        pair, partner = self.pair(pairs, seat)
        if partner is not None and draw(swap, pair, 0)[0] < whole(letters.v):
            seat = partner
        for run in range(token // self.run + 1):
            pair, partner = self.pair(self.stream(7, run), seat)
            if partner is None:
                continue
            low, high = draw(self.stream(8, run), pair, 0)
            if low < whole(letters.d) and token >= run * self.run + (high * self.run >> 32):
                seat = partner
        return seat

    def pair(self, stream: int, seat: int) -> tuple[int, int | None]:
        order = shuffle(stream, self.clans)
        at = order.index(seat)
        return at // 2, order[at ^ 1] if at ^ 1 < self.clans else None
