"""The NumPy decoder computes the model, repeats exactly, and hands its feed-forward block over."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.decoder import Decoder, generate, heldout_loss
from ndpsim.llm.model import LanguageModel
from ndpsim.llm.tokenizer import Tokenizer

MODEL = LanguageModel.load(workloads_dir() / "models" / "relu-lm")
TOKENS = Tokenizer.of(MODEL).encode(MODEL.heldout_text()[:6000])
TOOLS = Path(__file__).parents[2] / "tools"


def logits_of(tokens: list[int], ffn=None) -> np.ndarray:
    decoder = Decoder(MODEL)
    return np.stack([decoder.step(token, ffn) for token in tokens])


def dense(layer: int, x: np.ndarray) -> np.ndarray:
    return MODEL.layer(layer, "w2") @ np.maximum(MODEL.layer(layer, "w1") @ x, 0)


def test_the_decoder_equals_pytorch_over_a_whole_context(monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(TOOLS)
    from capture_trace import open_shipped

    module = open_shipped(MODEL.folder).module
    tokens = TOKENS[: MODEL.card.context]
    with torch.no_grad():
        expected = module(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(logits_of(tokens), expected, rtol=0, atol=2e-4)


def reference_logits(tokens: list[int]) -> np.ndarray:
    """The last token's logits in float64, written from the definition: all positions at once, no cache."""
    card = MODEL.card
    w = {name: value.astype(np.float64) for name, value in MODEL.weights.items()}
    half = card.head_width // 2
    turn = np.exp(1j * np.outer(np.arange(len(tokens)), card.rope_theta ** (-np.arange(half) / half)))

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + card.norm_eps) * gain

    def rotated(x: np.ndarray) -> np.ndarray:
        z = (x[:, :half] + 1j * x[:, half:]) * turn
        return np.concatenate([z.real, z.imag], axis=1)

    x = w["embed"][tokens]
    future = np.triu(np.ones((len(tokens), len(tokens)), dtype=bool), 1)
    for i in range(card.layers):
        h = norm(x, w[f"layers.{i}.attn_norm"])
        heads = []
        for head in range(card.heads):
            span = slice(head * card.head_width, (head + 1) * card.head_width)
            q, k, v = (h @ w[f"layers.{i}.{name}"][span].T for name in "qkv")
            scores = rotated(q) @ rotated(k).T / np.sqrt(card.head_width)
            share = np.exp(np.where(future, -np.inf, scores))
            heads.append(share / share.sum(1, keepdims=True) @ v)
        x = x + np.concatenate(heads, axis=1) @ w[f"layers.{i}.o"].T
        h = norm(x, w[f"layers.{i}.ffn_norm"])
        x = x + np.maximum(h @ w[f"layers.{i}.w1"].T, 0) @ w[f"layers.{i}.w2"].T
    return w["embed"] @ norm(x, w["final_norm"])[-1]


@pytest.mark.parametrize("length", [1, 2, 17, 100])
def test_the_decoder_equals_the_definition_in_float64(length: int):
    np.testing.assert_allclose(logits_of(TOKENS[:length])[-1], reference_logits(TOKENS[:length]), rtol=0, atol=2e-4)


def test_the_hook_replaces_the_feed_forward_block():
    tokens = TOKENS[:20]
    layers = []

    def seen(layer: int, x: np.ndarray) -> np.ndarray:
        layers.append(layer)
        assert x.shape == (MODEL.card.d_model,) and x.dtype == np.float32
        return dense(layer, x)

    np.testing.assert_array_equal(logits_of(tokens, seen), logits_of(tokens))
    assert layers == list(range(MODEL.card.layers)) * len(tokens)
    assert not np.array_equal(logits_of(tokens, lambda layer, x: np.zeros_like(x)), logits_of(tokens))


def test_a_hook_that_returns_another_shape_is_refused():
    with pytest.raises(InputError, match=r"ffn: expected an output of shape \(128,\) in layer 0, found \(3,\)"):
        Decoder(MODEL).step(1, lambda layer, x: np.zeros(3, dtype=np.float32))


@pytest.mark.parametrize("token", [-1, MODEL.card.vocab])
def test_a_token_outside_the_vocabulary_is_refused(token: int):
    with pytest.raises(InputError, match=f"token: expected an id from 0 to 2047, found {token}"):
        Decoder(MODEL).step(token)


def test_beyond_the_context_the_window_slides_without_losing_sense():
    decoder = Decoder(MODEL)
    nats = []
    for here, following in pairwise(TOKENS[:1001]):
        logits = decoder.step(here).astype(np.float64)
        nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[following])
    assert decoder.position == 1000 > MODEL.card.context
    assert np.mean(nats[256:]) < 1.05 * heldout_loss(MODEL, TOKENS[256:1001])


def test_after_a_reset_the_decoder_starts_anew():
    decoder = Decoder(MODEL)
    first = decoder.step(TOKENS[0])
    decoder.step(TOKENS[1])
    decoder.reset()
    np.testing.assert_array_equal(decoder.step(TOKENS[0]), first)


def test_greedy_generation_repeats_exactly():
    runs = [list(generate(Decoder(MODEL), TOKENS[:12], 300)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 300


def test_drawn_generation_repeats_with_its_seed_and_differs_from_another():
    runs = [list(generate(Decoder(MODEL), TOKENS[:12], 40, temperature=0.8, seed=s)) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_generation_from_nothing_is_refused():
    with pytest.raises(InputError, match="prompt: expected at least one token"):
        list(generate(Decoder(MODEL), [], 1))


def test_the_model_has_learnt_english():
    uniform = np.log(MODEL.card.vocab)
    assert heldout_loss(MODEL, TOKENS[:800]) < 0.55 * uniform
