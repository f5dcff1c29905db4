"""Commands of the host controller's reference, the banks and busses that they use, and when one is legal.

RDN and WRN are the column commands between a rank and its own NDP unit.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ndpsim.dram.standard.standard import Standard

COLUMN = ("RD", "WR", "RDA", "WRA", "RDN", "WRN")
LIKE = {"RDN": "RD", "WRN": "WR"}  # what the standard says of these


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
class Command:
    """A command that could be issued, the banks that it works on, and on whose behalf.

    `request` is one of the host's, `burst` the place of one in the rank's NDP sequence; a refresh has neither.
    """

    name: str
    rank: Rank
    banks: tuple[Bank, ...]
    bank_group: int = -1
    bank: int = -1
    row: int = -1
    column: int = -1
    request: int | None = None
    burst: int | None = None

    @property
    def like(self) -> str:
        """The command that has the same constraints and clocks, and goes over the same kind of bus."""
        return LIKE.get(self.name, self.name)

    @property
    def of_ndp(self) -> bool:
        return self.burst is not None


def on_bank(
    name: str, bank: Bank, row: int = -1, column: int = -1, request: int | None = None, burst: int | None = None
) -> Command:
    """Return a command to one bank."""
    return Command(name, bank.of_rank, (bank,), bank.bank_group, bank.bank, row, column, request, burst)


@dataclass
class History:
    """When each command was issued, by what it worked on, and the rule book over it."""

    standard: Standard
    ranks: Sequence[Rank]
    times: dict[tuple[str, tuple[int, ...], str], list[int]] = field(default_factory=lambda: defaultdict(list))
    busy_until: dict[tuple[Rank | None, int], int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        rows = self.standard.constraints
        self.rows = {name: [row for row in rows if row.later == name] for name in self.standard.clocks}
        self.kind_of_bus = {name: kind for kind, bus in enumerate(self.standard.busses) for name in bus}

    def record(self, cycle: int, command: Command) -> None:
        for scope in ("bank", "bank_group", "rank"):
            for place in places(scope, command):
                self.times[scope, place, command.like].append(cycle)
        for rank in self.ranks:  # RDN and WRN by names that no rule of this scope has
            if rank.pseudo_channel == command.rank.pseudo_channel and rank != command.rank:
                self.times["other_rank", rank, command.name].append(cycle)
        for bus in self.busses_of(command):
            self.busy_until[bus] = cycle + self.standard.clocks[command.like]

    def is_legal(self, cycle: int, command: Command) -> bool:
        for bus in self.busses_of(command):
            if cycle < self.busy_until[bus]:
                return False
        for row in self.rows[command.like]:
            if row.scope == "other_rank" and command.name in LIKE:
                continue
            for place in places(row.scope, command):
                earlier = self.times[row.scope, place, row.earlier]
                if len(earlier) >= row.window and cycle < earlier[-row.window] + row.gap:
                    return False
        return True

    def busses_of(self, command: Command) -> tuple[tuple[Rank | None, int], ...]:
        """Return the busses that carry the command: its rank's, and the channel's (None) unless it is NDP's."""
        kind = self.kind_of_bus[command.like]
        return ((command.rank, kind),) if command.of_ndp else ((command.rank, kind), (None, kind))


def places(scope: str, command: Command) -> Iterable[tuple[int, ...]]:
    """Return the banks, bank groups or ranks in which a rule of this scope looks back from the command."""
    if scope == "bank":
        return command.banks
    if scope == "bank_group":
        return {bank[:3] for bank in command.banks}
    return (command.rank,)
