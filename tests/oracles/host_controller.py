"""Per-cycle reference of the host memory controller, written from HOST_CONTROLLER.md and STANDARDS.md alone.

`run` takes requests that are already placed (`host_address_map.py` places them), and the bursts of NDP units.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import NamedTuple

from ndpsim.dram.standard.standard import Standard
from oracles.host_commands import COLUMN, LIKE, Bank, Command, History, Rank, on_bank

ORDER = dict.fromkeys(COLUMN, 0) | {"ACT": 1, "PRE": 2}

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
    ndp_window: int = 16
    ndp_policy: str = "host_first"


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


class NdpBurst(NamedTuple):
    """A read or write of one burst between a rank and its own NDP unit."""

    bank_group: int
    bank: int
    row: int
    column: int
    write: bool


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
    """The command log, by cycle, channel and bus; what became of each request; the cycle in which all are done.

    `ndp` has for each NDP sequence the cycles of the column commands of its bursts.
    """

    log: list[LogEntry]
    outcomes: list[Outcome]
    end: int
    ndp: list[list[int]]


class Now(NamedTuple):
    """What the cycles before this one left: the requests queued, by age, and the bursts offered, by bank and age.

    `queued` has the requests of each pseudo-channel.
    """

    cycle: int
    queued: tuple[tuple[int, ...], ...]
    offered: dict[Bank, list[int]]


class Candidates(NamedTuple):
    """All commands that could be issued if they were legal, each list with the most wanted first."""

    refresh: list[Command]
    host: list[Command]
    ndp: dict[Rank, list[Command]]


@dataclass
class RankRefresh:
    """What a rank owes, and which of its refreshes is next."""

    first_due: int
    owed: int = 0
    issued: int = 0
    under_way: bool = False


@dataclass
class Queues:
    """What each pseudo-channel has of its own: its sequence of requests, its queues and their mode."""

    waiting: list[int]
    queued: list[int] = field(default_factory=list)  # in the order of entry
    mode: str = "read"


class Channel:
    """The controller of one channel, ticked cycle by cycle."""

    def __init__(
        self,
        number: int,
        standard: Standard,
        config: Config,
        requests: Sequence[Request],
        outcomes: list[Outcome],
        ndp: Sequence[Sequence[NdpBurst]],
    ) -> None:
        self.number = number
        self.standard = standard
        self.config = config
        self.requests = requests
        self.outcomes = outcomes
        mine = [index for index, request in enumerate(requests) if request.channel == number]
        self.queues = [
            Queues([index for index in mine if requests[index].pseudo_channel == pseudo_channel])
            for pseudo_channel in range(standard.organization.pseudo_channels)
        ]
        self.open_row: dict[Bank, int] = {}
        self.last_use: dict[Bank, int] = {}  # last ACT or column command
        self.last_column: dict[Rank, str] = {}  # whose the last column command was
        self.log: list[LogEntry] = []

        shape = standard.organization
        self.ranks = [Rank(*place) for place in product(range(shape.pseudo_channels), range(shape.ranks))]
        self.history = History(standard, self.ranks)
        self.column_bus_first = sorted(standard.busses, key=lambda bus: "RD" not in bus)
        bursts = ndp[number * len(self.ranks) : (number + 1) * len(self.ranks)]
        self.sequences = dict(zip(self.ranks, bursts, strict=True)) if ndp else {}
        self.ndp_cycles: dict[Rank, list[int | None]] = {r: [None] * len(seq) for r, seq in self.sequences.items()}
        self.refreshes: dict[Rank, RankRefresh] = {}
        if config.refresh != "none":
            interval = standard.refresh[config.refresh].interval
            in_turn = sorted(self.ranks, key=lambda rank: (rank.rank, rank.pseudo_channel))
            first_due = {rank: interval * (r + 1) // len(in_turn) for r, rank in enumerate(in_turn)}
            self.refreshes = {rank: RankRefresh(first_due[rank]) for rank in self.ranks}

    @property
    def finished(self) -> bool:
        served = not any(queues.waiting or queues.queued for queues in self.queues)
        return served and not any(None in cycles for cycles in self.ndp_cycles.values())

    def tick(self, cycle: int) -> None:
        """Do all that happens in a cycle; `Now` is what it begins with, also for the request that enters in it."""
        now = Now(cycle, tuple(tuple(queues.queued) for queues in self.queues), self.offered())
        for queues, queued in zip(self.queues, now.queued, strict=True):
            self.change_mode(queues, queued)
        self.begin_refreshes(now)
        candidates = self.candidates(now)
        # All busses choose before anything is issued. They meet at a bank only where one command is NDP's.
        chosen: dict[tuple[str, ...], list[Command]] = {}
        taken: set[Bank] = set()
        for bus in self.column_bus_first:
            chosen[bus] = self.choose(cycle, bus, candidates, taken)
            taken.update(bank for command in chosen[bus] for bank in command.banks)
        for bus in self.standard.busses:
            for command in chosen[bus]:
                self.issue(cycle, command)
        for queues, queued in zip(self.queues, now.queued, strict=True):
            self.enter(cycle, queues, queued)

    def offered(self) -> dict[Bank, list[int]]:
        """Return the places of the bursts in the windows of the NDP sequences, by bank."""
        by_bank: dict[Bank, list[int]] = defaultdict(list)
        for rank, sequence in self.sequences.items():
            left = [place for place, cycle in enumerate(self.ndp_cycles[rank]) if cycle is None]
            for place in left[: self.config.ndp_window]:
                by_bank[Bank(*rank, sequence[place].bank_group, sequence[place].bank)].append(place)
        return by_bank

    def choose(self, cycle: int, bus: tuple[str, ...], candidates: Candidates, taken: set[Bank]) -> list[Command]:
        """Return the commands that begin on the channel's bus and, after it, on the ranks' busses of this kind."""

        def first_legal(commands: Iterable[Command]) -> Command | None:
            for command in commands:
                if command.like in bus and taken.isdisjoint(command.banks) and self.history.is_legal(cycle, command):
                    return command
            return None

        legal = {rank: first_legal(commands) for rank, commands in candidates.ndp.items()}
        ndp = {rank: command for rank, command in legal.items() if command}
        ours = first_legal(candidates.refresh)
        if not ours:
            passed_over = {rank for rank in ndp if self.ndp_goes_first(rank)}
            ours = first_legal(command for command in candidates.host if command.rank not in passed_over)
        if ours:
            ndp.pop(ours.rank, None)
        return [ours, *ndp.values()] if ours else [*ndp.values()]

    def ndp_goes_first(self, rank: Rank) -> bool:
        policy = self.config.ndp_policy
        return policy == "ndp_first" or (policy == "alternate" and self.last_column.get(rank) == "host")

    def change_mode(self, queues: Queues, queued: Sequence[int]) -> None:
        writes = sum(self.requests[index].write for index in queued)
        reads = len(queued) - writes
        if queues.mode == "read":
            if writes >= self.config.high or (reads == 0 and writes > 0):
                queues.mode = "write"
        elif writes == 0 or (writes <= self.config.low and reads > 0):
            queues.mode = "read"

    def begin_refreshes(self, now: Now) -> None:
        for rank, refresh in self.refreshes.items():
            interval = self.standard.refresh[self.config.refresh].interval
            if now.cycle >= refresh.first_due and (now.cycle - refresh.first_due) % interval == 0:
                refresh.owed += 1
            if refresh.under_way or refresh.owed == 0:
                continue
            banks = self.next_refresh(rank).banks
            wanted = any(bank in now.offered for bank in banks)
            wanted |= any(self.requests[index].of_bank in banks for index in now.queued[rank.pseudo_channel])
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

    def candidates(self, now: Now) -> Candidates:
        under_way = [self.next_refresh(rank) for rank, refresh in self.refreshes.items() if refresh.under_way]
        held = {bank for refresh in under_way for bank in refresh.banks}
        refreshing = [command for refresh in under_way for command in self.steps_of(refresh)]

        active: dict[Bank, list[int]] = defaultdict(list)
        for queues, queued in zip(self.queues, now.queued, strict=True):
            for index in queued:
                if self.requests[index].write == (queues.mode == "write"):
                    active[self.requests[index].of_bank].append(index)
        ndp = self.ndp_candidates(now, set(active), held)

        starved: set[int] = set()
        host: list[Command] = []
        for pseudo_channel, queued in enumerate(now.queued):
            if queued and self.outcomes[queued[0]].entry <= now.cycle - self.config.starvation:
                bank = self.requests[queued[0]].of_bank
                starved.add(pseudo_channel)
                ndp.pop(bank.of_rank, None)
                host += self.commands_for_bank(bank, queued[:1], now, held)
        for bank, indices in active.items():
            if bank.pseudo_channel not in starved:
                commands = self.commands_for_bank(bank, indices, now, held)
                if self.config.ndp_policy == "ndp_first" and bank in now.offered:
                    commands = [command for command in commands if command.name in COLUMN]
                host += commands
        host.sort(key=lambda c: (ORDER[c.name], self.outcomes[c.request].entry, c.rank.pseudo_channel))
        return Candidates(refreshing, host + self.timed_out(now, held, starved), ndp)

    def ndp_candidates(self, now: Now, active: set[Bank], held: set[Bank]) -> dict[Rank, list[Command]]:
        """Return what the NDP units of the ranks want to send; `active` are the banks that the active queue wants."""
        candidates: dict[Rank, list[Command]] = {rank: [] for rank in self.sequences}
        for bank, places in now.offered.items():
            if bank in held:
                continue
            sequence = self.sequences[bank.of_rank]
            hits = [place for place in places if sequence[place].row == self.open_row.get(bank)]
            if hits:
                hit = sequence[hits[0]]
                name = "WRN" if hit.write else "RDN"
                candidates[bank.of_rank].append(on_bank(name, bank, hit.row, hit.column, burst=hits[0]))
            elif self.config.ndp_policy == "host_first" and bank in active:
                continue
            elif bank in self.open_row:
                candidates[bank.of_rank].append(on_bank("PRE", bank, burst=places[0]))
            else:
                candidates[bank.of_rank].append(on_bank("ACT", bank, sequence[places[0]].row, burst=places[0]))
        for commands in candidates.values():
            commands.sort(key=lambda command: (ORDER[command.name], command.burst))
        return candidates

    def steps_of(self, refresh: Command) -> list[Command]:
        """Return what a refresh under way wants to send now."""
        open_banks = [bank for bank in refresh.banks if bank in self.open_row]
        if not open_banks:
            return [refresh]
        if self.config.refresh == "all_bank":
            return [Command("PREA", refresh.rank, refresh.banks)]
        return [on_bank("PRE", bank) for bank in open_banks]

    def commands_for_bank(self, bank: Bank, wanting: Sequence[int], now: Now, held: set[Bank]) -> list[Command]:
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
        if self.config.row_policy == "closed" and self.wanting_row(bank, hit.row, now) == [hits[0]]:
            sequence = self.sequences.get(bank.of_rank, ())
            if not any(sequence[place].row == hit.row for place in now.offered.get(bank, ())):
                name += "A"
        return [on_bank(name, bank, hit.row, hit.column, hits[0])]

    def wanting_row(self, bank: Bank, row: int, now: Now) -> list[int]:
        queued = now.queued[bank.pseudo_channel]
        return [index for index in queued if self.requests[index].of_bank == bank and self.requests[index].row == row]

    def timed_out(self, now: Now, held: set[Bank], starved: set[int]) -> list[Command]:
        """Return the precharges of the row policy; it rests in pseudo-channels in which a request starves."""
        if self.config.row_policy != "timeout":
            return []
        return [
            on_bank("PRE", bank)
            for bank, row in sorted(self.open_row.items())
            if bank not in held
            and bank.pseudo_channel not in starved
            and bank not in now.offered
            and not self.wanting_row(bank, row, now)
            and now.cycle >= self.last_use[bank] + self.config.row_timeout
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
        if command.name in ("ACT", *COLUMN):
            self.last_use[command.banks[0]] = cycle
        if command.name in COLUMN:
            self.last_column[command.rank] = "ndp" if command.of_ndp else "host"
        if command.name in ("REF", "REFsb", "REFpb"):
            refresh = self.refreshes[command.rank]
            refresh.owed -= 1
            refresh.issued += 1
            refresh.under_way = False
        if command.name in LIKE:
            self.ndp_cycles[command.rank][command.burst] = cycle
        if command.request is None:
            return
        outcome = self.outcomes[command.request]
        outcome.activated |= command.name == "ACT"
        outcome.precharged |= command.name == "PRE"
        if command.name in COLUMN:
            outcome.done = done(self.standard, cycle, self.requests[command.request].write)
            self.queues[command.rank.pseudo_channel].queued.remove(command.request)

    def enter(self, cycle: int, queues: Queues, queued: Sequence[int]) -> None:
        """Let the next request of a pseudo-channel enter if it may."""
        if not queues.waiting:
            return
        index = queues.waiting[0]
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
        queues.waiting.pop(0)
        outcome = self.outcomes[index]
        outcome.entry = cycle
        if write_queued and not request.write:
            outcome.forwarded = True
            outcome.done = cycle + self.standard.timing["nBL"]
        else:
            queues.queued.append(index)


def done(standard: Standard, cycle: int, write: bool) -> int:
    """Return when a burst is done whose column command begins in this cycle."""
    latency = standard.write_latency if write else standard.read_latency
    return cycle + latency + standard.timing["nBL"]


def run(
    standard: Standard,
    config: Config,
    requests: Sequence[Request],
    limit: int = 1_000_000,
    ndp: Sequence[Sequence[NdpBurst]] = (),
) -> Result:
    """Serve all requests and NDP bursts; raise RuntimeError if that takes more cycles than `limit`.

    `ndp` has a sequence for every rank of every channel, in the order channel, pseudo-channel, rank; or none at all.
    """
    outcomes = [Outcome() for _ in requests]
    channels = [
        Channel(number, standard, config, requests, outcomes, ndp) for number in range(standard.organization.channels)
    ]
    cycle = 0
    while not all(channel.finished for channel in channels):
        if cycle == limit:
            raise RuntimeError(f"not finished after {limit} cycles")
        for channel in channels:
            channel.tick(cycle)
        cycle += 1
    for request, outcome in zip(requests, outcomes, strict=True):
        outcome.latency = outcome.done - (request.arrival if request.timed else outcome.entry)
    log = sorted((entry for channel in channels for entry in channel.log), key=lambda entry: (entry[0], entry[2]))
    cycles = [issued for channel in channels for issued in channel.ndp_cycles.values()]
    ends = [outcome.done for outcome in outcomes]
    for sequence, issued in zip(ndp, cycles, strict=True):
        ends += [done(standard, at, burst.write) for burst, at in zip(sequence, issued, strict=True)]
    return Result(log, outcomes, max(ends, default=0), cycles)
