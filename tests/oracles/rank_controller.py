"""Per-cycle reference of the stream controller of one rank, written from ndpsim/dram/STREAM_CONTROLLER.md alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["RD", "WR"]
LogEntry = tuple[int, str, int, int, int, int]  # cycle, command, bank group, bank, row, column

FIELD_SIZES = {"rank": "ranks", "bank_group": "bank_groups", "bank": "banks", "row": "rows", "column": "columns"}
NEVER = -(10**15)
CLOSED = -1


class Location(NamedTuple):
    """Where one atom lies."""

    rank: int
    bank_group: int
    bank: int
    row: int
    column: int


class BankId(NamedTuple):
    """A bank within its rank."""

    bank_group: int
    bank: int


@dataclass(frozen=True)
class AddressMap:
    """Of every address bit, most significant first: its field and the bit of that field which it holds."""

    bits: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Train:
    """Bursts that the column engine issues `pace` clocks apart."""

    bursts: tuple[Location, ...]
    pace: int

    @property
    def row(self) -> int:
        return self.bursts[0].row

    @property
    def banks(self) -> list[BankId]:
        """The banks that the train touches, in the order of first use."""
        return list(dict.fromkeys(bank_of(burst) for burst in self.bursts))


def bank_of(location: Location) -> BankId:
    """Return the bank of a location."""
    return BankId(location.bank_group, location.bank)


def parse_map(text: str, organization: dict[str, int]) -> AddressMap:
    """Read a list of digits, most significant first; the first part of a split digit is its more significant one."""
    width_of = {}
    for name, sizes in FIELD_SIZES.items():
        size = organization[sizes]
        if size < 1 or size & (size - 1):
            raise ValueError(f"{sizes}: expected a power of two, found {size}")
        width_of[name] = size.bit_length() - 1

    digits: list[tuple[str, int | None]] = []
    for token in text.split():
        name, colon, width = token.partition(":")
        if name not in width_of:
            raise ValueError(f"{text!r}: unknown digit {name!r}")
        digits.append((name, int(width) if colon else None))

    bits_left = dict(width_of)
    for name, width_or_rest in digits:
        bits_left[name] -= width_or_rest or 0
    widths = []
    for name, width_or_rest in digits:
        if width_or_rest is None:
            if digits.count((name, None)) > 1:
                raise ValueError(f"{text!r}: {name} occurs twice without a width")
            width_or_rest = bits_left[name]
            bits_left[name] = 0
        if width_or_rest < 0:
            raise ValueError(f"{text!r}: {name} has {width_of[name]} bits only")
        widths.append((name, width_or_rest))
    if any(bits_left.values()):
        raise ValueError(f"{text!r}: not all bits of each field occur exactly once")

    next_bit = dict(width_of)
    bits = []
    for name, count in widths:
        for _ in range(count):
            next_bit[name] -= 1
            bits.append((name, next_bit[name]))

    positions = [position for position, (name, _) in enumerate(bits) if name == "rank"]
    if positions and positions != list(range(positions[0], positions[-1] + 1)):
        raise ValueError(f"{text!r}: the bits of rank are not contiguous")
    return AddressMap(tuple(bits))


def locate(atom: int, address_map: AddressMap) -> Location:
    """Return the location of an atom, one address bit at a time."""
    if not 0 <= atom < 2 ** len(address_map.bits):
        raise ValueError(f"atom {atom} lies outside of the memory")
    fields = dict.fromkeys(FIELD_SIZES, 0)
    rest = atom
    for name, bit in reversed(address_map.bits):
        if rest % 2:
            fields[name] += 2**bit
        rest //= 2
    return Location(**fields)


def trains_of(
    rows: Sequence[tuple[int, int]],
    address_map: AddressMap,
    organization: dict[str, int],
    timing: dict[str, int],
    rank: int,
) -> list[Train]:
    """Cut the atoms of the matrix rows (first atom, number of atoms) that lie in `rank` into trains."""
    groups = organization["bank_groups"]
    local_bits = [name for name, _ in address_map.bits if name != "rank"]
    lowest = local_bits[len(local_bits) - (groups.bit_length() - 1) :]
    rotating = groups > 1 and all(name == "bank_group" for name in lowest)
    fast_enough = timing["nCCD_S"] * groups >= timing["nCCD_L"]
    pace = timing["nCCD_S"] if rotating and fast_enough and groups > 1 else timing["nCCD_L"]

    def continues(before: Location, after: Location) -> bool:
        if rotating and not fast_enough:
            return False
        if rotating:
            return (before.row, before.bank) == (after.row, after.bank)
        return (before.row, bank_of(before)) == (after.row, bank_of(after))

    trains = []
    for first_atom, n_atoms in rows:
        run: list[Location] = []
        for atom in range(first_atom, first_atom + n_atoms):
            location = locate(atom, address_map)
            if location.rank != rank:
                continue
            if run and not continues(run[-1], location):
                trains.append(Train(tuple(run), pace))
                run = []
            run.append(location)
        if run:
            trains.append(Train(tuple(run), pace))
    return trains


@dataclass
class Bank:
    """The open row of one bank and the cycles of its last commands."""

    open_row: int = CLOSED
    act: int = NEVER
    pre: int = NEVER
    column: dict[str, int] = field(default_factory=lambda: {"RD": NEVER, "WR": NEVER})


class RowCommand(NamedTuple):
    """An ACT or a PRE in its queue, and the train that asked for it."""

    train: int
    bank: BankId
    row: int


@dataclass
class Stream:
    """How far the stream at work has come."""

    trains: Sequence[Train]
    kind: Kind
    start: int
    service_ps: int
    taken_up: int = 0  # trains 0 .. taken_up - 1 have been taken up
    train: int = 0  # the column engine's train,
    burst: int = 0  # and its next burst there
    burst_0_cycle: list[int] = field(default_factory=list)  # of every train that was started
    last_burst: int = NEVER
    finished_ps: int | None = None  # f of the last burst issued

    @property
    def issued(self) -> bool:
        return self.train == len(self.trains)


class RankController:
    """One rank behind the buffer chip, ticked clock by clock; its state lasts from stream to stream."""

    def __init__(
        self, timing: dict[str, int], tck_ps: int, organization: dict[str, int], ahead: int, depth: int, first_due: int
    ) -> None:
        if ahead < 1 or depth < 2:
            raise ValueError(f"expected ahead >= 1 and depth >= 2, found {ahead} and {depth}")
        if 0 < timing["nREFI"] <= timing["nRFC"]:
            raise ValueError("expected nREFI > nRFC: the rank would refresh for ever")
        self.timing = timing
        self.tck_ps = tck_ps
        self.ahead = ahead
        self.depth = depth
        self.due = first_due
        self.now = 0
        self.log: list[LogEntry] = []
        groups = range(organization["bank_groups"])
        self.banks = {BankId(group, bank): Bank() for group in groups for bank in range(organization["banks"])}
        self.row_to_be = dict.fromkeys(self.banks, CLOSED)  # the open rows, once both queues have run empty
        self.activates: list[RowCommand] = []
        self.precharges: list[RowCommand] = []
        self.act_cycles = [NEVER] * 4
        self.act_in_group = dict.fromkeys(groups, NEVER)
        self.column_in_rank = {"RD": NEVER, "WR": NEVER}
        self.column_in_group = {kind: dict.fromkeys(groups, NEVER) for kind in ("RD", "WR")}
        self.ref = NEVER

    def run_stream(self, trains: Sequence[Train], kind: Kind, start_cycle: int, service_ps: int) -> int:
        """Tick through the gap up to the stream and through the stream; return when it is done, in picoseconds."""
        if start_cycle < self.now:
            raise ValueError(f"a stream starts at {start_cycle}, but the rank is at {self.now} already")
        if kind == "RD" and service_ps < self.tck_ps:
            raise ValueError(f"expected a service time of a clock or more, found {service_ps} ps")
        stream = Stream(trains, kind, start_cycle, service_ps)
        while self.now < start_cycle:
            self._tick(None)
        # An empty stream is done before its start cycle ticks. The page leaves open who issues a refresh that is due
        # just then or half done: here it is the next stream, if there is one.
        while not stream.issued:
            self._tick(stream)
        if not trains:
            return start_cycle * self.tck_ps
        if kind == "WR":
            return (stream.last_burst + self.timing["nCWL"] + self.timing["nBL"]) * self.tck_ps
        assert stream.finished_ps is not None
        return stream.finished_ps

    def _tick(self, stream: Stream | None) -> None:
        """Do one clock: take up trains, then issue at most one command."""
        refresh_due = self.timing["nREFI"] > 0 and self.now >= self.due
        refreshing = self.now < self.ref + self.timing["nRFC"]
        if stream is not None and not refresh_due and not refreshing:
            self._take_up(stream)
        # A refresh that is due stops the row engine at once. That it is "handled" only when a train could be taken up
        # makes no difference: as long as none can, an earlier train of the window is unfinished.
        drained = stream is None or stream.train == stream.taken_up
        if stream is not None and not drained:
            _ = self._issue_burst(stream) or self._issue_act() or self._issue_pre(stream)
        elif refresh_due:
            self._refresh()
        self.now += 1

    # The row engine

    def _take_up(self, stream: Stream) -> None:
        """Take up every train that may be taken up in this clock."""
        while stream.taken_up < len(stream.trains):
            index = stream.taken_up
            before = index - self.ahead
            if before >= 0 and (before >= len(stream.burst_0_cycle) or stream.burst_0_cycle[before] >= self.now):
                return
            train = stream.trains[index]
            for bank in train.banks:
                if self.row_to_be[bank] == train.row:
                    continue
                if self.row_to_be[bank] != CLOSED:
                    self.precharges.append(RowCommand(index, bank, train.row))
                self.activates.append(RowCommand(index, bank, train.row))
                self.row_to_be[bank] = train.row
            stream.taken_up += 1

    def _issue_act(self) -> bool:
        """Issue the head of the activates if it is possible."""
        if not self.activates:
            return False
        _, bank_id, row = self.activates[0]
        bank = self.banks[bank_id]
        if bank.open_row != CLOSED:  # its PRE is still queued
            return False
        t = self.timing
        earliest = max(
            bank.act + t["nRC"],
            bank.pre + t["nRP"],
            self.act_cycles[-1] + t["nRRD_S"],
            self.act_in_group[bank_id.bank_group] + t["nRRD_L"],
            self.act_cycles[-4] + t["nFAW"],
            self.ref + t["nRFC"],
        )
        if self.now < earliest:
            return False
        self.activates.pop(0)
        bank.open_row = row
        bank.act = self.act_in_group[bank_id.bank_group] = self.now
        self.act_cycles.append(self.now)
        self._record("ACT", *bank_id, row)
        return True

    def _issue_pre(self, stream: Stream) -> bool:
        """Issue the head of the precharges if it is possible."""
        if not self.precharges:
            return False
        train, bank_id, _ = self.precharges[0]
        if self.now < self._earliest_pre(bank_id) or self._awaits_burst(stream, train, bank_id):
            return False
        self.precharges.pop(0)
        self._precharge(bank_id)
        self._record("PRE", *bank_id)
        return True

    def _earliest_pre(self, bank_id: BankId) -> int:
        bank, t = self.banks[bank_id], self.timing
        return max(
            bank.act + t["nRAS"],
            bank.column["RD"] + t["nRTP"],
            bank.column["WR"] + t["nCWL"] + t["nBL"] + t["nWR"],
        )

    def _awaits_burst(self, stream: Stream, before_train: int, bank_id: BankId) -> bool:
        """Tell whether a burst to this bank of an earlier train was not issued yet.

        The page can also be read to mean all bursts of the earlier trains that touch this bank. Taken here: only
        their bursts to this very bank.
        """
        for index in range(stream.train, before_train):
            first_unissued = stream.burst if index == stream.train else 0
            if any(bank_of(burst) == bank_id for burst in stream.trains[index].bursts[first_unissued:]):
                return True
        return False

    def _precharge(self, bank_id: BankId) -> None:
        self.banks[bank_id].open_row = CLOSED
        self.banks[bank_id].pre = self.now

    # The column engine

    def _issue_burst(self, stream: Stream) -> bool:
        """Issue the next burst of the train at work if it is possible."""
        train, kind = stream.trains[stream.train], stream.kind
        arrival = (self.now + self.timing["nCL"] + self.timing["nBL"]) * self.tck_ps
        if kind == "RD" and stream.finished_ps is not None:
            room_from = stream.finished_ps - (self.depth - 1) * stream.service_ps
            if arrival < room_from:
                return False
        if stream.burst == 0:
            if not self._may_start(stream, train):
                return False
            stream.burst_0_cycle.append(self.now)
        elif self.now < stream.last_burst + train.pace:
            return False

        burst = train.bursts[stream.burst]
        bank = self.banks[bank_of(burst)]
        assert bank.open_row == burst.row
        assert self.now >= bank.act + self.timing["nRCD"]
        bank.column[kind] = self.column_in_rank[kind] = self.column_in_group[kind][burst.bank_group] = self.now
        self._record(kind, *bank_of(burst), burst.row, burst.column)
        stream.last_burst = self.now
        if kind == "RD":
            before = arrival if stream.finished_ps is None else stream.finished_ps
            stream.finished_ps = max(arrival, before) + stream.service_ps
        stream.burst += 1
        if stream.burst == len(train.bursts):
            stream.train, stream.burst = stream.train + 1, 0
        return True

    def _may_start(self, stream: Stream, train: Train) -> bool:
        """Rules 1 to 7 of the column engine; `_tick` asks only for trains that were taken up (the page implies it)."""
        t, kind = self.timing, stream.kind
        if any(command.train == stream.train for command in self.activates + self.precharges):
            return False
        # Rule 1 needs no more than this: a row command of this train has used its clock up.
        earliest = max(stream.start, self.column_in_rank[kind] + t["nCCD_S"], self.ref + t["nRFC"])
        if kind == "RD":
            earliest = max(earliest, self.column_in_rank["WR"] + t["nCWL"] + t["nBL"] + t["nWTR_S"])
        else:
            earliest = max(earliest, self.column_in_rank["RD"] + t["nCL"] + t["nBL"] + 2 - t["nCWL"])
        if self.now < earliest:
            return False
        for k, bank_id in enumerate(train.banks):
            allowed = max(
                self.banks[bank_id].act + t["nRCD"],
                self.column_in_group[kind][bank_id.bank_group] + t["nCCD_L"],
            )
            if kind == "RD":
                last_write = self.column_in_group["WR"][bank_id.bank_group]
                allowed = max(allowed, last_write + t["nCWL"] + t["nBL"] + t["nWTR_L"])
            if self.now + k * train.pace < allowed:
                return False
        return True

    # Refresh

    def _refresh(self) -> None:
        """Bring a refresh that is due a step on, all trains taken up being finished."""
        open_banks = [bank_id for bank_id, bank in self.banks.items() if bank.open_row != CLOSED]
        if open_banks:
            if all(self.now >= self._earliest_pre(bank_id) for bank_id in open_banks):
                for bank_id in self.banks:
                    self._precharge(bank_id)
                    self.row_to_be[bank_id] = CLOSED
                self._record("PREA")
            return
        precharged = all(self.now >= bank.pre + self.timing["nRP"] for bank in self.banks.values())
        if precharged and self.now >= self.ref + self.timing["nRFC"]:
            self.ref = self.now
            self.due += self.timing["nREFI"]
            self._record("REF")

    def _record(self, command: str, bank_group: int = -1, bank: int = -1, row: int = -1, column: int = -1) -> None:
        self.log.append((self.now, command, bank_group, bank, row, column))
