"""Trains of row hits: the general rules of the host controller, where every queued request is a hit, as a tight loop."""

from ndpsim.dram.host_state import Ints
from ndpsim.jit import njit

TRAIN_AFTER = 1 << 40


@njit
def train(m: Ints, block: Ints, until: int, log: Ints) -> bool:
    """Serve a train if there is one; False if not."""
    return False
