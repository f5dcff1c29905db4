"""The activation trace of a run, and which neurons foretell which in it: generated for a model, or read from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.llm.shape import ModelShape
from ndpsim.sparsity.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.parents import correlation_table
from ndpsim.sparsity.presets import load_preset
from ndpsim.sparsity.trace import ActivationTrace

Parents = list[NDArray[np.int32]]


def generated_trace(
    shape: ModelShape,
    preset: str,
    prompt: int,
    output: int,
    sequences: int,
    seed: int,
    changes: Mapping[str, Any] | None = None,
) -> tuple[ActivationTrace, Parents]:
    """Generate the trace of a model; the parents are those that the generator gave each neuron.

    changes: of the preset's values, as `read_changes` gives them. Raises InputError if they do not go together.
    """
    chosen = load_preset(preset)
    generator = ActivationGenerator(
        NeuronShape(shape.layers, shape.hidden, shape.ffn),
        chosen.parameters(shape.layers, shape.name, dict(changes or {})),
        seed=seed,
        run_tokens=int(chosen.run_tokens.value),
        model=shape.name,
        source=f"preset {preset}",
    )
    trace = generator.trace(prompt + output, sequences, prompt_tokens=prompt)
    return trace, [generator.partners(group) for group in range(trace.header.groups)]


def recorded_trace(path: Path) -> tuple[ActivationTrace, Parents]:
    """Read a trace; its parents are the strongest correlations in its prompt."""
    trace = ActivationTrace.read(path)
    if trace.header.prompt_tokens < 1:
        raise InputError(f"{path}: expected a trace with a prompt as profile, found none")
    return trace, correlation_table(trace, 0, trace.header.prompt_tokens)
