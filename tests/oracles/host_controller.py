"""Per-cycle reference of the host memory controller, written from HOST_CONTROLLER.md and STANDARDS.md alone.

`run` takes requests that are already placed; `host_address_map.py` places them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import NamedTuple

from ndpsim.dram.standard import Standard

# cycle, command, channel, pseudo-channel, rank, bank group, bank, row, column; -1 where a field does not apply
LogEntry = tuple[int, str, int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Config:
    """The parameters of the page, with its defaults; `row_timeout` is for `row_policy="timeout"` only."""

    read_queue: int = 32
    write_queue: int = 32
    high: int = 26
    low: int = 6
    row_policy: str = "open"
    row_timeout: int = 0
    starvation: int = 4096
    refresh: str = "all_bank"
    postpone: int = 0


class Rank(NamedTuple):
    """A rank within its channel."""

    pseudo_channel: int
    rank: int


class Bank(NamedTuple):
    """A bank within its channel."""

    pseudo_channel: int
    rank: int
    bank_group: int
    bank: int

    @property
    def of_rank(self) -> Rank:
        return Rank(self.pseudo_channel, self.rank)


@dataclass(frozen=True)
class Request:
    """A read or write of one burst: `burst` tells bursts apart; `timed` says that the trace gives arrival cycles."""

    channel: int
    pseudo_channel: int
    rank: int
    bank_group: int
    bank: int
    row: int
    column: int
    burst: int
    write: bool
    arrival: int = 0
    after: int = 0
    timed: bool = False

    @cached_property
    def of_bank(self) -> Bank:
        return Bank(self.pseudo_channel, self.rank, self.bank_group, self.bank)


@dataclass
class Outcome:
    """What became of a request."""

    entry: int | None = None
    done: int | None = None
    latency: int | None = None
    forwarded: bool = False
    activated: bool = False
    precharged: bool = False

    @property
    def kind(self) -> str:
        if self.forwarded:
            return "forwarded"
        if not self.activated:
            return "hit"
        return "conflict" if self.precharged else "miss"


class Result(NamedTuple):
    """The command log, by cycle, channel and bus; what became of each request; the cycle in which all are done."""

    log: list[LogEntry]
    outcomes: list[Outcome]
    end: int


@dataclass(frozen=True)
class Command:
    """A command that could be issued, the banks that it works on, and the request on whose behalf."""

    name: str
    rank: Rank
    banks: tuple[Bank, ...]
    bank_group: int = -1
    bank: int = -1
    row: int = -1
    column: int = -1
    request: int | None = None


def on_bank(name: str, bank: Bank, row: int = -1, column: int = -1, request: int | None = None) -> Command:
    """Return a command to one bank."""
    return Command(name, bank.of_rank, (bank,), bank.bank_group, bank.bank, row, column, request)


@dataclass
class RankRefresh:
    """What a rank owes, and which of its refreshes is next."""

    first_due: int
    owed: int = 0
    issued: int = 0
    under_way: bool = False


@dataclass
class History:
    """When each command was issued, by what it worked on, and the rule book over it."""

    standard: Standard
    ranks: Sequence[Rank]
    times: dict[tuple[str, tuple[int, ...], str], list[int]] = field(default_factory=lambda: defaultdict(list))
    busy_until: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        rows = self.standard.constraints
        self.rows = {name: [row for row in rows if row.later == name] for name in self.standard.clocks}

    def record(self, cycle: int, command: Command) -> None:
        for scope in ("bank", "bank_group", "rank"):
            for place in places(scope, command):
                self.times[scope, place, command.name].append(cycle)
        for rank in self.ranks:
            if rank.pseudo_channel == command.rank.pseudo_channel and rank != command.rank:
                self.times["other_rank", rank, command.name].append(cycle)
        self.busy_until[self.bus_of(command)] = cycle + self.standard.clocks[command.name]

    def is_legal(self, cycle: int, command: Command) -> bool:
        if cycle < self.busy_until[self.bus_of(command)]:
            return False
        for row in self.rows[command.name]:
            for place in places(row.scope, command):
                earlier = self.times[row.scope, place, row.earlier]
                if len(earlier) >= row.window and cycle < earlier[-row.window] + row.gap:
                    return False
        return True

    def bus_of(self, command: Command) -> tuple[str, ...]:
        return next(bus for bus in self.standard.busses if command.name in bus)


def places(scope: str, command: Command) -> Iterable[tuple[int, ...]]:
    """Return the banks, bank groups or ranks in which a rule of this scope looks back from the command."""
    if scope == "bank":
        return command.banks
    if scope == "bank_group":
        return {bank[:3] for bank in command.banks}
    return (command.rank,)


class Channel:
    """The controller of one channel, ticked cycle by cycle."""

    def __init__(
        self, number: int, standard: Standard, config: Config, requests: Sequence[Request], outcomes: list[Outcome]
    ) -> None:
        self.number = number
        self.standard = standard
        self.config = config
        self.requests = requests
        self.outcomes = outcomes
        self.waiting = [index for index, request in enumerate(requests) if request.channel == number]
        self.queued: list[int] = []  # in the order of entry
        self.mode = "read"
        self.open_row: dict[Bank, int] = {}
        self.last_use: dict[Bank, int] = {}  # last ACT or column command
        self.log: list[LogEntry] = []

        shape = standard.organization
        self.ranks = [Rank(*place) for place in product(range(shape.pseudo_channels), range(shape.ranks))]
        self.history = History(standard, self.ranks)
        self.refreshes: dict[Rank, RankRefresh] = {}
        if config.refresh != "none":
            interval = standard.refresh[config.refresh].interval
            for r, rank in enumerate(self.ranks):
                self.refreshes[rank] = RankRefresh(interval * (r + 1) // len(self.ranks))

    @property
    def finished(self) -> bool:
        return not self.waiting and not self.queued

    def tick(self, cycle: int) -> None:
        """Do all that happens in a cycle; `queued` is what is queued in it, also for the request that enters in it."""
        queued = tuple(self.queued)
        self.change_mode(queued)
        self.begin_refreshes(cycle, queued)
        candidates = self.candidates(cycle, queued)
        # All busses choose before anything is issued. They never meet at a bank: its candidates are all on one bus.
        chosen = []
        for bus in self.standard.busses:
            legal = (c for c in candidates if c.name in bus and self.history.is_legal(cycle, c))
            chosen += [command for command in [next(legal, None)] if command]
        for command in chosen:
            self.issue(cycle, command)
        self.enter(cycle, queued)

    def change_mode(self, queued: Sequence[int]) -> None:
        writes = sum(self.requests[index].write for index in queued)
        reads = len(queued) - writes
        if self.mode == "read":
            if writes >= self.config.high or (reads == 0 and writes > 0):
                self.mode = "write"
        elif writes == 0 or (writes <= self.config.low and reads > 0):
            self.mode = "read"

    def begin_refreshes(self, cycle: int, queued: Sequence[int]) -> None:
        for rank, refresh in self.refreshes.items():
            interval = self.standard.refresh[self.config.refresh].interval
            if cycle >= refresh.first_due and (cycle - refresh.first_due) % interval == 0:
                refresh.owed += 1
            if refresh.under_way or refresh.owed == 0:
                continue
            banks = self.next_refresh(rank).banks
            wanted = any(self.requests[index].of_bank in banks for index in queued)
            refresh.under_way = refresh.owed > self.config.postpone or not wanted

    def next_refresh(self, rank: Rank) -> Command:
        """Return the refresh command of a rank that comes next, with the banks that it refreshes."""
        shape = self.standard.organization
        kind = self.standard.refresh[self.config.refresh]
        if self.config.refresh == "all_bank":
            groups_and_banks = product(range(shape.bank_groups), range(shape.banks))
            return Command(kind.command, rank, tuple(Bank(*rank, *place) for place in groups_and_banks))
        n = shape.bank_groups // kind.covers_groups
        k = self.refreshes[rank].issued % (shape.banks * n)
        bank, first = k // n, k % n
        groups = range(first, shape.bank_groups, n)
        named = -1 if kind.covers_groups == shape.bank_groups else first
        return Command(kind.command, rank, tuple(Bank(*rank, group, bank) for group in groups), named, bank)

    def candidates(self, cycle: int, queued: Sequence[int]) -> list[Command]:
        """Return all commands that could be issued if they were legal, the most wanted first."""
        under_way = [self.next_refresh(rank) for rank, refresh in self.refreshes.items() if refresh.under_way]
        held = {bank for refresh in under_way for bank in refresh.banks}
        refreshing = [command for refresh in under_way for command in self.steps_of(refresh)]

        oldest = self.requests[queued[0]] if queued else None
        if oldest and self.outcomes[queued[0]].entry <= cycle - self.config.starvation:
            return refreshing + self.commands_for_bank(oldest.of_bank, queued[:1], queued, held)

        active = [index for index in queued if self.requests[index].write == (self.mode == "write")]
        wanting: dict[Bank, list[int]] = defaultdict(list)
        for index in active:
            wanting[self.requests[index].of_bank].append(index)
        commands = [c for bank, indices in wanting.items() for c in self.commands_for_bank(bank, indices, queued, held)]
        classes = {"RD": 0, "WR": 0, "RDA": 0, "WRA": 0, "ACT": 1, "PRE": 2}
        commands.sort(key=lambda command: (classes[command.name], self.outcomes[command.request].entry))
        return refreshing + commands + self.timed_out(cycle, queued, held)

    def steps_of(self, refresh: Command) -> list[Command]:
        """Return what a refresh under way wants to send now."""
        open_banks = [bank for bank in refresh.banks if bank in self.open_row]
        if not open_banks:
            return [refresh]
        if self.config.refresh == "all_bank":
            return [Command("PREA", refresh.rank, refresh.banks)]
        return [on_bank("PRE", bank) for bank in open_banks]

    def commands_for_bank(
        self, bank: Bank, wanting: Sequence[int], queued: Sequence[int], held: set[Bank]
    ) -> list[Command]:
        """Return the command, if any, that serves the requests `wanting` the bank (oldest first)."""
        if bank in held:
            return []
        oldest = wanting[0]
        if bank not in self.open_row:
            return [on_bank("ACT", bank, row=self.requests[oldest].row, request=oldest)]
        hits = [index for index in wanting if self.requests[index].row == self.open_row[bank]]
        if not hits:
            return [on_bank("PRE", bank, request=oldest)]
        hit = self.requests[hits[0]]
        name = "WR" if hit.write else "RD"
        if self.config.row_policy == "closed" and self.wanting_row(bank, hit.row, queued) == [hits[0]]:
            name += "A"
        return [on_bank(name, bank, hit.row, hit.column, hits[0])]

    def wanting_row(self, bank: Bank, row: int, queued: Sequence[int]) -> list[int]:
        return [index for index in queued if self.requests[index].of_bank == bank and self.requests[index].row == row]

    def timed_out(self, cycle: int, queued: Sequence[int], held: set[Bank]) -> list[Command]:
        """Return the precharges of the row policy."""
        if self.config.row_policy != "timeout":
            return []
        return [
            on_bank("PRE", bank)
            for bank, row in sorted(self.open_row.items())
            if bank not in held
            and not self.wanting_row(bank, row, queued)
            and cycle >= self.last_use[bank] + self.config.row_timeout
        ]

    def issue(self, cycle: int, command: Command) -> None:
        """Send a command and keep track of the banks, the refreshes and the request."""
        place = (command.bank_group, command.bank, command.row, command.column)
        self.log.append((cycle, command.name, self.number, *command.rank, *place))
        self.history.record(cycle, command)
        if command.name == "ACT":
            self.open_row[command.banks[0]] = command.row
        if command.name in ("PRE", "PREA", "RDA", "WRA"):
            for bank in command.banks:
                self.open_row.pop(bank, None)
        if command.name in ("ACT", "RD", "WR", "RDA", "WRA"):
            self.last_use[command.banks[0]] = cycle
        if command.name in ("REF", "REFsb", "REFpb"):
            refresh = self.refreshes[command.rank]
            refresh.owed -= 1
            refresh.issued += 1
            refresh.under_way = False
        if command.request is None:
            return
        outcome = self.outcomes[command.request]
        outcome.activated |= command.name == "ACT"
        outcome.precharged |= command.name == "PRE"
        if command.name in ("RD", "WR", "RDA", "WRA"):
            write = self.requests[command.request].write
            latency = self.standard.write_latency if write else self.standard.read_latency
            outcome.done = cycle + latency + self.standard.timing["nBL"]
            self.queued.remove(command.request)

    def enter(self, cycle: int, queued: Sequence[int]) -> None:
        """Let the next request enter if it may."""
        if not self.waiting:
            return
        index = self.waiting[0]
        request = self.requests[index]
        if request.arrival > cycle:
            return
        if request.after:
            needed = self.outcomes[index - request.after].done
            if needed is None or needed > cycle:
                return
        same_burst = [other for other in queued if self.requests[other].burst == request.burst]
        read_queued = any(not self.requests[other].write for other in same_burst)
        write_queued = any(self.requests[other].write for other in same_burst)
        in_queue = sum(self.requests[other].write == request.write for other in queued)
        if request.write:
            if in_queue >= self.config.write_queue or read_queued:
                return
        elif in_queue >= self.config.read_queue and not write_queued:
            return
        self.waiting.pop(0)
        outcome = self.outcomes[index]
        outcome.entry = cycle
        if write_queued and not request.write:
            outcome.forwarded = True
            outcome.done = cycle + self.standard.timing["nBL"]
        else:
            self.queued.append(index)


def run(standard: Standard, config: Config, requests: Sequence[Request], limit: int = 1_000_000) -> Result:
    """Serve all requests; raise RuntimeError if that takes more cycles than `limit`."""
    outcomes = [Outcome() for _ in requests]
    channels = [
        Channel(number, standard, config, requests, outcomes) for number in range(standard.organization.channels)
    ]
    cycle = 0
    while not all(channel.finished for channel in channels):
        if cycle == limit:
            raise RuntimeError(f"not finished after {limit} cycles")
        for channel in channels:
            if not channel.finished:
                channel.tick(cycle)
        cycle += 1
    for request, outcome in zip(requests, outcomes, strict=True):
        outcome.latency = outcome.done - (request.arrival if request.timed else outcome.entry)
    log = sorted((entry for channel in channels for entry in channel.log), key=lambda entry: (entry[0], entry[2]))
    return Result(log, outcomes, max((outcome.done for outcome in outcomes), default=0))
