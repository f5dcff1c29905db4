"""A standard as the stream engine sees it: its gaps, and from how many bursts on a train is long."""

from ndpsim.dram.ndp.gaps import Timing, gaps_of
from ndpsim.dram.ndp.hidden import with_long_trains
from ndpsim.dram.standard.standard import Standard


def timing_of(standard: Standard, ahead: int, queue: int) -> Timing:
    """Return the engine's view of a standard; ahead, queue: the controller's depths, in trains and in bursts.

    Raises InputError naming the rule if the standard has one that the controller does not keep.
    """
    return with_long_trains(gaps_of(standard, ahead, queue))
