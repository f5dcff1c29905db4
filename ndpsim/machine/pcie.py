"""The link between a graphics card and the host with its DIMMs: the one model of copies that all systems use."""

from typing import NamedTuple

from ndpsim.gpu.links import copy_us
from ndpsim.machine.config import PcieTable

PS_PER_US = 1_000_000


class Pcie(NamedTuple):
    """A link. gb_per_s: what it reaches each way; us: what a transfer takes before its first byte."""

    gb_per_s: float
    us: float

    @classmethod
    def of(cls, table: PcieTable, most_gb_per_s: float = float("inf")) -> "Pcie":
        """Take a machine's link; most_gb_per_s: what a system's own copies reach at most."""
        return cls(min(most_gb_per_s, table.gb_per_s.value * table.reached_share.value), table.us.value)

    def picoseconds(self, size: float) -> int:
        """Return the time of a transfer."""
        return int(copy_us(size, self.gb_per_s * 1e3, self.us) * PS_PER_US)

    def stream_us(self, size: float) -> float:
        """Return the microseconds of one of many transfers that follow each other without a gap."""
        return size / (self.gb_per_s * 1e3)

    def bytes_within(self, picoseconds: int) -> int:
        """Return the bytes that such transfers bring within a time."""
        return int(picoseconds * self.gb_per_s / 1e3)
