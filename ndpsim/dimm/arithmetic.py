"""The unit's arithmetic, bit for bit as `arithmetic` in isa/ndp.toml defines it.

Kernels work on uint16 views of FP16 and BF16 (Numba has no such types on the CPU), on int8, int32 and float32. They
are compiled without fast-math: LLVM may vectorise over independent lanes, and may neither fuse nor reorder.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.isa import codes
from ndpsim.jit import njit

NAN_BITS = np.uint32(0x7FC00000)


class ReadRows(NamedTuple):
    """The rows that a matrix instruction visits.

    memory: the region as elements (uint16 for FP16 and BF16, int8, or uint8 for plain moves); base, stride, cols in
    elements; the rows are lists[first + k] (listed = 1) or first + k, for k < length. masks: row k takes part in the
    sequences of which lists[masks + k] has the bit, or in all if -1.
    """

    memory: NDArray[Any]
    base: int
    stride: int
    cols: int
    lists: NDArray[np.uint32]
    listed: int
    first: int
    length: int
    masks: int


@njit
def _widen_bits(h: int) -> int:
    """Binary16 bits as binary32 bits; every NaN becomes the canonical one."""
    sign = (h & 0x8000) << 16
    exponent = h >> 10 & 0x1F
    fraction = h & 0x3FF
    if exponent == 0x1F:
        return 0x7FC00000 if fraction else sign | 0x7F800000
    if exponent == 0:
        if fraction == 0:
            return sign
        shift = 0
        while fraction & 0x400 == 0:
            fraction <<= 1
            shift += 1
        return sign | (113 - shift) << 23 | (fraction & 0x3FF) << 13
    return sign | (exponent + 112) << 23 | fraction << 13


@njit
def _widen_table(bf16: bool) -> NDArray[np.float32]:
    bits = np.empty(1 << 16, np.uint32)
    for h in range(1 << 16):
        if bf16:
            bits[h] = 0x7FC00000 if h & 0x7FFF > 0x7F80 else h << 16
        else:
            bits[h] = _widen_bits(h)
    return bits.view(np.float32)


@njit
def fill_widen_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the value of every FP16 and of every BF16 bit pattern, float32[65536] each."""
    return _widen_table(False), _widen_table(True)


@njit
def canonical(values: NDArray[np.float32]) -> None:
    """Make every NaN of float32[n] the canonical one."""
    bits = values.view(np.uint32)
    for i in range(values.shape[0]):
        if bits[i] & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
            bits[i] = NAN_BITS


@njit
def _tree(partial: NDArray[np.float32]) -> np.float32:
    h = codes.PARTIAL_SUMS // 2
    while h > 0:
        for i in range(h):
            partial[i] = partial[i] + partial[i + h]
        h //= 2
    return partial[0]


@njit
def _row(rows: ReadRows, k: int) -> NDArray[Any]:
    number = int(rows.lists[rows.first + k]) if rows.listed == 1 else rows.first + k
    at = rows.base + number * rows.stride
    return rows.memory[at : at + rows.cols]


@njit
def _takes_part(rows: ReadRows, k: int, sequence: int) -> bool:
    return rows.masks < 0 or int(rows.lists[rows.masks + k]) >> sequence & 1 == 1


