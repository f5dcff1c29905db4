"""One token of a layer to compile: the layer's shape, its active neurons, and, if asked for, its weights and input."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.placement import LayerShape
from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_model
from ndpsim.llm.decoder import Decoder
from ndpsim.llm.model import FloatArray
from ndpsim.llm.tokenizer import Tokenizer

IMAGE_LIMIT = 1 << 31  # bytes; a larger random layer is timed without data


@dataclass(frozen=True)
class LayerToken:
    """A layer and one token (or batch) of it.

    active: int64[k]; x(): [batch, width]; weights(): one array [neurons, width] for each matrix, both in the stored
    type; frequencies: float64[neurons], for the balance strategy.
    """

    shape: LayerShape
    active: NDArray[np.int64]
    batch: int
    frequencies: NDArray[np.float64]
    x: Callable[[], NDArray[np.generic]]
    weights: Callable[[], dict[str, NDArray[np.generic]]]


def random_token(
    neurons: int, width: int, activation: str | None, gated: bool, type_: str, density: float, batch: int, seed: int
) -> LayerToken:
    """Draw a layer: `density` of its neurons active, Gaussian weights and inputs, all from one seed."""
    shape = LayerShape(neurons, width, activation, gated, type_)  # type: ignore[arg-type]
    if not 0 <= density <= 1:  # a NaN fails this too
        raise InputError(f"density: expected 0 to 1, found {density}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, found {seed}")
    rng = np.random.default_rng(seed)
    active = np.flatnonzero(rng.random(neurons) < density)

    def stored(values: NDArray[np.float64]) -> NDArray[np.generic]:
        if type_ == "i8":
            return np.clip(np.rint(values * 32), -128, 127).astype(np.int8)
        if type_ == "bf16":
            return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return values.astype(np.float16)

    def weights() -> dict[str, NDArray[np.generic]]:
        size = neurons * len(shape.matrices) * shape.row_bytes
        if size > IMAGE_LIMIT:
            raise InputError(
                f"image: the weights have {size} bytes, expected at most {IMAGE_LIMIT}; compile without an image"
            )
        draw = np.random.default_rng(seed + 1)
        return {name: stored(draw.standard_normal((neurons, width)) / np.sqrt(width)) for name in shape.matrices}

    def x() -> NDArray[np.generic]:
        return stored(np.random.default_rng(seed + 2).standard_normal((batch, width)))

    return LayerToken(shape, active, batch, np.ones(neurons), x, weights)


def model_token(model: str, layer: int, prompt: str) -> LayerToken:
    """Take a layer of a model, the input that the last token of `prompt` causes in it, and what fires."""
    loaded = load_model(model)
    card = loaded.card
    if not 0 <= layer < card.layers:
        raise InputError(f"{model}: layer: expected 0 to {card.layers - 1}, found {layer}")
    seen: dict[int, FloatArray] = {}
    counts = np.zeros(card.d_ffn)

    def hook(number: int, x: FloatArray) -> FloatArray:
        h = np.maximum(loaded.layer(number, "w1") @ x, np.float32(0))
        if number == layer:
            seen[layer] = x.copy()
            counts[:] += h > 0
        return np.asarray(loaded.layer(number, "w2") @ h, np.float32)

    decoder = Decoder(loaded)
    for token in Tokenizer.of(loaded).encode(prompt):
        decoder.step(token, hook)
    x = seen[layer]
    active = np.flatnonzero(loaded.layer(layer, "w1") @ x > 0)
    shape = LayerShape(card.d_ffn, card.d_model, activation="relu")
    weights: dict[str, NDArray[np.generic]] = {
        "up": loaded.layer(layer, "w1").astype(np.float16),
        "down": np.ascontiguousarray(loaded.layer(layer, "w2").T).astype(np.float16),
    }
    return LayerToken(shape, active, 1, counts, lambda: x.astype(np.float16)[None, :], lambda: weights)
