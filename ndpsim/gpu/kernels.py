"""Kernels by their shapes: the table that the timing model takes, one row a kernel."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError

Floats = NDArray[np.float64]


class DType(NamedTuple):
    """A number format of a kernel: bytes of a weight and of an activation, and which rate of the card computes it."""

    weight: float
    activation: float
    rate: str


DTYPES: Final = {
    "fp16": DType(2, 2, "fp16"),
    "bf16": DType(2, 2, "fp16"),
    "int8": DType(1, 1, "int8"),
    "int8-weights": DType(1, 2, "fp16"),
    "int4-weights": DType(0.5, 2, "fp16"),
    "fp32": DType(4, 4, "fp32"),
}
SYNONYMS: Final = {"float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32"}

# Which columns an operation has beside op and dtype; the first are needed, the second have a default.
GEMM_COLUMNS: Final = ("m", "n", "k")
ROW_COLUMNS: Final = ("m", "n")
OPERATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "gemm": GEMM_COLUMNS,
    "gemv": GEMM_COLUMNS,
    "sparse_gemm": GEMM_COLUMNS,
    "attention": ("heads", "kv_heads", "head_dim"),
    "softmax": ROW_COLUMNS,
    "layernorm": ROW_COLUMNS,
    "rmsnorm": ROW_COLUMNS,
    "activation": ROW_COLUMNS,
    "gated_activation": ROW_COLUMNS,
    "add": ROW_COLUMNS,
    "rotary": ROW_COLUMNS,
    "embedding": ROW_COLUMNS,
    "copy": ROW_COLUMNS,
    "h2d": ("bytes",),
    "d2h": ("bytes",),
    "all_reduce": ("bytes", "gpus"),
}
DEFAULTS: Final = {
    "rotation": 0.0, "row": 0.0, "pageable": 0.0,
    "prefills": 0.0, "queries": 0.0, "past": 0.0, "decodes": 0.0, "context": 0.0,
}  # fmt: skip
OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "gemm": ("rotation",),
    "gemv": ("rotation",),
    "sparse_gemm": ("rotation", "row"),
    "attention": ("rotation", "prefills", "queries", "past", "decodes", "context"),
    "h2d": ("pageable",),
    "d2h": ("pageable",),
}
COLUMNS: Final = tuple(dict.fromkeys(c for group in (*OPERATIONS.values(), *OPTIONAL.values()) for c in group))
"""m, n, k: rows, outputs and inputs of a matrix product, or rows and width. rotation: over how many copies of its
weights (of its keys and values) a benchmark cycles, which decides what of them the L2 still holds; 0 = cold, as in a
model. row: elements of a gathered row (k if 0). prefills x queries new tokens on `past` cached ones and `decodes`
single tokens on `context` cached ones make up an attention kernel. bytes, gpus: of a transfer."""

MAX_BYTES: Final = float(1 << 40)


class Kernels(NamedTuple):
    """n kernels: `op` and `dtype` [n] (indices into OPERATIONS and DTYPES), `shape` float64 [n, len(COLUMNS)]."""

    op: NDArray[np.int64]
    dtype: NDArray[np.int64]
    shape: Floats

    def column(self, name: str) -> Floats:
        """Return a column of the shapes as a view [n]."""
        return self.shape[:, COLUMNS.index(name)]

    def __len__(self) -> int:
        return len(self.op)


OP_NAMES: Final = tuple(OPERATIONS)
DTYPE_NAMES: Final = tuple(DTYPES)


def kernels(rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> Kernels:
    """Make a table of (operation, dtype, {column: value}).

    Raises:
        InputError: an unknown operation, dtype or column, a missing column, a size of zero, or more than 2^40 bytes.
    """
    table = Kernels(np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64), np.zeros((len(rows), len(COLUMNS))))
    for i, (op, dtype, shape) in enumerate(rows):
        fault = fill_row(table, i, op, dtype, shape)
        if fault:
            raise InputError(f"kernel {i + 1}: {fault}")
    return table


def fill_row(table: Kernels, i: int, op: str, dtype: str, shape: Mapping[str, float]) -> str:
    """Write a kernel into row i; return what is wrong with it, or an empty string."""
    dtype = SYNONYMS.get(dtype, dtype)
    if op not in OPERATIONS:
        return f"op: expected one of {', '.join(OPERATIONS)}, found '{op}'"
    if dtype not in DTYPES:
        return f"dtype: expected one of {', '.join(DTYPES)}, found '{dtype}'"
    table.op[i], table.dtype[i] = OP_NAMES.index(op), DTYPE_NAMES.index(dtype)
    optional = OPTIONAL.get(op, ())
    for name in OPERATIONS[op]:
        if name not in shape:
            if op == "gemv" and name == "m":
                table.shape[i, COLUMNS.index("m")] = 1
                continue
            return f"{name}: expected a positive number for {op}, found nothing"
    for name, value in shape.items():
        if name not in OPERATIONS[op] and name not in optional:
            return f"{name}: expected nothing for {op}, found {value:g}"
        least = 1 if name in OPERATIONS[op] else 0
        if not least <= value <= MAX_BYTES or value != int(value):
            return f"{name}: expected an integer from {least} to 2^40 for {op}, found {value:g}"
        table.shape[i, COLUMNS.index(name)] = value
    return _size_fault(table, i, op, dtype)


def _size_fault(table: Kernels, i: int, op: str, dtype: str) -> str:
    at = {name: table.shape[i, j] for j, name in enumerate(COLUMNS)}
    if op == "gemv" and at["m"] != 1:
        return f"m: expected 1 for gemv, found {at['m']:g}"
    if op == "attention":
        new, decodes = at["prefills"] * at["queries"], at["decodes"]
        if not new and not (decodes and at["context"]):
            return "expected prefills and queries, or decodes and context, for attention, found neither"
        if at["heads"] % at["kv_heads"]:
            return f"heads: expected a multiple of kv_heads {at['kv_heads']:g}, found {at['heads']:g}"
        tokens = at["prefills"] * (at["past"] + at["queries"]) + decodes * at["context"]
        size = DTYPES[dtype].activation * at["head_dim"] * (2 * at["kv_heads"] * tokens + 2 * at["heads"] * new)
    elif "bytes" in OPERATIONS[op]:
        size = at["bytes"]
    else:
        kind = DTYPES[dtype]
        size = kind.activation * at["m"] * (at["n"] + at["k"]) + kind.weight * at["n"] * at["k"]
    if size > MAX_BYTES:
        return f"expected at most 2^40 bytes, found {size:.3g}"
    return ""
