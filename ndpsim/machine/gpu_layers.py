"""The GPU's part of a decode step that it shares with DIMMs: only some neurons of each layer, and what is dense."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.kernels import COLUMNS, DTYPE_NAMES, OP_NAMES, Floats, Kernels
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.shape import ModelShape
from ndpsim.wall import GPU_MODEL

_AT: Final = {name: index for index, name in enumerate(COLUMNS)}


class LayerTimes(NamedTuple):
    """Microseconds: one value a layer, float64[layers], and of what comes behind the last layer."""

    attention_norm: Floats
    qkv: Floats
    output: Floats
    ffn_norm: Floats
    block: Floats
    head: float


@GPU_MODEL
def layer_times(
    model: GpuModel, shape: ModelShape, batch: int, channels: NDArray[np.int64], neurons: NDArray[np.int64]
) -> LayerTimes:
    """Time a decode step in which the GPU computes so many input channels of QKV and neurons of the block, [layers].

    Weights are gathered row by row; a part with nothing to compute is not launched. The output projection, the norms
    and the output head are whole.
    """
    norm = OP_NAMES.index("layernorm" if shape.norm == "layer" else "rmsnorm")
    gemm, sparse = OP_NAMES.index("gemm"), OP_NAMES.index("sparse_gemm")
    activation = OP_NAMES.index("gated_activation" if shape.gated else "activation")
    width, d, layers = shape.attention_width + 2 * shape.kv_width, shape.hidden, shape.layers
    qkv, ffn = np.maximum(channels, 1), np.maximum(neurons, 1)
    m, n, k, row = (_AT[name] for name in ("m", "n", "k", "row"))
    table = np.zeros((layers, 7, len(COLUMNS)))
    table[:, :, m] = batch
    table[:, [0, 3], n] = d
    table[:, 1, n], table[:, 1, k], table[:, 1, row] = width, qkv, width
    table[:, 2, n], table[:, 2, k] = d, shape.attention_width
    table[:, 4, n], table[:, 4, k] = (1 + shape.gated) * ffn, d
    table[:, 5, n] = ffn
    table[:, 6, n], table[:, 6, k], table[:, 6, row] = d, ffn, d
    behind = np.zeros((2, len(COLUMNS)))
    behind[:, m], behind[0, n] = batch, d
    behind[1, n], behind[1, k] = shape.vocab, d
    shapes = np.concatenate([table.reshape(-1, len(COLUMNS)), behind])
    ops = np.concatenate([np.tile([norm, sparse, gemm, norm, sparse, activation, sparse], layers), [norm, gemm]])
    dtype = np.full(len(ops), DTYPE_NAMES.index("fp16"), np.int64)
    us = model.microseconds(Kernels(ops.astype(np.int64), dtype, shapes))
    times = us[:-2].reshape(layers, 7)
    return LayerTimes(
        attention_norm=times[:, 0],
        qkv=times[:, 1] * (channels > 0),
        output=times[:, 2],
        ffn_norm=times[:, 3],
        block=times[:, 4:].sum(axis=1) * (neurons > 0),
        head=float(us[-2:].sum()),
    )
