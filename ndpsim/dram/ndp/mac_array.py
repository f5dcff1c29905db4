"""The MAC array of a rank: when it lets the first burst of a train come, and when it is done with the last one.

All of its arithmetic is here; rank streams and bank-level streams use it. STREAM_CONTROLLER.md, "The MAC array",
specifies it. Loads and work either overlap, with a return queue between them, or alternate, in passes.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.command_bus import Beat, burst_cycle
from ndpsim.dram.ndp.gaps import Timing
from ndpsim.jit import merged


class Array(NamedTuple):
    """How the MAC array takes the bursts of an instruction.

    alternating: whether loads and work alternate, in passes. holds: what `holds_of` returns. sequences: of the batch.
    """

    alternating: bool
    holds: Any
    sequences: int


class Load(NamedTuple):
    """What a train asks of the MAC array.

    sequences: for which its row works. ticks: for which a rank's slice holds a burst, or a whole pass. rest: minimum
    clocks between the last burst of one pass and the first of the next. step: clocks from the first burst of a pass to
    that of the next in the same train; where loads and work overlap, ticks. span: clocks from the first burst to the
    last if the train begins a pass, or if the array keeps up. left: bursts in the pass that such a train leaves
    unfinished. even: how many of its last bursts follow one another at the pace.
    """

    bursts: int
    sequences: int
    ticks: int
    rest: int
    step: int
    span: int
    left: int
    even: int


def holds_of(timing: Timing, picoseconds: npt.ArrayLike) -> NDArray[np.int64]:
    """Return int64[..., 2] of the ticks and the rest of a `Load`.

    picoseconds: for which a slice of the MAC array holds a burst or a pass, by number of sequences along the last axis;
    0: it takes bursts at once, as in writes.
    """
    ticks = np.asarray(picoseconds, np.int64) * timing.ticks
    return np.stack([ticks, timing.reads.data + -(-ticks // timing.tck)], axis=-1)


@merged
def load_of(array: Array, beat: Beat, bursts: int, sequences: int) -> Load:
    """Return what a train asks of the MAC array."""
    ticks, rest = array.holds[sequences, 0], array.holds[sequences, 1]
    whole, step = 0, ticks
    if beat.passes > 0:
        whole = (bursts - 1) // beat.passes
        step = (beat.passes - 1) * beat.pace + max(beat.pace, rest)
    extra = bursts - 1 - whole * beat.passes
    left = extra + 1 if extra + 1 < beat.passes else 0
    even = extra + 1 if beat.passes > 0 or ticks <= beat.pace * beat.tck else 1
    return Load(bursts, sequences, ticks, rest, step, whole * step + extra * beat.pace, left, even)


@merged
def alternating(beat: Beat, load: Load, first: int, pass_from: int, loaded: int) -> tuple[int, int, int]:
    """Let a train in whose first burst may come at `first`; loads and work alternate.

    loaded: bursts of earlier trains in the pass that the train goes on with, 0 if it begins one, which it may do from
    `pass_from` on. Returns the cycles of the first and the last burst, and the bursts in the pass left unfinished.
    """
    if loaded == 0:
        first = max(first, pass_from)
        return first, first + load.span, load.left
    bursts = loaded + load.bursts
    if bursts <= beat.passes:
        return first, first + (load.bursts - 1) * beat.pace, bursts if bursts < beat.passes else 0
    return first, burst_cycle(first, loaded, load.step, beat, load.bursts - 1), bursts % beat.passes


@merged
def overlapped(
    beat: Beat, queue: int, step: int, bursts: int, same: bool, first: int, free: int
) -> tuple[int, int, int, int]:
    """Let a train in whose first burst may come at `first`; loads and work overlap.

    queue: bursts that the return queue holds, the one in work included. step: ticks of work on a burst. same: whether
    the train works for as many sequences as the one before; else it waits until the queue is empty. free: when the
    array is done with all bursts so far, in ticks. Returns the cycles of the first and the last burst, what paces the
    bursts between them (`command_bus`), and `free` behind the train.
    """
    room = free - (queue - 1) * step if same else free
    late = room - (first + beat.latency) * beat.tck
    if late > 0:
        first += -(-late // beat.tck)
    last, paced = first + (bursts - 1) * beat.pace, rank_state.NEVER
    finished = max((first + beat.latency) * beat.tck, free) + step
    if step > beat.pace * beat.tck:
        paced = finished - queue * step
        last = burst_cycle(first, paced, step, beat, bursts - 1)
    return first, last, paced, max(finished + (bursts - 1) * step, (last + beat.latency) * beat.tck + step)
