"""What the ranks of a memory did, counted: the input of the energy model, from counters or from a command log."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndpsim.dram.log.log import COMMANDS, CommandLog
from ndpsim.dram.log.runs import start_of_run
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

Counts = int | npt.NDArray[np.int64]

_READS = ("RD", "RDA", "RDN")
_WRITES = ("WR", "WRA", "WRN")


@dataclass(frozen=True)
class RankActivity:
    """What one rank (of one pseudo-channel) did: each an int, or int64 arrays of one shape for many ranks.

    activates; reads and writes: bursts, with or without auto precharge; refreshes: REF; bank_refreshes: REFsb and
    REFpb; open_clocks: with at least one bank open, from its ACT to the PRE, PREA, RDA or WRA; clocks: all; bank_reads
    and bank_writes: bursts between a bank and a unit at it, which stay inside the device.
    """

    activates: Counts
    reads: Counts
    writes: Counts
    refreshes: Counts
    bank_refreshes: Counts
    open_clocks: Counts
    clocks: Counts
    bank_reads: Counts = 0
    bank_writes: Counts = 0


def activity_of_log(log: CommandLog, standard: Standard, begin: int = 0, end: int | None = None) -> RankActivity:
    """Count what every rank of a log did from clock `begin` to `end` (if None, the end of the last burst or command).

    The arrays have a place for every rank of the standard, by channel and pseudo-channel, on each DIMM up to the last
    that the log names; ranks without commands stand by. A bank counts as closed until its first command shows that it
    was open. Raises InputError if the log names other ranks, or cycles outside.
    """
    rank, ranks = _ranks(log, standard)
    order = np.lexsort((log.cycle, rank))
    rank, cycle, command = rank[order], log.cycle[order].astype(np.int64), log.command[order]
    if end is None:
        end = max(begin, _end(cycle, command, standard))
    if len(cycle) and not begin <= cycle.min() <= cycle.max() <= end:
        raise InputError(f"log: expected cycles from {begin} to {end}, found {cycle.min()} to {cycle.max()}")

    def count(*names: str) -> npt.NDArray[np.int64]:
        return np.bincount(rank[_among(command, *names)], minlength=ranks)

    banks = standard.organization.bank_groups * standard.organization.banks
    bank = (log.bank_group[order].astype(np.int64) << 16) + log.bank[order]
    return RankActivity(
        activates=count("ACT"),
        reads=count(*_READS),
        writes=count(*_WRITES),
        refreshes=count("REF"),
        bank_refreshes=count("REFsb", "REFpb"),
        open_clocks=_open_clocks(rank, ranks, cycle, command, bank, begin, end),
        clocks=np.full(ranks, end - begin, np.int64),
        bank_reads=count("RDab") * banks,
        bank_writes=count("WRab") * banks,
    )


def _among(command: npt.NDArray[np.uint8], *names: str) -> npt.NDArray[np.bool_]:
    return np.isin(command, [code for code, name in enumerate(COMMANDS) if name in names])


def _ranks(log: CommandLog, standard: Standard) -> tuple[npt.NDArray[np.int64], int]:
    """Number the ranks of a log: for each command the number of its rank, and how many there are."""
    shape = standard.organization
    dimms = int(log.dimm.max(initial=0)) + 1
    sizes = {"dimm": dimms, "channel": shape.channels, "pseudo_channel": shape.pseudo_channels, "rank": shape.ranks}
    rank = np.zeros(len(log.cycle), np.int64)
    for name, size in sizes.items():
        place = getattr(log, name)
        if len(place) and not 0 <= place.min() <= place.max() < size:
            raise InputError(f"log: {name}: expected 0 to {size - 1}, found {place.min()} to {place.max()}")
        rank = rank * size + place
    return rank, math.prod(sizes.values())


def _end(cycle: npt.NDArray[np.int64], command: npt.NDArray[np.uint8], standard: Standard) -> int:
    """Return the clock after the last command and the last of its data."""
    burst = standard.timing["nBL"]
    takes = np.ones(len(cycle), np.int64)
    takes[_among(command, *_READS)] = standard.read_latency + burst
    takes[_among(command, *_WRITES)] = standard.write_latency + burst
    return int((cycle + takes).max(initial=0))


def _open_clocks(
    rank: npt.NDArray[np.int64],
    ranks: int,
    cycle: npt.NDArray[np.int64],
    command: npt.NDArray[np.uint8],
    bank: npt.NDArray[np.int64],
    begin: int,
    end: int,
) -> npt.NDArray[np.int64]:
    """Return for every rank the clocks with a bank open, int64[ranks]; commands by rank and then by cycle."""
    keep = _among(command, "ACT", "PRE", "PREA", *_READS, *_WRITES)
    rank, cycle, command, bank = rank[keep], cycle[keep], command[keep], bank[keep]
    result = np.zeros(ranks, np.int64)
    if not len(cycle):
        return result
    whole = _among(command, "PREA")
    segment: npt.NDArray[np.int64] = (
        np.cumsum(whole) - whole
    )  # a PREA ends its segment; in a rank's later ones all banks begin closed
    opens = _among(command, "ACT", "RD", "RDN", "WR", "WRN").astype(np.int64)

    by_bank = np.lexsort((bank, segment, whole, rank))
    first = start_of_run(bank[by_bank], segment[by_bank], whole[by_bank], rank[by_bank]) == np.arange(len(rank))
    first_segment: npt.NDArray[np.bool_] = segment == segment[start_of_run(rank)]
    was_open = np.zeros(len(rank), np.int64)
    was_open[by_bank[1:]] = opens[by_bank[:-1]]
    was_open[by_bank[first]] = 0
    shown_open = np.zeros(len(rank), np.bool_)
    shown_open[by_bank[first]] = True
    shown_open &= first_segment & ~whole & ~_among(command, "ACT")
    was_open[shown_open] = 1

    change = np.where(whole, 0, opens - was_open)
    at_begin = np.bincount(rank[shown_open], minlength=ranks)
    total = np.cumsum(change)
    start = start_of_run(rank, segment)
    level = total - total[start] + change[start] + np.where(first_segment, at_begin[rank], 0)
    level[whole] = 0
    last = np.append(rank[1:] != rank[:-1], True)
    until = np.where(last, end, np.append(cycle[1:], end))
    np.add.at(result, rank, np.where(level > 0, until - cycle, 0))
    heads = np.unique(start_of_run(rank))
    result[rank[heads]] += np.where(at_begin[rank[heads]] > 0, cycle[heads] - begin, 0)
    return result
