"""Where a row command finds room on the command bus of a rank, between bursts that follow a formula.

The bursts of the last trains are kept as patterns: burst k of a train is issued at

    max(first + k * pace, ceil((paced + k * service) / tCK) - latency)

where the second term is the pace of the MAC array once it has fallen behind by the length of the return queue.
"""

from typing import Any

from ndpsim.dram.rank_state import FIRST, LAST, NEVER, PACE, PACED
from ndpsim.dram.stream_timing import Kind, Timing
from ndpsim.jit import inlined, njit


@njit
def burst_cycle(pattern: Any, tck: int, latency: int, service: int, k: int) -> int:
    """Cycle of burst k of a pattern."""
    cycle = pattern[FIRST] + k * pattern[PACE]
    if k > 0 and pattern[PACED] > NEVER:
        cycle = max(cycle, -(-(pattern[PACED] + k * service) // tck) - latency)
    return cycle


@njit
def _first_from(pattern: Any, tck: int, latency: int, service: int, begin: int) -> int:
    """Cycle of the first burst of a pattern from `begin` on, which is not after its last."""
    k = 0
    if pattern[FIRST] < begin:
        k = -(-(begin - pattern[FIRST]) // pattern[PACE])
        if pattern[PACED] > NEVER:
            k = min(k, max(((begin + latency - 1) * tck - pattern[PACED]) // service + 1, 1))
    return burst_cycle(pattern, tck, latency, service, k)


@njit
def _meets_burst(patterns: Any, tck: int, latency: int, service: int, begin: int, end: int) -> bool:
    """Tell whether a burst of a recent train is issued in one of the cycles from `begin` to `end`, which are few."""
    for i in range(patterns.shape[0]):
        pattern = patterns[i]
        if pattern[FIRST] <= end and begin <= pattern[LAST]:
            return _first_from(pattern, tck, latency, service, begin) <= end
    return False


@njit
def _after_burst(
    patterns: Any, tck: int, latency: int, service: int, burst_clocks: int, begin: int, end: int, clocks: int
) -> int:
    """First cycle after the burst issued from `begin` to `end`, or after all of its train if they leave no room."""
    for i in range(patterns.shape[0]):
        pattern = patterns[i]
        if pattern[FIRST] <= end and begin <= pattern[LAST]:
            if pattern[PACED] == NEVER and pattern[PACE] < burst_clocks + clocks:
                return pattern[LAST] + burst_clocks
            return _first_from(pattern, tck, latency, service, begin) + burst_clocks
    return end


@inlined
def off_bursts(t: Timing, patterns: Any, kind: Kind, service: int, begin: int, clocks: int) -> int:
    """First cycle from `begin` on at which a row command of some clocks meets no burst on the command bus.

    That a burst is in the way is asked, and where it ends computed apart: a processor guesses the answer, which is
    mostly no, and goes on, where it would have to wait for the divisions behind a cycle.
    """
    cycle = begin
    before, after = kind.clocks - 1, clocks - 1
    while t.shared_bus and _meets_burst(patterns, t.tck, kind.latency, service, cycle - before, cycle + after):
        cycle = _after_burst(patterns, t.tck, kind.latency, service, kind.clocks, cycle - before, cycle + after, clocks)
    return cycle


@njit
def off_acts(acts: Any, seen: int, act_clocks: int, begin: int) -> int:
    """First cycle from `begin` on at which none of the `seen` ACTs so far is on the command bus."""
    newest = seen % acts.shape[0] - 1
    cycle = begin
    i = 0
    while i < acts.shape[0]:
        act = acts[newest - i]  # from the newest on: those before the first that is over are over, too
        if act + act_clocks <= cycle:
            break
        i += 1
        if act <= cycle:
            cycle = act + act_clocks
            i = 0
    return cycle
