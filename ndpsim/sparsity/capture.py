"""Capture an activation trace by running a model folder's ReLU model in NumPy over a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.llm.decoder import Decoder
from ndpsim.llm.model import FloatArray, LanguageModel
from ndpsim.llm.tokenizer import Tokenizer
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader
from ndpsim.sparsity.trace_writer import TraceWriter

Progress = Callable[[int, int], None]
RULE = "relu: w1 @ x > 0"


class Recorder:
    """A feed-forward block, dense in float32, that remembers which neurons fired at the last token."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.fired = np.zeros((model.card.layers, model.card.d_ffn), dtype=np.bool_)

    def __call__(self, layer: int, x: FloatArray) -> FloatArray:
        """Return ``w2 @ relu(w1 @ x)`` and set ``fired[layer]``."""
        hidden = self.model.layer(layer, "w1") @ x
        np.greater(hidden, 0, out=self.fired[layer])
        y: FloatArray = self.model.layer(layer, "w2") @ np.maximum(hidden, np.float32(0))
        return y


def activity(model: LanguageModel, tokens: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
    """Yield bool[layers, d_ffn] for each token; beyond the context the decoder's window slides."""
    decoder, recorder = Decoder(model), Recorder(model)
    for token in tokens:
        decoder.step(token, recorder)
        yield recorder.fired.copy()


def capture_text(model: LanguageModel, text: str, path: Path, max_tokens: int, progress: Progress | None = None) -> int:
    """Run ``model`` over ``text`` and write which neurons fire to the trace file ``path``.

    Args:
        model: the model to run.
        text: any text; it is encoded behind the token that begins a document.
        path: the file to write; it appears when all is done.
        max_tokens: stop after so many tokens.
        progress: called with the tokens done and the tokens to do.

    Returns:
        The number of tokens in the trace.

    Raises:
        InputError: the text is empty, ``max_tokens`` is below 1, or the file cannot be written.
    """
    tokens = _encode(model, text, max_tokens)
    with TraceWriter(path, trace_header(model, f"text of {len(text)} characters")) as writer:
        for done, fired in enumerate(activity(model, tokens), start=1):
            writer.append(list(fired[:, None, :]), np.array([tokens[done - 1]], dtype=np.int32))
            if progress is not None:
                progress(done, len(tokens))
    return len(tokens)


def capture_in_memory(model: LanguageModel, text: str, max_tokens: int) -> ActivationTrace:
    """The trace that `capture_text` writes, without a file."""
    tokens = _encode(model, text, max_tokens)
    fired = np.stack(list(activity(model, tokens)), axis=1)
    header = trace_header(model, f"text of {len(text)} characters")
    return ActivationTrace.of(header, list(fired), np.array(tokens, dtype=np.int32))


def trace_header(model: LanguageModel, source: str) -> TraceHeader:
    """The header of a trace of ``model``."""
    return TraceHeader(model.card.name, (model.card.d_ffn,) * model.card.layers, RULE, source)


def _encode(model: LanguageModel, text: str, max_tokens: int) -> list[int]:
    if max_tokens < 1:
        raise InputError(f"max_tokens: expected at least 1, found {max_tokens}")
    if not text:
        raise InputError("text: expected at least one character, found none")
    # a token is never longer than 64 bytes: the rest of a long text need not be encoded
    return Tokenizer.of(model).encode(text[: 64 * max_tokens])[:max_tokens]
