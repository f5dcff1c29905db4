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
from ndpsim.sparsity.presets import preset_from
from ndpsim.sparsity.trace import ActivationTrace

Parents = list[NDArray[np.int32]]


def generated_trace(
    shape: ModelShape, preset: Mapping[str, Any], prompt: int, output: int, sequences: int, seed: int
) -> tuple[ActivationTrace, Parents]:
    """Generate the trace of a model; the parents are those that the generator gave each neuron.

    preset: content of a preset's file. Raises InputError if its values do not go together.
    """
    chosen = preset_from(preset, "preset")
    generator = ActivationGenerator(
        NeuronShape(shape.layers, shape.hidden, shape.ffn),
        chosen.parameters(shape.layers, shape.name),
        seed=seed,
        run_tokens=chosen.run_tokens.value,
        model=shape.name,
        source=f"preset {chosen.name}",
    )
    trace = generator.trace(prompt + output, sequences, prompt_tokens=prompt)
    return trace, [generator.partners(group) for group in range(trace.header.groups)]


def recorded_trace(
    path: Path, shape: ModelShape, sequences: int, prompt: int, output: int
) -> tuple[ActivationTrace, Parents]:
    """Read a trace; its parents are the strongest correlations in its prompt."""
    trace = ActivationTrace.read(path)
    if trace.header.prompt_tokens < 1:
        raise InputError(f"{path}: expected a trace with a prompt as profile, found none")
    return trace, correlation_table(trace, 0, trace.header.prompt_tokens)