@njit
def dot_16(rows: ReadRows, table: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """y[b, k] = dot product of row k and x[b], or +0 where the row takes no part in sequence b.

    x: [batch, cols], y: [batch, length], table widens an element.
    """
    partial = np.empty(codes.PARTIAL_SUMS, np.float32)
    wide = np.empty(rows.cols, np.float32)
    whole = rows.cols // codes.PARTIAL_SUMS * codes.PARTIAL_SUMS
    for k in range(rows.length):
        row = _row(rows, k)
        for i in range(rows.cols):
            wide[i] = table[row[i]]
        for b in range(x.shape[0]):
            if not _takes_part(rows, k, b):
                y[b, k] = np.float32(0)
                continue
            vector = x[b]
            partial[:] = np.float32(0)
            for i in range(0, whole, codes.PARTIAL_SUMS):
                for j in range(codes.PARTIAL_SUMS):
                    partial[j] = partial[j] + wide[i + j] * vector[i + j]
            for i in range(whole, rows.cols):
                partial[i - whole] = partial[i - whole] + wide[i] * vector[i]
            y[b, k] = _tree(partial)


@njit
def axpy_16(rows: ReadRows, table: NDArray[np.float32], a: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """y[b] += a[b, k] * row k, for k in order where the row takes part in sequence b.

    a: [batch, length], y: [batch, cols], table as in `dot_16`.
    """
    wide = np.empty(rows.cols, np.float32)
    for k in range(rows.length):
        row = _row(rows, k)
        for i in range(rows.cols):
            wide[i] = table[row[i]]
        for b in range(a.shape[0]):
            if not _takes_part(rows, k, b):
                continue
            scale = a[b, k]
            out = y[b]
            for i in range(rows.cols):
                out[i] = out[i] + scale * wide[i]


@njit
def dot_8(rows: ReadRows, x: NDArray[np.int8], y: NDArray[np.int32]) -> None:
    """y[b, k] = dot product of row k and x[b], modulo 2^32, or 0 where the row takes no part in sequence b."""
    for k in range(rows.length):
        row = _row(rows, k)
        for b in range(x.shape[0]):
            vector = x[b]
            total = np.int32(0)
            for i in range(rows.cols if _takes_part(rows, k, b) else 0):
                total = np.int32(total + np.int32(row[i]) * np.int32(vector[i]))
            y[b, k] = total


@njit
def axpy_8(rows: ReadRows, a: NDArray[np.int8], y: NDArray[np.int32]) -> None:
    """y[b] += a[b, k] * row k, modulo 2^32, where the row takes part in sequence b."""
    for k in range(rows.length):
        row = _row(rows, k)
        for b in range(a.shape[0]):
            if not _takes_part(rows, k, b):
                continue
            scale = np.int32(a[b, k])
            out = y[b]
            for i in range(rows.cols):
                out[i] = np.int32(out[i] + scale * np.int32(row[i]))


@njit
def _exp(x: np.float32) -> np.float32:
    if x != x:
        return x
    if x > np.float32(88.72283):
        return np.float32(np.inf)
    if x < np.float32(-87.33654):
        return np.float32(0)
    k = np.float32(np.rint(x * np.float32(1.44269504)))
    r = (x - k * np.float32(0.693359375)) - k * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    y = (p * (r * r) + r) + np.float32(1)
    n = int(k)
    half = n >> 1
    return (y * _power_of_two(half)) * _power_of_two(n - half)


@njit
def _power_of_two(k: int) -> np.float32:
    return np.float32(np.ldexp(1.0, k))


@njit
def silu(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """y = x / (1 + exp(-x)), float32[n]; y may be x."""
    one = np.float32(1)
    for i in range(x.shape[0]):
        y[i] = x[i] / (one + _exp(-x[i]))


@njit
def gelu(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """The tanh form of GELU, float32[n]; y may be x."""
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    for i in range(x.shape[0]):
        v = x[i]
        u = np.float32(0.79788456) * (v + np.float32(0.044715) * ((v * v) * v))
        t = one - two / (_exp(two * u) + one)
        y[i] = (half * v) * (one + t)


@njit
def relu(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """y = x where x > 0, NaN where x is NaN, else +0; float32[n]; y may be x."""
    for i in range(x.shape[0]):
        if not x[i] > np.float32(0) and x[i] == x[i]:
            y[i] = np.float32(0)
        else:
            y[i] = x[i]


@njit
def vector_max(x: NDArray[np.float32]) -> np.float32:
    """Return NaN if float32[n] holds one, else the maximum from -infinity on (the first of equal values stays)."""
    best = np.float32(-np.inf)
    for i in range(x.shape[0]):
        if x[i] != x[i]:
            return x[i]
        if x[i] > best:
            best = x[i]
    return best


@njit
def vector_sum(x: NDArray[np.float32]) -> np.float32:
    """Sum float32[n] over the partial sums and the tree."""
    partial = np.zeros(codes.PARTIAL_SUMS, np.float32)
    for i in range(x.shape[0]):
        lane = i % codes.PARTIAL_SUMS
        partial[lane] = partial[lane] + x[i]
    return _tree(partial)


@njit
def softmax(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """Softmax of one vector float32[n]; y may be x."""
    m = vector_max(x)
    for i in range(x.shape[0]):
        y[i] = _exp(x[i] - m)
    r = np.float32(1) / vector_sum(y)
    for i in range(x.shape[0]):
        y[i] = y[i] * r


@njit
def softmax_part(x: NDArray[np.float32], state: NDArray[np.float32], e: NDArray[np.float32]) -> None:
    """One part of a softmax of vectors that come in parts, float32[batch, count]; e may be x.

    state: float32[4, batch], of each vector the maximum and the sum of exponentials so far, the factor that makes
    what was relative to the maximum before relative to this one, and the reciprocal of the sum.
    """
    for b in range(x.shape[0]):
        old, m = state[0, b], vector_max(x[b])
        if m == m and not m > old:  # a NaN stays, on either side
            m = old
        for i in range(x.shape[1]):
            e[b, i] = _exp(x[b, i] - m)
        c = _exp(old - m)
        s = state[1, b] * c + vector_sum(e[b])
        state[0, b], state[1, b], state[2, b], state[3, b] = m, s, c, np.float32(1) / s


@njit
def load_rows(rows: ReadRows, place: NDArray[np.uint8]) -> None:
    """Copy rows into place, uint8[length, cols], one after the other."""
    for k in range(rows.length):
        place[k] = _row(rows, k)


@njit
def store_rows(rows: ReadRows, place: NDArray[np.uint8]) -> None:
    """Copy place, uint8[length, cols], into rows, in order of k."""
    for k in range(rows.length):
        _row(rows, k)[:] = place[k]
