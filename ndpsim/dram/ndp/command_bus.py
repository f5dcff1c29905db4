"""Where a row command finds room on the command bus of a rank, between bursts that follow a formula.

The bursts of the last trains are kept as patterns. Where loads and the work of the MAC array overlap, burst k of a
train is issued at

    max(first + k * pace, ceil((paced + k * step) / tCK) - latency)

where the second term is the pace of the MAC array, `step` ticks a burst, once it has fallen behind by the length of the
return queue; it is absent where `paced` is NEVER. Where they alternate, in passes of some bursts, of which the first
may hold `loaded` bursts of earlier trains, it is issued at

    first - loaded * pace + floor((loaded + k) / passes) * step + ((loaded + k) mod passes) * pace

and `loaded` stands where `paced` does otherwise.

Trains follow one another, and so do the row commands of one kind: a search for room begins at the train at which the
one before ended.
"""

from typing import Any, NamedTuple

from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.rank_state import Places
from ndpsim.jit import merged


class Beat(NamedTuple):
    """What all bursts of a stream have in common.

    clocks: of one on the command bus; latency: to the end of its data; near: the least from one to the next, and pace,
    in a train; all in clocks. tck: the clock period, in ticks. passes: bursts of a pass where loads and work alternate,
    0 where they overlap.
    """

    clocks: int
    latency: int
    near: int
    pace: int
    tck: int
    passes: int


@merged
def burst_cycle(first: int, paced: int, step: int, beat: Beat, k: int) -> int:
    """Cycle of burst k of a train."""
    if beat.passes > 0:
        k += paced
        return first - paced * beat.pace + k // beat.passes * step + k % beat.passes * beat.pace
    cycle = first + k * beat.pace
    if k > 0 and paced > rank_state.NEVER:
        cycle = max(cycle, -(-(paced + k * step) // beat.tck) - beat.latency)
    return cycle


@merged
def _first_from(first: int, paced: int, step: int, beat: Beat, begin: int) -> int:
    """Cycle of the first burst of a train from `begin` on, which is not after its last."""
    if first >= begin:
        return first
    power = beat.pace & (beat.pace - 1) == 0  # as it mostly is, and then there is nothing to divide
    if beat.passes > 0:
        inside = (begin - first + paced * beat.pace) % step  # since the first burst of its pass, or where it would be
        if inside > (beat.passes - 1) * beat.pace:
            return begin + step - inside
        return begin + (-inside & (beat.pace - 1) if power else -inside % beat.pace)
    if paced == rank_state.NEVER:
        return begin + ((first - begin) & (beat.pace - 1) if power else (first - begin) % beat.pace)
    k = max(((begin + beat.latency - 1) * beat.tck - paced) // step + 1, 1)
    if paced <= (first + beat.latency - 1) * beat.tck:  # the MAC array has not fallen behind from the start
        k = min(k, -(-(begin - first) // beat.pace))
    return burst_cycle(first, paced, step, beat, k)


@merged
def after_bursts(m: Any, at: Places, train: int, newest: int, beat: Beat, cycle: int, clocks: int) -> tuple[int, int]:
    """First cycle from `cycle` on at which a row command of some clocks meets no burst, and the train to go on with.

    m: the record of the rank. Trains before `train` are over, those from `newest` on not begun.
    """
    roomy = beat.near >= beat.clocks + clocks  # behind every burst, also the last one of a train
    while train < newest:
        pattern = at.patterns + (train & (at.trains_ring - 1)) * rank_state.PATTERN_SIZE
        begin, end = cycle - (beat.clocks - 1), cycle + (clocks - 1)
        if m[pattern + rank_state.LAST] < begin:
            train += 1
            continue
        if m[pattern + rank_state.FIRST] > end:
            break
        burst = _first_from(
            m[pattern + rank_state.FIRST], m[pattern + rank_state.PACED], m[pattern + rank_state.STEP], beat, begin
        )
        if roomy:
            cycle = burst + beat.clocks if burst <= end else cycle
            break
        if burst > end:
            break
        if beat.pace < beat.clocks + clocks:  # there is no room before the last one, or the last one of a pass
            if beat.passes > 0:
                inside = (burst - m[pattern + rank_state.FIRST] + m[pattern + rank_state.PACED] * beat.pace) % m[
                    pattern + rank_state.STEP
                ]
                burst = min(burst + (beat.passes - 1) * beat.pace - inside, m[pattern + rank_state.LAST])
            elif m[pattern + rank_state.PACED] == rank_state.NEVER:
                burst = m[pattern + rank_state.LAST]
        cycle = burst + beat.clocks
    return cycle, train


@merged
def after_acts(m: Any, at: Places, seen: int, act_clocks: int, cycle: int) -> int:
    """First cycle from `cycle` on at which none of the `seen` ACTs so far is on the command bus."""
    i = 1
    while i <= at.acts_ring:
        act = m[at.acts + (seen - i & at.acts_ring - 1)]
        if act + act_clocks <= cycle:  # so are those before it
            break
        i += 1
        if act <= cycle:
            cycle = act + act_clocks
            i = 1
    return cycle
