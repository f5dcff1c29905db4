"""The activation trace of a run, and which neurons foretell which in it: generated for a model, or read from a file."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.kernels.code_digest import modules_digest
from ndpsim.llm.shape import ModelShape
from ndpsim.runs.cache import cached
from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
from ndpsim.sparsity.generation.presets import preset_from
from ndpsim.sparsity.groups import KINDS, block_of, by_kind, qkv_of
from ndpsim.sparsity.prediction.parents import PARENTS, correlation_table
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader, row_bytes

_MAKERS: Final = (
    "ndpsim.sparsity.generation.generator",
    "ndpsim.sparsity.prediction.parents",
    "ndpsim.sparsity.generation.presets",
)
_NO_NUMBERS: Final = frozenset({"ndpsim.errors", "ndpsim.files", "ndpsim.kernels.kernel_cache"})
"""Modules that these import for messages, files and the cache of kernels."""

Parents = list[NDArray[np.int32]]

_latest: dict[str, tuple[ActivationTrace, Parents]] = {}
"""The trace that was generated last, by what it is of: several systems may run on one."""


def generated_trace(
    shape: ModelShape, preset: Mapping[str, Any], prompt: int, output: int, sequences: int, seed: int
) -> tuple[ActivationTrace, Parents]:
    """Generate the trace of a model, or take it from the cache; the parents are those that the generator gave.

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
    header = generator.header(sequences, prompt)
    asked = [shape.name, shape.layers, shape.hidden, shape.ffn, preset, prompt, output, seed]
    whole = json.dumps([*asked, sequences], sort_keys=True)
    if whole in _latest:
        return _latest[whole]
    _latest.clear()
    ends = np.cumsum([row_bytes(neurons) for neurons in header.neurons])
    found = []
    for sequence in range(sequences):  # by itself, so that a larger batch serves a smaller one
        key = json.dumps(["generated", *asked, sequence, _makers()], sort_keys=True)

        def make(sequence: int = sequence) -> NDArray[np.uint8]:
            one = np.empty((prompt + output, int(ends[-1])), np.uint8)
            for group, part in enumerate(np.split(one, ends[:-1], axis=1)):
                part[:] = generator.rows(group, 0, prompt + output, sequence)
            return one

        found.append(cached(key, "uint8", (prompt + output, int(ends[-1])), make))
    rows = np.stack(found, axis=1) if sequences > 1 else found[0][:, None]
    trace = ActivationTrace(header, np.split(rows, ends[:-1], axis=2))
    key = json.dumps(["partners", *asked, _makers()], sort_keys=True)
    parents = cached(
        key, "int32", (sum(header.neurons), PARENTS),
        lambda: np.concatenate([generator.partners(group) for group in range(header.groups)]),
    )  # fmt: skip
    _latest[whole] = trace, np.split(parents, np.cumsum(header.neurons)[:-1])
    return _latest[whole]


def recorded_trace(
    path: Path, digest: str, shape: ModelShape, sequences: int, prompt: int, output: int
) -> tuple[ActivationTrace, Parents]:
    """Read the part of a trace that a run uses; the parents are the strongest correlations in its prompt.

    The run's prompt ends where that of the trace does, or lies behind the trace's beginning if that has a shorter one
    or none. Where a trace has no groups for attention, all input channels of attention are always active.

    digest: the SHA-256 of the file. Raises InputError if the trace is of another model, or too short.
    """
    with ActivationTrace.read(path) as trace:
        found = _part_of(trace, path, shape, sequences, prompt, output)
    header = found.header
    neurons = np.cumsum(header.neurons)
    key = json.dumps(["parents", digest, sequences, prompt, output, header.neurons, _makers()])
    table = cached(
        key, "int32", (int(neurons[-1]), PARENTS), lambda: np.concatenate(correlation_table(found, 0, prompt))
    )
    return found, np.split(table, neurons[:-1])


def _part_of(
    trace: ActivationTrace, path: Path, shape: ModelShape, sequences: int, prompt: int, output: int
) -> ActivationTrace:
    header = trace.header
    begin = max(header.prompt_tokens - prompt, 0)
    end = begin + prompt + output
    if trace.tokens < end:
        behind = f" behind token {begin}, where its prompt's last {prompt} tokens begin" if begin else ""
        raise InputError(f"{path}: expected {prompt} + {output} tokens{behind}, found {trace.tokens - begin}")
    if header.sequences < sequences:
        raise InputError(f"{path}: expected {sequences} sequences, found {header.sequences}")
    widths = {"attention": shape.hidden, "ffn": shape.ffn}
    wanted = [(layer, kind, widths[kind]) for layer in range(shape.layers) for kind in KINDS]
    places = list(zip(header.layer, header.kind, header.neurons, strict=True))
    has_attention = "attention" in header.kind
    if places != (wanted if has_attention else by_kind(wanted)[1]):
        raise InputError(
            f"{path}: expected the ffn groups of {shape.name}, {shape.layers} layers of {shape.ffn} neurons, and "
            f"attention groups of {shape.hidden} or none, found {header.groups} groups of {header.model}"
        )
    rows = [trace.packed(group, begin, end)[:, :sequences] for group in range(header.groups)]
    preceding = header.preceding
    if not has_attention:
        always = np.packbits(np.ones((1, 1, shape.hidden), np.uint8), axis=2, bitorder="little")
        full = np.broadcast_to(always, (end - begin, sequences, always.shape[2]))
        rows = [one for ffn in rows for one in (full, ffn)]
        places_before = [(qkv_of(layer - 1), block_of(before)) for layer, before in enumerate(preceding)]
        preceding = tuple(max(one, -1) for pair in places_before for one in pair)
    part = TraceHeader(
        model=header.model,
        neurons=tuple(width for _, _, width in wanted),
        rule=header.rule,
        source=header.source,
        seed=header.seed,
        layer=tuple(layer for layer, _, _ in wanted),
        kind=tuple(kind for _, kind, _ in wanted),
        preceding=preceding,
        sequences=sequences,
        prompt_tokens=prompt,
    )
    return ActivationTrace(part, rows)


@cache
def _makers() -> str:
    """Return a digest of the code that makes traces and parents, this file's included, and of what it computes with."""
    made_here = modules_digest((__name__,), only=True)
    versions = [f"{name} {version(name)}" for name in ("numpy", "numba")]
    return " ".join([made_here, modules_digest(_MAKERS, without=_NO_NUMBERS), *versions])
