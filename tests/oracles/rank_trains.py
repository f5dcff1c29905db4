"""Addresses, and trains of bursts in one rank, written from ndpsim/dram/ndp/STREAM_CONTROLLER.md alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ndpsim.dram.standard.standard import Standard

Kind = Literal["RD", "WR"]

FIELD_SIZES = {"rank": "ranks", "bank_group": "bank_groups", "bank": "banks", "row": "rows", "column": "columns"}


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
    """Of every address bit, most significant first: its field and the bit of that field which it holds.

    hashed: how far the row is shifted right with which the rank is XORed.
    """

    bits: tuple[tuple[str, int], ...]
    hashed: int | None = None


@dataclass(frozen=True)
class Train:
    """Bursts that the column engine issues `pace` clocks apart, and the sequences that their matrix row works for."""

    bursts: tuple[Location, ...]
    pace: int
    sequences: int = 1

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
    written, _, hashing = text.partition("|")
    for token in written.split():
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
    if not hashing:
        return AddressMap(tuple(bits))
    target, _, source = hashing.split()
    field, _, shift = source.partition(">>")
    if (target, field) != ("rank", "row"):
        raise ValueError(f"{text!r}: only the rank is hashed, with the row")
    return AddressMap(tuple(bits), int(shift or 0))


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
    if address_map.hashed is not None:
        ranks = 2 ** sum(name == "rank" for name, _ in address_map.bits)
        fields["rank"] ^= fields["row"] // 2**address_map.hashed % ranks
    return Location(**fields)


def gap_of(standard: Standard, earlier: str, later: str, scope: str) -> int:
    """Return the clocks that `later` comes after the latest `earlier` in the scope, from first clock to first."""
    gaps = [
        row.gap
        for row in standard.constraints
        if (row.earlier, row.later, row.scope, row.window) == (earlier, later, scope, 1)
    ]
    if scope == "rank" and any(earlier in bus and later in bus for bus in standard.busses):
        gaps.append(standard.clocks[earlier])
    return max(gaps, default=0)


def trains_of(
    rows: Sequence[tuple[int, int]],
    address_map: AddressMap,
    organization: dict[str, int],
    standard: Standard,
    kind: Kind,
    rank: int,
    sequences: Sequence[int] | None = None,
) -> list[Train]:
    """Cut the atoms of the matrix rows (first atom, number of atoms) that lie in `rank` into trains of one kind.

    sequences: of each row, 1 if not given.
    """
    groups = organization["bank_groups"]
    local_bits = [name for name, _ in address_map.bits if name != "rank"]
    lowest = local_bits[len(local_bits) - (groups.bit_length() - 1) :]
    rotating = groups > 1 and all(name == "bank_group" for name in lowest)
    near = max(gap_of(standard, kind, kind, "rank"), standard.clocks[kind])
    far = max(near, gap_of(standard, kind, kind, "bank_group"))
    fast_enough = near * groups >= far
    pace = near if rotating and fast_enough else far

    def continues(before: Location, after: Location) -> bool:
        if rotating and not fast_enough:
            return False
        if rotating:
            return (before.row, before.bank) == (after.row, after.bank)
        return (before.row, bank_of(before)) == (after.row, bank_of(after))

    trains = []
    for (first_atom, n_atoms), worked_for in zip(rows, sequences or [1] * len(rows), strict=True):
        run: list[Location] = []
        for atom in range(first_atom, first_atom + n_atoms):
            location = locate(atom, address_map)
            if location.rank != rank:
                continue
            if run and not continues(run[-1], location):
                trains.append(Train(tuple(run), pace, worked_for))
                run = []
            run.append(location)
        if run:
            trains.append(Train(tuple(run), pace, worked_for))
    return trains
