"""Kernels by their shapes: the table that the timing model takes, one row a kernel."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "gemm": ("rotation",),
    "gemv": ("rotation",),
    "sparse_gemm": ("rotation", "row"),
    "attention": ("rotation", "prefills", "queries", "past", "decodes", "context"),
    "layernorm": ("residual",),
    "rmsnorm": ("residual",),
    "embedding": ("rotation",),
    "h2d": ("pageable",),
    "d2h": ("pageable",),
}
COLUMNS: Final = tuple(dict.fromkeys(c for group in (*OPERATIONS.values(), *OPTIONAL.values()) for c in group))
MEANING: Final[Mapping[str, str]] = {
    "m": "rows of a matrix product, or rows",
    "n": "outputs of a matrix product, or width of the output's rows",
    "k": "inputs of a matrix product",
    "heads": "query heads",
    "kv_heads": "heads of keys and values",
    "head_dim": "width of a head",
    "bytes": "of a transfer",
    "gpus": "that take part",
    "rotation": "copies of its weights (keys and values, embedding rows) over which a benchmark cycles; 0: cold",
    "row": "elements of a gathered row; 0: k",
    "prefills": "sequences with `queries` new tokens each, on `past` cached ones",
    "queries": "new tokens of a prefill",
    "past": "cached tokens of a prefill",
    "decodes": "sequences with one new token each",
    "context": "tokens of a decode, with the new one",
    "residual": "1: the norm first adds another input",
    "pageable": "1: host memory that is not pinned",
}
"""What the columns of a shape say."""


MAX_BYTES: Final = float(1 << 40)
FLAGS: Final = ("residual", "pageable")


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
    table = empty_table(len(rows))
    given = np.zeros(table.shape.shape, np.bool_)
    for i, (op, dtype, shape) in enumerate(rows):
        fault = fault_of_names(op, dtype, shape)
        if fault:
            raise InputError(f"kernel {i + 1}: {fault}")
        table.op[i], table.dtype[i] = op_index(op), dtype_index(dtype)
        for name, value in shape.items():
            table.shape[i, COLUMNS.index(name)], given[i, COLUMNS.index(name)] = value, True
    for i, fault in sorted(faults_of_shapes(table, given).items()):
        raise InputError(f"kernel {i + 1}: {fault}")
    return table


def empty_table(n: int) -> Kernels:
    """Return a table of n kernels to be filled, and then checked by `faults_of_shapes`."""
    return Kernels(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, len(COLUMNS))))


def op_index(op: str) -> int:
    """Return the place of an operation in OPERATIONS, or -1."""
    return OP_NAMES.index(op) if op in OPERATIONS else -1


def dtype_index(dtype: str) -> int:
    """Return the place of a number format (of what it is a synonym of) in DTYPES, or -1."""
    dtype = SYNONYMS.get(dtype, dtype)
    return DTYPE_NAMES.index(dtype) if dtype in DTYPES else -1


def fault_of_names(op: str, dtype: str, columns: Iterable[str] = ()) -> str:
    """Return what is wrong with the names of an operation, a number format and columns, or an empty string."""
    if op_index(op) < 0:
        return f"op: expected one of {', '.join(OPERATIONS)}, found '{op}'"
    if dtype_index(dtype) < 0:
        return f"dtype: expected one of {', '.join(DTYPES)}, found '{dtype}'"
    for name in columns:
        if name not in COLUMNS:
            return f"{name}: expected columns among {', '.join(COLUMNS)}, found this one"
    return ""


def faults_of_shapes(table: Kernels, given: NDArray[np.bool_]) -> dict[int, str]:
    """Return the first fault of each faulty row, by row, and write 1 for m where a gemv has none.

    given: bool [n, len(COLUMNS)], which cells hold a number. Rows whose op or dtype is -1 are passed over.
    """
    faults: dict[int, str] = {}
    for index, op in enumerate(OPERATIONS):
        rows = np.flatnonzero((table.op == index) & (table.dtype >= 0))
        if op == "gemv":
            without = rows[~given[rows, 0]]
            table.shape[without, 0], given[without, 0] = 1, True
        if len(rows):
            for row, fault in (*_faults_of_cells(op, table, given, rows), *_faults_of_size(op, table, rows)):
                faults.setdefault(row, fault)
    return faults


def _faults_of_cells(
    op: str, table: Kernels, given: NDArray[np.bool_], rows: NDArray[np.int64]
) -> Iterator[tuple[int, str]]:
    for j, name in enumerate(COLUMNS):
        here, value = given[rows, j], table.shape[rows, j]
        needed = name in OPERATIONS[op]
        if needed:
            for row in rows[~here].tolist():
                yield row, f"{name}: expected a positive number for {op}, found nothing"
        elif name not in OPTIONAL.get(op, ()):
            for row in rows[here].tolist():
                yield row, f"{name}: expected nothing for {op}, found {table.shape[row, j]:g}"
            continue
        least, most = (1 if needed else 0), (1 if name in FLAGS else MAX_BYTES)
        good = (value >= least) & (value <= most) & (value == np.floor(value))
        for row in rows[here & ~good].tolist():
            allowed = "0 or 1" if name in FLAGS else f"an integer from {least} to 2^40"
            yield row, f"{name}: expected {allowed} for {op}, found {table.shape[row, j]:g}"


def _faults_of_size(op: str, table: Kernels, rows: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    at = {name: np.nan_to_num(table.shape[rows, j], posinf=0) for j, name in enumerate(COLUMNS)}
    kinds = DTYPES.values()
    weight = np.array([kind.weight for kind in kinds])[table.dtype[rows]]
    activation = np.array([kind.activation for kind in kinds])[table.dtype[rows]]
    if op == "gemv":
        for i in np.flatnonzero(at["m"] != 1).tolist():
            yield int(rows[i]), f"m: expected 1 for gemv, found {at['m'][i]:g}"
    if op == "attention":
        new, decodes = at["prefills"] * at["queries"], at["decodes"]
        for row in rows[(new == 0) & (decodes * at["context"] == 0)].tolist():
            yield row, "expected prefills and queries, or decodes and context, for attention, found neither"
        for i in np.flatnonzero(at["heads"] % np.maximum(at["kv_heads"], 1)).tolist():
            yield (
                int(rows[i]),
                f"heads: expected a multiple of kv_heads {at['kv_heads'][i]:g}, found {at['heads'][i]:g}",
            )
        tokens = at["prefills"] * (at["past"] + at["queries"]) + decodes * at["context"]
        size = activation * at["head_dim"] * (2 * at["kv_heads"] * tokens + 2 * at["heads"] * new)
    elif "bytes" in OPERATIONS[op]:
        size = at["bytes"]
    else:
        size = activation * at["m"] * (at["n"] + at["k"]) + weight * at["n"] * at["k"]
    for i in np.flatnonzero(size > MAX_BYTES).tolist():
        yield int(rows[i]), f"expected at most 2^40 bytes, found {size[i]:.3g}"
