"""A compiled layer in plain Python: the numbers that come out of it, bit for bit, and how exact they have to be.

Written from the prose of isa/ndp.toml and from what ndpsim/compiler promises in words: every DIMM adds the neurons that
it owns in ascending order, and the partial results meet as p0 + (p1 + (p2 + ...)), DIMMs without an active neuron left
out.
"""

from collections.abc import Sequence
from fractions import Fraction

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


def block(
    weights: dict[str, np.ndarray],
    x: np.ndarray,
    active: Sequence[int],
    owner: Sequence[int],
    dimms: int,
    *,
    kind: str,
    activation: str,
    gated: bool,
) -> np.ndarray:
    """Return y float32[batch, width] of a feed-forward block."""
    wide = {name: values(w, kind) for name, w in weights.items()}
    shares = [sorted(int(n) for n in active if owner[n] == d) for d in range(dimms)]
    with np.errstate(all="ignore"):
        return np.array([token(wide, v, shares, kind, ACTIVATION[activation], gated) for v in values(x, kind)], F)


def token(wide, x, shares, kind, act, gated):
    """Return y float32[width] for one input vector."""
    partials = []
    for share in shares:
        if not share:
            continue
        y = [F(0)] * len(x)
        for n in share:
            up = dot(wide["up"][n], x)
            h = canonical(act(dot(wide["gate"][n], x))) * up if gated else act(up)
            a = rounded(canonical(h), kind)
            y = [p + a * w for p, w in zip(y, wide["down"][n], strict=True)]
        partials.append([canonical(p) for p in y])
    if not partials:
        return [F(0)] * len(x)
    total = partials.pop()
    while partials:
        total = [canonical(mine + rest) for mine, rest in zip(partials.pop(), total, strict=True)]
    return total


def relu_block_and_bound(weights, x, active, dimms, kind):
    """Return the exact y of a ReLU block without a gate, and how far from it the stated bounds allow y to be.

    With u = 2^-24: a dot product of n elements is off by at most (ceil(n / 128) + 8) u sum |w x|, which ReLU does not
    enlarge; rounding to the narrow type adds its own relative error; then N scaled rows and the sum over D DIMMs add
    (N + 1 + D - 1) u sum |a w|. All to first order; a hundredth more covers the rest.
    """
    up, down, vectors = (values(a, kind).astype(np.float64) for a in (weights["up"], weights["down"], x))
    rows = sorted(int(n) for n in active)
    up, down = up[rows], down[rows]
    batch, width = vectors.shape
    exact, bound = np.zeros((batch, width)), np.zeros((batch, width))
    for b, v in enumerate(vectors):
        h = np.array([float(sum(Fraction(p) * Fraction(q) for p, q in zip(w, v, strict=True))) for w in up])
        off = (-(-width // 128) + 8) * UNIT * (np.abs(up) * np.abs(v)).sum(axis=1)
        a = np.maximum(h, 0)
        off = off + ROUNDING[kind] * (a + off) + UNDERFLOW[kind]
        exact[b] = a @ down
        reach = (a + off) @ np.abs(down)
        bound[b] = off @ np.abs(down) + (len(rows) + dimms) * UNIT * reach
    return exact, 1.01 * bound
