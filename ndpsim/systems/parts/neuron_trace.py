"""The activation trace of a system that knows which neurons fire: it must be of the model that is run."""

from ndpsim.errors import InputError
from ndpsim.llm.shape import ModelShape
from ndpsim.sparsity.groups import KINDS, Kind
from ndpsim.sparsity.trace import ActivationTrace


def require_neurons(trace: ActivationTrace, shape: ModelShape) -> None:
    """Raise InputError if a trace is of another model, or has no prompt or nothing behind it."""
    header = trace.header
    widths: dict[Kind, int] = {"attention": shape.hidden, "ffn": shape.ffn}
    wanted = [(layer, kind, widths[kind]) for layer in range(shape.layers) for kind in KINDS]
    if list(zip(header.layer, header.kind, header.neurons, strict=True)) != wanted:
        raise InputError(
            f"trace: expected attention and ffn groups of the {shape.layers} layers of {shape.name}, "
            f"found {header.groups} groups of {header.model}"
        )
    if not 0 < header.prompt_tokens < trace.tokens:
        raise InputError(
            f"trace: expected a prompt and tokens behind it, found a prompt of {header.prompt_tokens} of {trace.tokens}"
        )
