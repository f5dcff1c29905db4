"""Ranks that the host shares with NDP units: their sequences of bursts, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.host.event_loop import run_in_turns, run_in_turns_together
from ndpsim.dram.host.shared import state as shared
from ndpsim.dram.host.shared.bursts import NdpBursts, burst_table
from ndpsim.dram.host.shared.state import NDP_POLICIES, new_sharing
from ndpsim.dram.host.state import Ints
from ndpsim.dram.standard.standard import Standard


@dataclass(frozen=True)
class NdpResult:
    """What NDP units did, int64[channels, ranks of all pseudo-channels] each.

    reads, writes: bursts; row_hits: those that needed no ACT; done: the cycle after the last data, 0 without bursts.
    """

    standard: Standard
    reads: NDArray[np.int64]
    writes: NDArray[np.int64]
    row_hits: NDArray[np.int64]
    done: NDArray[np.int64]

    @property
    def bursts(self) -> NDArray[np.int64]:
        """Return how many bursts each rank moved."""
        return self.reads + self.writes

    @property
    def bandwidth_gb_per_s(self) -> NDArray[np.float64]:
        """Return the data that each rank moved by the time that it took, 0 without bursts."""
        seconds = np.maximum(self.done, 1) * float(self.standard.tck_ps) * 1e-12
        return self.bursts * self.standard.burst_bytes / seconds * 1e-9

    def summary(self) -> dict[str, Any]:
        """Return all figures as plain Python, those of ranks in the order channel, pseudo-channel, rank."""
        return {
            "bursts": self.bursts.ravel().tolist(),
            "done_cycles": self.done.ravel().tolist(),
            "row_hits": self.row_hits.ravel().tolist(),
            "bandwidth_gb_per_s": self.bandwidth_gb_per_s.ravel().tolist(),
        }


class SharedRanks:
    """Runs the channels of a host controller whose ranks have NDP sequences as well.

    ndp: one entry for each rank of each channel, in the order channel, pseudo-channel, rank.
    """

    def __init__(self, standard: Standard, ndp: Sequence[NdpBursts | None], policy: str, window: int) -> None:
        self._standard = standard
        self._bursts, first = burst_table(standard, ndp)
        shape = standard.organization
        self._pseudo_channels = shape.pseudo_channels
        ranks = shape.ranks
        begins = np.stack([first[at : at + ranks + 1] for at in range(0, len(ndp), ranks)])
        rows_first = len(standard.busses) > 1 and "ACT" in standard.busses[0]
        self._state = new_sharing(NDP_POLICIES.index(policy), window, rows_first, begins)
        self._ranks = np.arange(ranks) * shared.SHARE

    @property
    def bursts(self) -> int:
        """Return how many bursts all sequences have."""
        return len(self._bursts)

    def run_channel(
        self, state: NDArray[np.int64], k: int, block: Ints, bounds: Ints, after: int, until: int, log: Any, done: Ints
    ) -> int:
        """Run one channel; see `host.engine.run_channel`."""
        why: int = run_in_turns(
            state, self._state, self._bursts, k, self._pseudo_channels, block, bounds, after, until, log, done
        )
        return why

    def run_together(
        self, state: NDArray[np.int64], block: Ints, bounds: Ints, after: int, log: Any, done: Ints
    ) -> int:
        """Run all channels in step; see `host.engine.run_together`."""
        why: int = run_in_turns_together(
            state, self._state, self._bursts, self._pseudo_channels, block, bounds, after, log, done
        )
        return why

    def result(self) -> NdpResult:
        """Return what has been done so far."""
        channels = self._standard.organization.channels
        fields = (shared.NDP_READS, shared.NDP_WRITES, shared.NDP_HITS, shared.NDP_DONE)
        return NdpResult(
            self._standard, *(self._state[:, self._ranks + field].reshape(channels, -1) for field in fields)
        )
