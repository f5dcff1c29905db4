"""A sum of scaled rows over all DIMMs, y[batch, width] = a @ rows, tile by tile: what projections and blocks end with.

A DIMM adds its rows in the order of its list, from +0; see `ndpsim.compiler.merge` for what follows. The result of a
tile of columns is returned, [batch, columns], before the next one is begun at DIMM 0.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.masks import listed
from ndpsim.compiler.merge import Words, aligned, merge
from ndpsim.compiler.tiles import SumPlan, cut
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array

_mat, _axpy, _fill, _hin = (encoder(name) for name in ("mat", "axpy", "fill", "hin"))


@lru_cache(maxsize=1 << 14)
def matrices(type_: int, offsets: tuple[int, ...], rows: int, columns: tuple[int, int], stride: int) -> Words:
    """Set matrix registers from m0 on to some columns (first and number) of matrices that begin at `offsets`."""
    first, cols = columns
    offset = first * codes.TYPE_BYTES[type_] // codes.ATOM_BYTES
    return words_to_array([_mat(type_, m, at + offset, rows, cols, stride) for m, at in enumerate(offsets)])


@lru_cache(maxsize=1 << 14)
def _added(plan: SumPlan, cols: int, rows: int, masked: bool) -> Words:
    """Add `rows` scaled rows of m0 into a tile of columns."""
    words = [_fill(plan.y, 0, plan.batch * cols)]
    for t, (first, count) in enumerate(cut(rows, plan.tile)):
        a = plan.a + t * plan.step
        if plan.step == 0:
            words.append(_hin(a, aligned(plan.batch * count * codes.TYPE_BYTES[plan.type])))
        words += [*listed(first, count, rows + first if masked else None), _axpy(0, 0, a, plan.y, plan.batch)]
    return words_to_array(words)


def row_sum(
    plan: SumPlan, base: int, held: int, dimm: int, rows: int, last: int, gpu: bool, masked: bool
) -> list[Words]:
    """Return one DIMM's part of the sum; its scale factors are in the buffer, unless the plan has no place for all.

    base, held: of the matrix in this DIMM, its first atom and its rows; rows: how many it adds, the first ones of
    its list section; last, gpu: as for `merge`; masked: whether masks follow them there.
    """
    parts = []
    for first, cols in plan.columns:
        if rows:
            parts += [matrices(plan.type, (base,), held, (first, cols), plan.stride), _added(plan, cols, rows, masked)]
        parts.append(merge(dimm, rows > 0, last, plan.y, plan.incoming, plan.batch * cols, gpu, plan.piece))
    return parts


def padded(values: NDArray[np.generic]) -> bytes:
    """Return the bytes of an array up to the next buffer alignment."""
    raw = np.ascontiguousarray(values).tobytes()
    return raw.ljust(aligned(len(raw)), b"\0")


def sum_input(plan: SumPlan, a: NDArray[np.generic] | None, gpu: NDArray[np.float32] | None) -> list[bytes]:
    """Return what the host sends to a DIMM during its part of the sum.

    a: its scale factors [batch, rows], if they are brought for each tile of columns; gpu: float32[batch, width], the
    partial result of the GPU, if this is DIMM 0 and there is one.
    """
    parts = []
    for first, cols in plan.columns:
        if a is not None:
            parts += [padded(a[:, at : at + count]) for at, count in cut(a.shape[1], plan.tile)]
        if gpu is not None:
            parts.append(padded(gpu[:, first : first + cols]))
    return parts


def sum_result(plan: SumPlan, host_out: Sequence[bytes]) -> NDArray[np.float32]:
    """Read what DIMM 0 returned: float32[batch, width]."""
    values, at = np.frombuffer(host_out[0], np.float32), 0
    y = np.empty((plan.batch, plan.width), np.float32)
    for first, cols in plan.columns:
        y[:, first : first + cols] = values[at : at + plan.batch * cols].reshape(plan.batch, cols)
        at += plan.batch * cols
    return y
