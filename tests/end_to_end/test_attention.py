"""The shipped model with its attention in DIMMs, over contexts of many tiles, beside the same in NumPy."""

import numpy as np
from operator_support import machine
from oracles.decode_step import attention_and_bound

from ndpsim.compiler.attention import AttentionCompiler
from ndpsim.compiler.kv_cache import CacheShape, cache_image, place_cache
from ndpsim.dimm.executor import DimmState, execute
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import Timer
from ndpsim.llm.catalog import load_model
from ndpsim.llm.decoder import Decoder, _rotate
from ndpsim.llm.tokenizer import Tokenizer

TEXT = "The default value is a list of all names that the module defines; it is sorted, and each is there once. " * 6
TOKENS, TILE = 150, 24


class InDimms(Decoder):
    """A decoder whose keys, values and attention are in DIMMs with room for the scores of `TILE` tokens."""

    def __init__(self, model):
        super().__init__(model)
        card = model.card
        shape = CacheShape(1, TOKENS, card.heads, card.heads, card.head_width)
        width = card.head_width
        self.machine = machine(3, 2 * 3 * width + 4 * width + 16 + 6 * TILE)
        placement = place_cache(shape, self.machine)
        self.attention, self.timer = AttentionCompiler(self.machine, placement), Timer(self.machine)
        nothing = np.zeros((1, card.heads, TOKENS, width), np.float16)
        self.images = [cache_image(placement, nothing, nothing) for _ in range(card.layers)]
        self.seen = [[] for _ in range(card.layers)]
        self.excess = 0.0

    def _attention(self, layer, x, cos, sin):
        card, contexts = self.model.card, np.array([self.position + 1])
        q, k, v = ((self.model.layer(layer, name) @ x).reshape(card.heads, -1) for name in "qkv")
        q, k, v = (part.astype(np.float16) for part in (_rotate(q, cos, sin) * self._scale, _rotate(k, cos, sin), v))
        data = self.attention.host_input(q[None], k[None], v[None], contexts)
        program = self.attention.compile(contexts)
        buffers = [np.full(self.machine.buffer_bytes, 0x5A, np.uint8) for _ in data]
        states = [DimmState(*parts) for parts in zip(self.images[layer], buffers, data, strict=True)]
        assert execute(program, states) is None
        self.timer.run(program, resolve(program, self.machine.buffer_bytes).require_clean())
        mixed = self.attention.result([bytes(state.host_out) for state in states], contexts)[0]
        self.seen[layer].append((k, v))
        self._compare(mixed, q, layer)
        return self.model.layer(layer, "o") @ mixed.reshape(-1)

    def _compare(self, mixed, q, layer):
        """Hold the result against float64 within its bound, and against NumPy's float32 within twice that."""
        keys, values = (np.stack([pair[part] for pair in self.seen[layer]], axis=1) for part in (0, 1))
        for head in range(self.model.card.heads):
            own = q[head : head + 1], keys[head], values[head]
            exact, bound = attention_and_bound(*own, self.position + 1, TILE)
            query, key, value = (part.astype(np.float32) for part in own)
            weights = np.exp(query @ key.T - (query @ key.T).max())
            plain = weights / weights.sum() @ value
            assert (np.abs(mixed[head] - exact) <= bound).all()
            assert (np.abs(mixed[head] - plain) <= 2 * bound).all()
            self.excess = max(self.excess, float(np.abs(mixed[head] - exact).max()))


def test_the_shipped_model_reads_a_text_with_its_attention_in_tiles():
    model = load_model("relu-lm")
    tokens = Tokenizer.of(model).encode(TEXT)[:TOKENS]
    assert len(tokens) == TOKENS > 6 * TILE
    near, plain = InDimms(model), Decoder(model)
    for token in tokens:
        mine, theirs = near.step(token), plain.step(token)
        assert np.abs(mine - theirs).max() < 0.02 * np.abs(theirs).max()
        assert theirs[mine.argmax()] > theirs.max() - 0.02 * np.abs(theirs).max()
    assert 0 < near.excess < 1e-2
    assert near.timer.now_ps > 0
