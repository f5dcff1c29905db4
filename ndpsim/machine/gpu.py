"""The GPU of a machine: the operators of a step as kernels of its timing model.

Residual additions are fused into the norm that follows them, as serving engines do; that of the first layer counts as
if it had one. Sequences of one attention kernel are taken at their means: all prefills alike, all decodes alike.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ndpsim.gpu.kernels import COLUMNS, DTYPE_NAMES, OP_NAMES, Floats, Kernels
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.graph import AttentionSizes, Linear, Operator
from ndpsim.llm.shape import ModelShape, Precision
from ndpsim.wall import GPU_MODEL

WEIGHT_DTYPES: Final[dict[Precision, str]] = {"fp16": "fp16", "int8": "int8-weights", "int4": "int4-weights"}
_ROWS: Final = {"norm": "rmsnorm", "rotary": "rotary", "embedding": "embedding", "activation": "activation"}
_AT: Final = {name: index for index, name in enumerate(COLUMNS)}


def kernels_of(shape: ModelShape, operators: Sequence[Operator], weights: Precision = "fp16") -> Kernels:
    """Return the kernels [n] of operators, in their order; those that are fused into others are left out."""
    kept = [one for one in operators if one.kind != "elementwise"]
    table = Kernels(np.zeros(len(kept), np.int64), np.zeros(len(kept), np.int64), np.zeros((len(kept), len(COLUMNS))))
    fp16 = DTYPE_NAMES.index("fp16")
    for i, one in enumerate(kept):
        row = table.shape[i]
        table.dtype[i] = fp16
        if isinstance(one.shape, Linear):
            name = "gemm"
            row[_AT["m"]], row[_AT["n"]], row[_AT["k"]] = one.shape
            if one.name != "lm_head":
                table.dtype[i] = DTYPE_NAMES.index(WEIGHT_DTYPES[weights])
        elif isinstance(one.shape, AttentionSizes):
            name = "attention"
            _attention(row, one.shape)
        else:
            name = _ROWS[one.kind]
            if name == "rmsnorm" and shape.norm == "layer":
                name = "layernorm"
            if name == "activation" and shape.gated:
                name = "gated_activation"
            row[_AT["m"]], row[_AT["n"]] = one.shape
            row[_AT["residual"]] = one.kind == "norm" and (one.name != "ffn_norm" or shape.block == "sequential")
        table.op[i] = OP_NAMES.index(name)
    return table


def _attention(row: Floats, shape: AttentionSizes) -> None:
    row[_AT["heads"]], row[_AT["kv_heads"]], row[_AT["head_dim"]] = shape.heads, shape.kv_heads, shape.head_width
    queries, contexts = np.array(shape.queries), np.array(shape.contexts)
    decode = queries == 1
    if decode.any():
        row[_AT["decodes"]], row[_AT["context"]] = decode.sum(), contexts[decode].mean()
    if not decode.all():
        row[_AT["prefills"]], row[_AT["queries"]] = (~decode).sum(), queries[~decode].mean()
        row[_AT["past"]] = (contexts - queries)[~decode].mean()


@GPU_MODEL
def step_microseconds(
    model: GpuModel, shape: ModelShape, operators: Sequence[Operator], weights: Precision = "fp16"
) -> float:
    """Return the time of a whole step on one GPU, its kernels in a CUDA graph."""
    kernels = kernels_of(shape, operators, weights)
    repeat = np.array([one.repeat for one in operators if one.kind != "elementwise"])
    return float(model.microseconds(kernels) @ repeat)
