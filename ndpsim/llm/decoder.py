"""A float32 decoder in NumPy, one token a step, whose feed-forward block can be handed to somebody else.

The hook is the seam at which near-data processing enters: everything but the feed-forward block runs here, and what the
hook returns is what the model goes on with. Products run on NumPy's BLAS, so the last bits of the logits may differ
between machines; on one machine a run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from ndpsim.errors import InputError
from ndpsim.llm.model import FloatArray, LanguageModel

FeedForward = Callable[[int, FloatArray], FloatArray]


class Decoder:
    """Runs a model token by token with a cache of keys and values.

    The cache is a ring over the last ``context`` tokens: beyond that the oldest token is forgotten, and positions go on
    counting, which rotary embedding allows because it sees only the distance of two tokens.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        card = model.card
        self.position = 0
        shape = (card.layers, card.heads, card.context, card.head_width)
        self._keys = np.zeros(shape, dtype=np.float32)
        self._values = np.zeros(shape, dtype=np.float32)
        half = card.head_width // 2
        self._rates = card.rope_theta ** (-np.arange(half, dtype=np.float64) / half)
        self._scale = np.float32(card.head_width**-0.5)

    def reset(self) -> None:
        """Forget all tokens."""
        self.position = 0

    def step(self, token: int, ffn: FeedForward | None = None) -> FloatArray:
        """Take one token and return the logits of the next, float32[vocab].

        Args:
            token: id of the token, 0 <= token < vocab.
            ffn: called as ``ffn(layer, x)`` with the normalised input float32[d_model] of the feed-forward block;
                returns its output float32[d_model], to which the decoder adds the residual. None runs the dense block.

        Raises:
            InputError: the token is not in the vocabulary, or the hook returned another shape.
        """
        model, card = self.model, self.model.card
        if not 0 <= token < card.vocab:
            raise InputError(f"token: expected an id from 0 to {card.vocab - 1}, found {token}")
        block = self._dense if ffn is None else ffn
        x = model.weights["embed"][token].copy()
        angle = self.position * self._rates
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        for layer in range(card.layers):
            x += self._attention(layer, self._normalise(x, model.layer(layer, "attn_norm")), cos, sin)
            y = block(layer, self._normalise(x, model.layer(layer, "ffn_norm")))
            if y.shape != x.shape:
                raise InputError(f"ffn: expected an output of shape {x.shape} in layer {layer}, found {y.shape}")
            x += y
        self.position += 1
        logits: FloatArray = model.weights["embed"] @ self._normalise(x, model.weights["final_norm"])
        return logits

    def _dense(self, layer: int, x: FloatArray) -> FloatArray:
        y: FloatArray = self.model.layer(layer, "w2") @ np.maximum(self.model.layer(layer, "w1") @ x, np.float32(0))
        return y

    def _normalise(self, x: FloatArray, gain: FloatArray) -> FloatArray:
        power = np.float32(x @ x) / np.float32(x.size)
        out: FloatArray = x * (np.float32(1) / np.sqrt(power + np.float32(self.model.card.norm_eps))) * gain
        return out

    def _attention(self, layer: int, x: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
        card = self.model.card
        q, k, v = ((self.model.layer(layer, name) @ x).reshape(card.heads, -1) for name in "qkv")
        slot = self.position % card.context
        held = min(self.position + 1, card.context)
        keys, values = self._keys[layer], self._values[layer]
        keys[:, slot], values[:, slot] = _rotate(k, cos, sin), v
        scores = np.matmul(keys[:, :held], _rotate(q, cos, sin)[:, :, None])[:, :, 0] * self._scale
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed = np.matmul(weights[:, None, :], values[:, :held])[:, 0]
        out: FloatArray = self.model.layer(layer, "o") @ mixed.reshape(-1)
        return out


def generate(
    decoder: Decoder,
    prompt: Sequence[int],
    count: int,
    ffn: FeedForward | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield ``count`` token ids that follow ``prompt``.

    Args:
        decoder: goes on from where it stands.
        prompt: at least one token id.
        count: tokens to produce.
        ffn: replaces the feed-forward block, see `Decoder.step`.
        temperature: 0 takes the likeliest token each time (the lowest id among equals); above, tokens are drawn.
        seed: of the draw.
    """
    if not prompt:
        raise InputError("prompt: expected at least one token, found none")
    rng = np.random.default_rng(seed)
    for token in prompt[:-1]:
        decoder.step(token, ffn)
    token = prompt[-1]
    for _ in range(count):
        logits = decoder.step(token, ffn)
        token = draw(logits, temperature, rng) if temperature > 0 else int(logits.argmax())
        yield token


def heldout_loss(model: LanguageModel, tokens: Sequence[int], ffn: FeedForward | None = None) -> float:
    """Mean cross entropy, nats a token, of ``tokens``; the context begins anew after each full window."""
    decoder = Decoder(model)
    total = 0.0
    for here, following in pairwise(tokens):
        if decoder.position == model.card.context:
            decoder.reset()
        logits = decoder.step(here, ffn).astype(np.float64)
        peak = logits.max()
        total += float(peak + np.log(np.exp(logits - peak).sum()) - logits[following])
    return total / (len(tokens) - 1)


def _rotate(x: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
    low, high = np.split(x, 2, axis=-1)
    return np.concatenate((low * cos - high * sin, high * cos + low * sin), axis=-1)


def draw(logits: FloatArray, temperature: float, rng: np.random.Generator) -> int:
    """Draw a token id from the softmax of float32[vocab] logits over `temperature`."""
    wide = logits.astype(np.float64) / temperature
    shares = np.exp(wide - wide.max())
    return int(np.searchsorted(np.cumsum(shares), rng.random() * shares.sum(), side="right"))
