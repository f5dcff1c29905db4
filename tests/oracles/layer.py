"""Elements, dot products and a single matrix in plain Python, bit for bit, written from the prose of isa/ndp.toml."""

from collections.abc import Sequence

import numpy as np

from oracles.interpreter import F, gelu, pack, relu, silu, sum_in_lanes, unpack

ACTIVATION = {"relu": relu, "silu": silu, "gelu": gelu}
UNIT = 2.0**-24  # half a unit in the last place of binary32
ROUNDING = {"f16": 2.0**-11, "bf16": 2.0**-8}  # largest relative error of a rounding to the narrow type ...
UNDERFLOW = {"f16": 2.0**-25, "bf16": 2.0**-134}  # ... and the largest absolute one among its subnormals


def values(stored: np.ndarray, kind: str) -> np.ndarray:
    """Widen stored elements (float16, uint16 bits of BF16, int8), exactly: float32, or int64 for i8."""
    if kind == "i8":
        return stored.astype(np.int64)
    bits = stored.view(np.uint16).reshape(-1).tolist()
    return np.array([unpack(kind, b.to_bytes(2, "little")) for b in bits], F).reshape(stored.shape)


def canonical(x: np.float32) -> np.float32:
    return unpack("f32", pack("f32", x))


def rounded(x: np.float32, kind: str) -> np.float32:
    """Round to a narrow type and widen again."""
    return unpack(kind, pack(kind, x))


def dot(w: np.ndarray, x: np.ndarray) -> np.float32:
    return canonical(sum_in_lanes([a * b for a, b in zip(w, x, strict=True)]))


def matrix(up: np.ndarray, x: np.ndarray, active: Sequence[int], kind: str) -> np.ndarray:
    """Return y[batch, len(active)] of a single matrix, active neurons in ascending order."""
    w, vectors = values(up, kind), values(x, kind)
    rows = sorted(int(n) for n in active)
    if kind == "i8":
        exact = [[sum(a * b for a, b in zip(w[n].tolist(), v.tolist(), strict=True)) for n in rows] for v in vectors]
        wrapped = [[(y + (1 << 31)) % (1 << 32) - (1 << 31) for y in ys] for ys in exact]
        return np.array(wrapped, np.int32).reshape(len(vectors), len(rows))
    with np.errstate(all="ignore"):
        return np.array([[dot(w[n], v) for n in rows] for v in vectors], F).reshape(len(vectors), len(rows))
