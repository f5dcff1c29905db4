"""Long runs of the host controller lose nothing: each request is served once, in order, on busses that never collide.

Logs are booked piece by piece as they come, so that 10^8 commands need no file and no more memory than one piece.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
import pytest

from ndpsim.dram.address_map import HOST_FIELDS, host_map
from ndpsim.dram.checker.checker import StreamChecker
from ndpsim.dram.host.controller import HostConfig, HostController
from ndpsim.dram.log.log import COMMANDS, joined
from ndpsim.dram.requests.request import BLOCK, Requests
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.standard import load_standard

COMMANDS_IN_ALL = 100_000_000
CHECKED = 2_000_000  # of each run, by the checker: it knows all rules, but is slower than the books
FAULTS = ("data_bus", "command_bus", "act_open_bank", "other_row", "ref_open_bank")
CODE = {name: COMMANDS.index(name) for name in COMMANDS}
ACT, PRE, PREA, RD, WR, RDA, WRA, REF = (CODE[n] for n in ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REF"))


@dataclass(frozen=True)
class Run:
    """A memory, a controller, and what is asked of it: runs of bursts that begin anywhere in the first rows."""

    standard: str
    counts: dict[str, int] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)
    rows: int = 256
    length: int = 1
    writes: float = 0.3
    spacing: int = 0


RUNS = [
    Run("DDR4-3200AA", {"ranks": 1}),
    Run("DDR4-3200AA", {"ranks": 2}, {"row_policy": "closed"}, writes=0.5),
    Run("DDR4-3200AA", {"ranks": 4}, {"row_policy": "timeout", "row_timeout": 200, "postpone": 7}, length=5),
    Run("DDR4-3200AA", {"ranks": 4}, {"read_queue": 64, "write_queue": 64, "high": 60}, rows=1, writes=0.6),
    Run("DDR4-3200AA", {"ranks": 2}, {"starvation": 300}, length=700),
    Run("DDR5-4800B", {}, {"refresh": "same_bank", "postpone": 31}, length=3),
    Run("DDR5-4800B", {"ranks": 2}, {"row_policy": "closed"}, length=2),
    Run("LPDDR5X-8533", {"ranks": 2}, {"refresh": "per_bank", "postpone": 63}, writes=0.4, spacing=9),
    Run("LPDDR5X-8533", {}, {"high": 8, "low": 7}, rows=2),
    Run("HBM3-6400", {}, {"refresh": "per_bank", "row_policy": "timeout", "row_timeout": 50}, rows=64, length=4),
    Run("HBM3-6400", {"ranks": 4}, {"postpone": 3}, rows=64, length=100, writes=0.1),
]


class Shape(NamedTuple):
    """What the books must know of a memory; groups_apart: bank groups that refreshes of sets tell apart."""

    pseudo_channels: int
    ranks: int
    groups: int
    banks: int
    rows: int
    columns: int
    read_latency: int
    write_latency: int
    burst: int
    two_busses: bool
    interval: int
    groups_apart: int


class Books(NamedTuple):
    """What a log has come to.

    owed: int32[2, bursts], reads and writes of each burst asked for less those served; data_free: int64[data busses],
    command_free: int64[channels, 2], first free clock; open_row: int64[banks], -1 if closed; paid: int64[ranks],
    cycle up to which refreshes pay; overdue: int64[ranks], the longest time that any refresh came behind that;
    clocks: int64[commands] on the command bus; faults: int64[FAULTS].
    """

    owed: np.ndarray
    data_free: np.ndarray
    command_free: np.ndarray
    open_row: np.ndarray
    paid: np.ndarray
    overdue: np.ndarray
    clocks: np.ndarray
    faults: np.ndarray


@numba.njit
def ask(owed, write, place):
    """Book requests for bursts, numbered as `post` does."""
    for i in range(len(place)):
        owed[write[i], place[i]] += 1


@numba.njit
def post(shape, books, cycle, command, channel, pseudo_channel, rank, bank_group, bank, row, column):
    """Book a piece of a log."""
    for i in range(len(cycle)):
        now, code = cycle[i], command[i]
        bus = channel[i] * shape.pseudo_channels + pseudo_channel[i]
        flat_rank = bus * shape.ranks + rank[i]
        first_bank = flat_rank * shape.groups * shape.banks
        flat_bank = first_bank + bank_group[i] * shape.banks + bank[i]
        is_column = code in (RD, WR, RDA, WRA)
        line = 1 if is_column and shape.two_busses else 0
        books.faults[1] += now < books.command_free[channel[i], line]
        books.command_free[channel[i], line] = now + books.clocks[code]
        if code == ACT:
            books.faults[2] += books.open_row[flat_bank] >= 0
            books.open_row[flat_bank] = row[i]
        elif code == PRE:
            books.open_row[flat_bank] = -1
        elif code == PREA:
            books.open_row[first_bank : first_bank + shape.groups * shape.banks] = -1
        elif is_column:
            write = code in (WR, WRA)
            begin = now + (shape.write_latency if write else shape.read_latency)
            books.faults[0] += begin < books.data_free[bus]
            books.data_free[bus] = begin + shape.burst
            books.faults[3] += row[i] < 0 or books.open_row[flat_bank] != row[i]
            books.owed[int(write), (flat_bank * shape.rows + row[i]) * shape.columns + column[i]] -= 1
            if code in (RDA, WRA):
                books.open_row[flat_bank] = -1
        else:
            for g in range(shape.groups):
                for b in range(shape.banks):
                    of_set = b == bank[i] and (bank_group[i] < 0 or (g - bank_group[i]) % shape.groups_apart == 0)
                    if code == REF or of_set:
                        books.faults[4] += books.open_row[first_bank + g * shape.banks + b] >= 0
            books.overdue[flat_rank] = max(books.overdue[flat_rank], now - books.paid[flat_rank])
            books.paid[flat_rank] += shape.interval


class Audit:
    """Runs a controller and books what goes in and what comes out."""

    def __init__(self, run):
        self.run = run
        self.standard = load_standard(run.standard, **run.counts)
        org, self.map = self.standard.organization, host_map(None, self.standard)
        self.kind = self.standard.refresh[run.config.get("refresh", "all_bank")]
        self.shape = Shape(
            org.pseudo_channels, org.ranks, org.bank_groups, org.banks, run.rows, org.columns,
            self.standard.read_latency, self.standard.write_latency, self.standard.timing["nBL"],
            len(self.standard.busses) > 1, self.kind.interval, org.bank_groups // self.kind.covers_groups,
        )  # fmt: skip
        busses = org.channels * org.pseudo_channels
        ranks = busses * org.ranks
        banks = ranks * org.bank_groups * org.banks
        self.books = Books(
            np.zeros((2, banks * run.rows * org.columns), np.int32), np.zeros(busses, np.int64),
            np.zeros((org.channels, 2), np.int64), np.full(banks, -1), np.zeros(ranks, np.int64),
            np.zeros(ranks, np.int64), np.array([self.standard.clocks.get(name, 1) for name in COMMANDS]),
            np.zeros(len(FAULTS), np.int64),
        )  # fmt: skip
        self.checker, self.commands = StreamChecker(self.standard), 0
        self.asked = np.zeros(2, np.int64)

    def take(self, piece):
        """Book a piece of the log."""
        if self.commands < CHECKED:
            self.checker.add(piece)
        self.commands += len(piece.cycle)
        post(self.shape, self.books, *piece[:4], *piece[5:10])

    def requests(self, rng, first, count=BLOCK):
        """Draw a block and book it as owed."""
        run = self.run
        bursts = self.map.size // self.standard.burst_bytes // self.standard.organization.rows * run.rows
        start = np.repeat(rng.integers(0, bursts, -(-count // run.length)), run.length)[:count]
        address = (start + np.arange(count) % run.length) % bursts * self.standard.burst_bytes
        write = np.repeat(rng.random(-(-count // 8)) < run.writes, 8)[:count] ^ (rng.random(count) < 0.05)
        f, shape = self.map.decode(address), self.shape
        flat = (f["channel"] * shape.pseudo_channels + f["pseudo_channel"]) * shape.ranks + f["rank"]
        flat = (flat * shape.groups + f["bank_group"]) * shape.banks + f["bank"]
        place = (flat * shape.rows + f["row"]) * shape.columns + f["column"]
        ask(self.books.owed, write.astype(np.int64), place)
        self.asked += np.bincount(write, minlength=2)
        arrival = (first + np.arange(count)) * run.spacing
        return Requests.of(address, write, arrival, np.zeros(count))


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, [run.standard, *run.config.values()])))
def test_each_request_is_served_once_on_busses_that_never_collide_and_refreshes_keep_up(run):
    audit, rng = Audit(run), np.random.default_rng(len(run.config))
    controller = HostController(audit.standard, HostConfig(**run.config), timed=run.spacing > 0, log=audit.take)
    given = 0
    while audit.commands < COMMANDS_IN_ALL // len(RUNS):
        controller.feed(audit.requests(rng, given))
        given += BLOCK
    result, books = controller.finish(), audit.books
    assert dict(zip(FAULTS, books.faults.tolist(), strict=True)) == dict.fromkeys(FAULTS, 0)
    reads, writes = books.owed
    assert not writes.any() and reads.min() == 0 and reads.sum() == result.forwarded
    assert [result.reads, result.writes] == audit.asked.tolist() and result.requests == given
    assert audit.commands == sum(counts.sum() for counts in result.commands.values())

    sets = 1 if audit.kind.command == "REF" else audit.shape.groups_apart * audit.shape.banks
    ends = np.repeat(books.command_free.max(1), len(books.paid) // len(books.command_free))  # of each rank's channel
    overdue = np.maximum(books.overdue, ends - books.paid)
    assert (overdue <= (audit.kind.postpone * sets + 1) * audit.kind.interval).all()
    assert (books.paid > 0).all()
    report = audit.checker.finish()
    assert report.legal, report
    assert report.commands >= CHECKED


def test_the_books_notice_a_command_that_is_missing_repeated_or_early():
    run = Run("DDR4-3200AA", {"ranks": 1})
    audit, pieces = Audit(run), []
    controller = HostController(audit.standard, log=pieces.append)
    controller.feed(audit.requests(np.random.default_rng(1), 0, 20_000))
    assert controller.finish().forwarded == 0
    log = joined(pieces)
    asked = audit.books.owed.copy()
    middle = len(log.cycle) // 2

    def found(log):
        fresh = Audit(run)
        fresh.books.owed[:] = asked
        fresh.take(log)
        faults = dict(zip(FAULTS, fresh.books.faults.tolist(), strict=True))
        return {name for name, count in faults.items() if count}, np.unique(fresh.books.owed).tolist()

    def after_middle(*names):
        which = np.flatnonzero(np.isin(log.command, [CODE[name] for name in names]))
        return int(which[which > middle][0])

    def without(at):
        return log.part(np.delete(np.arange(len(log.cycle)), at))

    assert found(log) == (set(), [0])
    assert found(without(after_middle("RD"))) == (set(), [0, 1])
    twice = np.insert(np.arange(len(log.cycle)), middle, after_middle("WR"))
    assert found(log.part(np.sort(twice))) == ({"data_bus", "command_bus"}, [-1, 0])
    assert found(without(after_middle("ACT"))) == ({"other_row"}, [0])
    assert "act_open_bank" in found(without(after_middle("PRE")))[0]
    assert "ref_open_bank" in found(without(after_middle("PREA")))[0]
    begins = log.cycle + np.where(log.command == CODE["RD"], 22, 16)
    bursts = np.flatnonzero(np.isin(log.command, (CODE["RD"], CODE["WR"])))
    close = int(bursts[1:][np.diff(begins[bursts]) == 4][0])
    log.cycle[close] -= 1
    assert found(log)[0] >= {"data_bus"}


def bursts_of(log, standard):
    """Return which bursts of the memory the column commands of a log are for."""
    fields = {name: getattr(log, name).astype(np.int64) for name in HOST_FIELDS}
    return host_map(None, standard).encode(fields) // standard.burst_bytes


MEMORIES = [("DDR4-3200AA", {"ranks": 2}), ("DDR5-4800B", {}), ("LPDDR5X-8533", {}), ("HBM3-6400", {"channels": 4})]


@pytest.mark.parametrize(("name", "counts"), MEMORIES, ids=[name for name, _ in MEMORIES])
def test_each_request_is_served_once_and_after_the_one_on_which_it_depends(name, counts):
    standard, n = load_standard(name, **counts), 20_000
    rng, pieces = np.random.default_rng(2), []
    bursts, write = rng.permutation(1 << 17)[:n], rng.random(n) < 0.4
    arrival = np.sort(rng.integers(0, 10 * n, n))
    after = np.minimum(rng.integers(1, 20, n), np.arange(n)) * (rng.random(n) < 0.3)
    controller = HostController(standard, timed=True, dependent=True, log=pieces.append)
    for requests in array_trace(bursts * standard.burst_bytes, write, arrival, after).blocks(3000):
        controller.feed(requests)
    assert controller.finish().requests == n

    log = joined(pieces)
    served = log.part(np.isin(log.command, (RD, WR)))
    place = bursts_of(served, standard)
    assert sorted(place) == sorted(bursts)
    request = np.empty(1 << 17, np.int64)
    request[bursts] = np.arange(n)
    cycle = np.empty(n, np.int64)
    cycle[request[place]] = served.cycle
    assert np.array_equal(write[request[place]], served.command == WR)
    done = cycle + np.where(write, standard.write_latency, standard.read_latency) + standard.timing["nBL"]
    waits = np.flatnonzero(after)
    assert (cycle > arrival).all() and (cycle[waits] > done[waits - after[waits]]).all()
    assert (cycle[waits] < done[waits - after[waits]] + 200).sum() > 1000


def reads_between_writes(burst, write):
    """Return how many reads of each burst lie between each two writes of it: {(burst, writes before): reads}."""
    order = np.argsort(burst, kind="stable")
    burst, write = burst[order], write[order].astype(np.int64)
    before = np.cumsum(write) - write
    first = np.flatnonzero(np.diff(burst, prepend=-1))
    before -= np.repeat(before[first], np.diff(first, append=len(burst)))
    return Counter(zip(burst[write == 0].tolist(), before[write == 0].tolist(), strict=True))


@pytest.mark.parametrize("row_policy", ["open", "closed"])
def test_each_read_gets_what_was_written_last_to_its_burst(row_policy):
    standard, n, pieces = load_standard("DDR4-3200AA", ranks=2), 100_000, []
    rng = np.random.default_rng(3)
    bursts, write = rng.integers(0, 300, n) * 37, rng.random(n) < 0.5
    controller = HostController(standard, HostConfig(row_policy=row_policy), log=pieces.append)
    for requests in array_trace(bursts * 64, write).blocks():
        controller.feed(requests)
    result, log = controller.finish(), joined(pieces)
    served = log.part(np.isin(log.command, (RD, WR, RDA, WRA)))
    place = bursts_of(served, standard)
    served_writes = np.isin(served.command, (WR, WRA))
    assert np.array_equal(np.sort(place[served_writes]), np.sort(bursts[write]))
    asked, found = reads_between_writes(bursts, write), reads_between_writes(place, served_writes)
    assert found <= asked and (asked - found).total() == result.forwarded > 1000
    assert all(writes_before > 0 for _, writes_before in asked - found), "forwarded before any write"
