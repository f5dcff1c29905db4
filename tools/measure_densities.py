"""Measure how a model folder's ReLU model behaves on its held-out text, and write ``densities.toml`` beside it.

python tools/measure_densities.py workloads/models/relu-lm
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ndpsim.llm.decoder import heldout_loss
from ndpsim.llm.model import LanguageModel
from ndpsim.llm.tokenizer import Tokenizer
from ndpsim.sparsity.capture import capture_in_memory


def measure(model: LanguageModel) -> str:
    """The content of ``densities.toml``."""
    text = model.heldout_text()
    tokens = Tokenizer.of(model).encode(text)
    found = capture_in_memory(model, text, len(tokens)).statistics()
    lines = [
        "# Measured by tools/measure_densities.py on the held-out text with the NumPy decoder; see GroupStatistics in",
        "# ndpsim/sparsity/statistics.py for what each figure means.",
        f"tokens = {found.tokens}",
        f"heldout_loss = {heldout_loss(model, tokens):.4f} # nats a token, context cut every {model.card.context}",
    ]
    for layer in found.groups:
        figures = {name: value for name, value in layer._asdict().items() if not math.isnan(value)}
        lines += ["", "[[layer]]", *(f"{name} = {value:.4f}" for name, value in figures.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments, measure and write."""
    parser = argparse.ArgumentParser(description="Measure activation densities of a model folder on its held-out text.")
    parser.add_argument("model", type=Path, help="model folder")
    folder = parser.parse_args().model
    (folder / "densities.toml").write_text(measure(LanguageModel.load(folder)))


if __name__ == "__main__":
    main()
