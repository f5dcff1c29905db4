"""What came of serving: times of each request, times between tokens as a histogram, and the engine's load over time."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.jit import borrowing
from ndpsim.serving import state as at
from ndpsim.serving.kv_blocks import KvBlocks
from ndpsim.serving.state import State

Ints = NDArray[np.int64]
PER_OCTAVE: Final = 1024
BINS: Final = 54 * PER_OCTAVE
POINTS: Final = 4096
TIME, RUNNING, WAITING, BLOCKS, COLUMNS = range(5)
"""Columns of `Load.points`."""
STRIDE, SEEN, KEPT = range(3)


class Records(NamedTuple):
    """What is kept of all steps. intervals: int64[BINS], times between tokens by their bin (`interval_of`).

    points: int64[POINTS, COLUMNS], the load of every STRIDE-th step, once it is scheduled; place: int64[3], STRIDE,
    steps SEEN, points KEPT; whenever all are taken every second one goes.
    """

    intervals: Ints
    points: Ints
    place: Ints


@dataclass(frozen=True)
class Served:
    """int64[n] of each request, in picoseconds: arrival, first_scheduled, first_token, last_token; preemptions;
    cached, the prompt tokens that were found at its first admission; prompts, outputs, tokens.

    intervals: int64[BINS], see `interval_of`; load: int64[points, COLUMNS], thinned, of steps that are scheduled.
    steps; kv_blocks of the first tier; swapped: blocks copied out to the second tier; end: of the last step; busy: how
    long steps took, but for what the engine adds between them.
    """

    arrival: Ints
    first_scheduled: Ints
    first_token: Ints
    last_token: Ints
    preemptions: Ints
    cached: Ints
    prompts: Ints
    outputs: Ints
    intervals: Ints
    load: Ints
    steps: int
    kv_blocks: int
    swapped: int
    end: int
    busy: int


def new_records() -> Records:
    """Return records of no step."""
    place = np.zeros(3, np.int64)
    place[STRIDE] = 1
    return Records(np.zeros(BINS, np.int64), np.zeros((POINTS, COLUMNS), np.int64), place)


def interval_of(bins: Ints) -> Ints:
    """Return the picoseconds at the middle of bins; a bin is less than a thousandth wide."""
    shift = np.maximum(bins // PER_OCTAVE - 1, 0)
    return np.where(shift > 0, ((bins - shift * PER_OCTAVE) * 2 + 1) << shift >> 1, bins)


@borrowing
def bin_of(interval: int) -> int:
    """Return the bin of a time between tokens: exact below 2048 ps, then 1024 bins for each factor of two."""
    shift = 0
    while interval >> shift >= 2 * PER_OCTAVE:
        shift += 1
    return shift * PER_OCTAVE + (interval >> shift)


@borrowing
def note_load(records: Records, state: State, kv: KvBlocks, now: int) -> None:
    """Note the load of a step that is scheduled."""
    place = records.place
    if place[SEEN] % place[STRIDE] == 0:
        if place[KEPT] == POINTS:
            place[KEPT] //= 2
            for i in range(place[KEPT]):
                for j in range(COLUMNS):
                    records.points[i, j] = records.points[2 * i, j]
            place[STRIDE] *= 2
        if place[SEEN] % place[STRIDE] == 0:
            point = records.points[place[KEPT]]
            point[TIME] = now
            point[RUNNING] = state.counts[at.RUNNING]
            point[WAITING] = state.counts[at.WAITING]
            point[BLOCKS] = len(kv.holders) - kv.free[0]
            place[KEPT] += 1
    place[SEEN] += 1


@borrowing
def note_intervals(records: Records, state: State, known: Ints, end: int) -> None:
    """Note the times between tokens that end with a step, before it is completed.

    known: int64[n], prompt tokens of the requests.
    """
    latest, place = -1, 0
    for i in range(state.counts[at.SCHEDULED]):
        r = state.running[i]
        if state.produced[r] > 0 and state.computed[r] + state.new[i] == known[r] + state.produced[r]:
            interval = end - state.last_token[r]
            if interval != latest:
                latest, place = interval, bin_of(interval)
            records.intervals[place] += 1
