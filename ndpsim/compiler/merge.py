"""The merge of the DIMMs' partial results, and the programs that it ends.

The partial results meet in a chain over DIMM-Link: y = p0 + (p1 + (p2 + ...)), from the last DIMM with one down to
DIMM 0. DIMMs on the way without one pass on what they receive. The GPU's partial result g, if there is one, is added
at DIMM 0 when the chain has ended, y + g, and y is returned to the host. The chain is cut in pieces so that hops
overlap. Without any partial result of a DIMM, y is +0 before g is added.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.placement import LayerPlacement
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, relocated, words_to_array
from ndpsim.isa.program import Joined, Program, Regions
from ndpsim.isa.spec import isa
from ndpsim.jit import njit

MOST_SEQUENCES = (1 << isa().fields["batch"].width) - 1
"""Sequences that an instruction handles together, at most."""

Words = NDArray[np.uint64]
"""Encoded instructions, uint64[n, 2]."""
Share = NDArray[np.uint32]
"""Rows of one DIMM that a token needs, in the order in which they are computed, uint32[n]."""
Shares = Sequence[NDArray[np.integer]] | Joined
"""Rows of all DIMMs: one array for each of them, or, which saves time, joined uint32[n]."""

_fill, _add, _hin, _hout = (encoder(name) for name in ("fill", "add", "hin", "hout"))
_send, _recv, _end = (encoder(name) for name in ("send", "recv", "end"))
END = words_to_array([_end()])


def aligned(size: int) -> int:
    """Round bytes up to where the next buffer operand may start."""
    return -(-size // codes.ALIGNMENT) * codes.ALIGNMENT


def incoming_bytes(y_bytes: int, merged: bool, piece: int) -> int:
    """Bytes of buffer in which a piece of another partial result arrives, if there is another one."""
    return min(y_bytes, piece) if merged else 0


def _piece_values(piece: int) -> int:
    """FP32 values of a piece of so many bytes."""
    return piece // 4


@lru_cache(maxsize=1 << 14)
def merge(dimm: int, works: bool, last: int, y: int, incoming: int, count: int, gpu: bool, piece: int) -> Words:
    """Return one DIMM's part in the merge of `count` FP32 values at buffer address `y`.

    works: whether the DIMM has a partial result; last: the last DIMM that has one (0 if none has), `dimm` is not behind
    it; incoming: where pieces arrive; gpu: whether the host sends a partial result of the GPU to DIMM 0; piece: bytes
    of a piece.
    """
    f32 = isa().types["f32"].code
    step = _piece_values(piece)
    pieces = [(y + 4 * first, min(step, count - first)) for first in range(0, count, step)]
    words = []
    for at, size in pieces:
        if dimm < last:
            words.append(_recv(incoming if works else at, 4 * size, dimm + 1))
            if works:
                words.append(_add(f32, at, incoming, at, size))
        elif not works:
            words.append(_fill(at, 0, size))
        if dimm > 0:
            words.append(_send(at, 4 * size, dimm - 1))
    if dimm == 0:
        if gpu:
            for at, size in pieces:
                words += [_hin(incoming, 4 * size), _add(f32, at, incoming, at, size)]
        words.append(_hout(y, 4 * count))
    return words_to_array(words)


def gpu_part(streams: Joined, tiles: Sequence[int], works: bool, piece: int) -> int:
    """Return the instruction of DIMM 0 at which it first waits for the GPU's partial result, its first `hin` of it.

    streams: what the DIMMs run; tiles: values of each tile that is merged; works: whether any DIMM has rows; piece:
    bytes of a piece. If one
    has, the result is taken to be waited for in the last tile, which ends with `hin` and `add` of each piece, `hout`
    and `end`. If none has, the first tile has nothing else to wait for: it begins with a `fill` of each piece.
    """
    if works:
        return int(streams.starts[1]) - (2 * -(-tiles[-1] // _piece_values(piece)) + 2)
    return -(-tiles[0] // _piece_values(piece))


def last_of(counts: Sequence[int]) -> int:
    """Return the last DIMM with rows to compute, 0 if none has any."""
    return max((dimm for dimm, rows in enumerate(counts) if rows), default=0)


def shares_of(placement: LayerPlacement, active: NDArray[np.integer]) -> list[Share]:
    """Deal active neurons, int[k] in any order, out to their DIMMs: the rows of each, ascending.

    Raises InputError if a neuron does not exist or occurs twice.
    """
    given = np.asarray(active)
    if given.size and given.dtype.kind not in "iu":
        raise InputError(f"active neurons: expected their numbers, found {given.dtype}")
    given = given.astype(np.int64, copy=False).reshape(-1)
    most = placement.shape.neurons - 1
    if given.size:
        for extreme in (given.min(), given.max()):
            if not 0 <= extreme <= most:
                raise InputError(f"active neurons: expected 0 to {most}, found {extreme}")
    places, starts = placement.places
    fires = np.zeros(placement.shape.neurons, np.bool_)
    fires[places[given]] = True
    ascending = np.flatnonzero(fires)  # several times as fast as sorting
    if len(ascending) < len(given):
        raise InputError("active neurons: expected each neuron once, found one twice")
    cuts = np.searchsorted(ascending, starts).tolist()
    rows = ascending.astype(np.uint32)
    return [rows[begin:end] - start for begin, end, start in zip(cuts, cuts[1:], starts.tolist(), strict=False)]


def joined(shares: Shares) -> Joined:
    """Join what there is for the rows of each DIMM, unless it is; fractions become -1, which is never allowed."""
    if isinstance(shares, Joined):
        return shares
    integers = [part if part.dtype.kind in "iu" else np.full(len(part), -1) for part in shares]
    return Joined.of([part.astype(np.int64) for part in integers])


def checked_shares(placement: LayerPlacement, shares: Shares) -> Joined:
    """Return the shares joined, uint32; raise InputError if they are not one for each DIMM, or name a row it lacks."""
    dimms, found = len(placement.held), len(shares.starts) - 1 if isinstance(shares, Joined) else len(shares)
    if found != dimms:
        raise InputError(f"{placement.name}: expected rows of {dimms} DIMMs, found {found}")
    rows = joined(shares)
    dimm = _without_a_row(rows.values, rows.starts, placement.held)
    if dimm >= 0:
        held = placement.held[dimm]
        raise InputError(f"{placement.name}: DIMM {dimm}: expected rows from 0 to {held - 1}, found others")
    return Joined(rows.values.astype(np.uint32, copy=False), rows.starts)


@njit
def _without_a_row(rows: NDArray[np.integer], starts: NDArray[np.int64], held: NDArray[np.int64]) -> int:
    """Return the first DIMM that lacks a row of its share, or -1."""
    for dimm in range(len(held)):
        for at in range(starts[dimm], starts[dimm + 1]):
            row = np.int64(rows[at])
            if row < 0 or row >= held[dimm]:
                return dimm
    return -1


def checked_batch(batch: int) -> int:
    """Return a number of sequences; raise InputError if an instruction cannot say it."""
    if not 1 <= batch <= MOST_SEQUENCES:
        raise InputError(f"batch: expected 1 to {MOST_SEQUENCES}, found {batch}")
    return batch


def assemble(
    machine: str, streams: Joined, lists: Joined, regions: Regions, first_atom: int, *, mark: int = -1
) -> Program:
    """Make a program of the words of all DIMMs, encoded for matrices from atom 0 on, for those at `first_atom`.

    mark: an instruction of DIMM 0 of which the time of its start is asked; -1 for none.
    """
    words = Joined(relocated(streams.values, first_atom), streams.starts)
    return Program(machine, words, lists, regions, mark)
