"""Tiles: how much of an operator the buffer holds at a time.

Vectors of a batch that do not fit are cut in tiles of columns, and lists of rows in tiles of rows. Tiles of columns are
whole bursts of DRAM, so that every byte of a weight is read once, whatever the tiles are. Every tile of rows or columns
is a stream instruction of its own, which costs a start and an end; the search takes the plan with the fewest of them,
and of equals the one with the widest tiles, which brings the inputs least often.

Two orders of a feed-forward block are weighed against each other. *Fused*: inputs and results stay in the buffer, each
tile of neurons is computed and added into the results at once. *Split*: all neurons are computed first, with tiles of
the inputs brought as often as there are tiles of neurons; only their narrow values stay in the buffer while tiles of
the results are then made and merged one after the other, in the place of the inputs.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ndpsim.compiler.merge import MOST_SEQUENCES, aligned, incoming_bytes
from ndpsim.compiler.placement import LayerShape
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.spec import isa

GRAIN = 64
"""Plans are made for numbers of rows rounded up to this, so that tokens share plans and what is encoded for them."""


_LINE, _MOST_BUFFER = 64, 1 << 24
"""Bytes that a buffer has a multiple of, and at most."""
P = TypeVar("P")


class Room(NamedTuple):
    """What a plan has to make do with: bytes of the buffer; bursts that a rank's slice of the MAC array takes at once;
    whether another partial result is added, so that a piece of it has to have a place; and bytes of such a piece."""

    buffer_bytes: int
    queue: int
    merged: bool
    piece: int

    @classmethod
    def of(cls, machine: Machine, gpu: bool) -> "Room":
        """Return that of a machine; gpu: whether a partial result of the GPU is added."""
        config = machine.config
        merged, piece = gpu or machine.dimms > 1, config.software.merge_piece.value
        return cls(machine.buffer_bytes, config.unit.return_queue.value, merged, piece)


@dataclass(frozen=True, eq=False)
class SumPlan:
    """Tiles of a sum of scaled rows: y[batch, width] += a[batch, n] @ rows, in tiles of `cols` columns and `tile` rows.

    a: buffer address of the scale factors of the first tile of rows; step: bytes from tile to tile, 0 where they do not
    all fit and are brought anew for each tile of columns; y, incoming: addresses of the result and of a piece of
    another one; piece: bytes of such a piece.
    """

    width: int
    batch: int
    type: int
    cols: int
    tile: int
    a: int
    step: int
    y: int
    incoming: int
    piece: int

    @property
    def stride(self) -> int:
        """Atoms from row to row."""
        return -(-self.width * codes.TYPE_BYTES[self.type] // codes.ATOM_BYTES)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """First column and number of columns of each tile."""
        return cut(self.width, self.cols)


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """Tiles of a feed-forward block of some shape: inputs in tiles of `cols` columns, and the sum of its second half.

    x, gate, up, part: buffer addresses of the inputs, of the FP32 values of a tile of neurons, and of their part from
    one tile of columns; fused: see above.
    """

    shape: LayerShape
    cols: int
    x: int
    gate: int
    up: int
    part: int
    fused: bool
    sums: SumPlan

    @property
    def columns(self) -> list[tuple[int, int]]:
        """First column and number of columns of each tile of the inputs."""
        return cut(self.sums.width, self.cols)


def cut(total: int, tile: int) -> list[tuple[int, int]]:
    """Cut a range in tiles: the first element and the number of elements of each."""
    return [(first, min(tile, total - first)) for first in range(0, total, tile)]


def grained(rows: int, held: int) -> int:
    """Return the number of rows for which a plan is made: at least 1, at most what a DIMM holds."""
    return max(min(-(-rows // GRAIN) * GRAIN, held), 1)


def _widths(width: int, size: int, queue: int) -> Iterator[tuple[int, int]]:
    """Yield numbers of tiles and the columns of each, the widest first; size: bytes of an element.

    queue: bursts that a rank's slice of the MAC array takes at once. Tiles of many bursts are whole runs of so many:
    a MAC array that fills up before it works loses no time.
    """
    burst = codes.ATOM_BYTES // size
    bursts = -(-width // burst)
    before = 0
    for tiles in range(1, bursts + 1):
        each = -(-bursts // tiles)
        each = each if each < queue else -(-each // queue) * queue
        if each != before:
            yield -(-bursts // each), min(each * burst, width)
        before = each


@lru_cache(maxsize=1 << 12)
def sum_plan(width: int, type_: str, batch: int, rows: int, room: Room) -> SumPlan | None:
    """Plan a sum of at most `rows` scaled rows whose scale factors the host sends; None if no tiles fit the buffer."""
    buffer_bytes, queue, merged, piece = room
    size = isa().types[type_].bits // 8
    best: tuple[int, SumPlan] | None = None
    for tiles, cols in _widths(width, size, queue):
        if best is not None and tiles >= best[0]:
            break
        y_bytes = 4 * batch * cols
        incoming = incoming_bytes(y_bytes, merged, piece)
        tile = min((buffer_bytes - y_bytes - incoming - codes.ALIGNMENT) // (batch * size), rows)
        if tile < 1:
            continue
        streams = tiles * -(-rows // tile)
        if best is None or streams < best[0]:
            a_bytes = aligned(batch * tile * size)
            step = a_bytes if tile == rows else 0
            y = a_bytes
            kind = isa().types[type_].code
            best = streams, SumPlan(width, batch, kind, cols, tile, 0, step, y, y + y_bytes, piece)
    return best[1] if best else None


@lru_cache(maxsize=1 << 12)
def block_plan(shape: LayerShape, batch: int, rows: int, room: Room) -> BlockPlan | None:
    """Plan a feed-forward block with at most `rows` active neurons on a DIMM.

    None if the buffer is too small for any tiles, or for the values of all these neurons.
    """
    plans = [plan for plan in (_fused(shape, batch, room), _split(shape, batch, rows, room)) if plan is not None]
    return min(plans, key=lambda plan: _streams(plan, shape, rows), default=None)


def plan_sum(width: int, type_: str, batch: int, rows: int, room: Room) -> SumPlan:
    """Return the plan of `sum_plan`. Raises InputError if there is none."""
    return _found(lambda batch, room: sum_plan(width, type_, batch, rows, room), batch, room, "")


def plan_block(shape: LayerShape, batch: int, rows: int, room: Room) -> BlockPlan:
    """Return the plan of `block_plan`. Raises InputError if there is none."""
    what = f" and {rows} active neurons of a DIMM"
    return _found(lambda batch, room: block_plan(shape, batch, rows, room), batch, room, what)


def most_sequences(plan: Callable[[int], object | None]) -> int:
    """Return the largest batch, up to what an instruction can say, for which there is a plan; 0 if there is none."""
    return bisect_left(range(1, MOST_SEQUENCES + 1), True, key=lambda batch: plan(batch) is None)


def _found(plan: Callable[[int, Room], P | None], batch: int, room: Room, what: str) -> P:
    """Return the plan of a batch, or raise InputError with the batch or else the buffer that would have one."""
    found = plan(batch, room)
    if found is None:
        raise too_small(
            batch, room.buffer_bytes, what, lambda batch, size: plan(batch, room._replace(buffer_bytes=size))
        )
    return found


def _streams(plan: BlockPlan, shape: LayerShape, rows: int) -> int:
    """Count the stream instructions of a DIMM with `rows` active neurons."""
    inputs = len(shape.matrices) - 1
    return -(-rows // plan.sums.tile) * (inputs * len(plan.columns) + len(plan.sums.columns))


def too_small(batch: int, buffer_bytes: int, what: str, plan: Callable[[int, int], object | None]) -> InputError:
    """Return the refusal of a batch whose vectors, and what else is named, no tiles make fit.

    plan: returns None for a batch and the bytes of a buffer that do not go together.
    """
    if most := most_sequences(lambda batch: plan(batch, buffer_bytes)):
        return InputError(f"batch: expected at most {most} for a buffer of {buffer_bytes} bytes{what}, found {batch}")
    lines = range(_LINE, _MOST_BUFFER + 1, _LINE)
    place = bisect_left(lines, True, key=lambda size: plan(1, size) is not None)
    enough = f"at least {lines[place]}" if place < len(lines) else f"more than {_MOST_BUFFER}"
    return InputError(f"dimm.unit.buffer_bytes: expected {enough} for a vector{what}, found {buffer_bytes}")


@lru_cache(maxsize=1 << 12)
def _fused(shape: LayerShape, batch: int, room: Room) -> BlockPlan | None:
    buffer_bytes, merged = room.buffer_bytes, room.merged
    size = isa().types[shape.type].bits // 8
    inputs = len(shape.matrices) - 1
    x_bytes, y_bytes = aligned(batch * shape.width * size), 4 * batch * shape.width
    incoming = incoming_bytes(y_bytes, merged, room.piece)
    free = buffer_bytes - x_bytes - y_bytes - incoming - codes.ALIGNMENT
    tile = min(free // (batch * (4 * inputs + size)), shape.neurons)
    if tile < 1:
        return None
    wide = 4 * batch * tile
    up = x_bytes + (inputs - 1) * wide
    y = up + wide + aligned(size * batch * tile)
    kind = isa().types[shape.type].code
    sums = SumPlan(shape.width, batch, kind, shape.width, tile, up + wide, 0, y, y + y_bytes, room.piece)
    return BlockPlan(shape, shape.width, 0, x_bytes, up, 0, True, sums)


def _split(shape: LayerShape, batch: int, rows: int, room: Room) -> BlockPlan | None:
    buffer_bytes, queue, merged, piece = room
    size, kind = isa().types[shape.type].bits // 8, isa().types[shape.type].code
    inputs = len(shape.matrices) - 1
    values = batch * rows * size + codes.ALIGNMENT  # tiles of an even number of neurons are aligned but for the last

    def fits(cols: int) -> bool:
        y_bytes = 4 * batch * cols
        return values + y_bytes + incoming_bytes(y_bytes, merged, piece) <= buffer_bytes

    results = next((found for found in _widths(shape.width, size, queue) if fits(found[1])), None)
    if results is None:
        return None
    best: tuple[int, BlockPlan] | None = None
    for tiles, cols in _widths(shape.width, size, queue):
        if best is not None and inputs * tiles + results[0] >= best[0]:
            break
        x_bytes = aligned(batch * cols * size)
        each = 4 * batch * (inputs + (tiles > 1))
        tile = (buffer_bytes - values - x_bytes) // each
        tile = rows if tile >= rows else tile // 2 * 2
        if tile < 1:
            continue
        streams = -(-rows // tile) * (inputs * tiles + results[0])
        if best is None or streams < best[0]:
            x = aligned(values)
            gate, wide = x + x_bytes, 4 * batch * tile
            up = gate + (inputs - 1) * wide
            step = aligned(batch * tile * size)
            incoming = x + 4 * batch * results[1]
            sums = SumPlan(shape.width, batch, kind, results[1], tile, 0, step, x, incoming, piece)
            best = streams, BlockPlan(shape, cols, x, gate, up, up + wide, False, sums)
    return best[1] if best else None
