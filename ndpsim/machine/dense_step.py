"""A dense forward pass on one card, part by part, for systems that do something between the parts."""

from typing import Final, NamedTuple

import numpy as np

from ndpsim.gpu.model import GpuModel
from ndpsim.llm.graph import graph
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import kernels_of
from ndpsim.wall import GPU_MODEL

PARTS: Final = {
    "embedding": ("embedding", "position_embedding"),
    "qkv": ("attention_norm", "qkv", "rotary"),
    "attention": ("attention",),
    "projection": ("output",),
    "ffn": ("ffn_norm", "gate_up", "up", "activation", "down"),
    "head": ("final_norm", "lm_head"),
}
"""The operators of each part."""
LAYER: Final = ("qkv", "attention", "projection", "ffn")
"""The parts of a layer, in their order; each begins with its norm, if it has one."""


class StepTimes(NamedTuple):
    """Picoseconds of the parts of a forward pass; those of a layer (`LAYER`) are of one layer."""

    embedding: int
    qkv: int
    attention: int
    projection: int
    ffn: int
    head: int

    @property
    def layer(self) -> int:
        """Time of one whole layer."""
        return self.qkv + self.attention + self.projection + self.ffn


@GPU_MODEL
def dense_step(model: GpuModel, shape: ModelShape, step: Step, *, eager: bool = False) -> StepTimes:
    """Time a forward pass; eager: the host launches each kernel by itself, else they are in a CUDA graph.

    Raises InputError if a sequence is longer than the model's context.
    """
    operators = [one for one in graph(shape, step) if one.kind != "elementwise"]
    kernels = kernels_of(shape, operators)
    us = model.plain(kernels) if eager else model.microseconds(kernels)
    names = np.array([one.name for one in operators])
    return StepTimes(*(int(us[np.isin(names, part)].sum() * 1e6) for part in PARTS.values()))
