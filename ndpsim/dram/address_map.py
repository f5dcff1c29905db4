"""Address maps: how a linear address, counted in bursts, falls on rank, bank group, bank, row and column.

The notation lists digits, most significant first: `row bank rank column bank_group`. `column:3` is a digit of three
bits; a name without a width takes all bits of its field that are not spelt out elsewhere. STREAM_CONTROLLER.md has the
rules for the streams of a rank. Maps of the host also have the digits `channel` and `pseudo_channel`, and may hash
after a bar: in `row rank bank column bank_group | bank ^= row, bank_group ^= row>>2` the bank of a request is its digit
XORed with the low bits of the row, the bank group with those of the row shifted right. In maps of
streams only the rank may be hashed, with the row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ndpsim.dram.standard.standard import Organization, Standard
from ndpsim.errors import InputError

FIELDS = ("bank_group", "bank", "row", "column", "rank")
BANK_GROUP, BANK, ROW, COLUMN = range(4)
HOST_FIELDS = ("channel", "pseudo_channel", "rank", "bank_group", "bank", "row", "column")
HOST_MAP = "row rank bank column bank_group pseudo_channel channel"
"""The host's default: a sequential stream rotates over channels and bank groups, which gives the peak bandwidth."""
MAX_MEMORY = 1 << 62
_HASH = re.compile(r"\s*(\w+)\s*\^=\s*(\w+)\s*(?:>>\s*(\d{1,4})\s*)?", re.ASCII)


class MapArrays(NamedTuple):
    """An address map as kernels see it; digits describe the local address, in which the rank bits are left out.

    rank_lo, rank_width: bits of the rank in the linear address, and rank_hash, the lowest of the bits that they are
    XORed with (63, beyond all addresses, if there are none); digits: int64[n, 4] of (shift in the local address,
    mask, field, shift in the field), least significant first; run_bits: bits of one run in one row; rotating: 1 if
    there are several bank groups and the lowest digits are all their bits.
    """

    rank_lo: int
    rank_width: int
    rank_hash: int
    run_bits: int
    rotating: int
    digits: NDArray[np.int64]


@dataclass(frozen=True)
class AddressMap:
    """A checked address map for one organisation."""

    text: str
    digits: tuple[tuple[str, int], ...]
    hashed: int | None = None
    """How far the row is shifted right with which the rank is XORed."""

    @property
    def bits(self) -> int:
        """Width of a linear address in bits."""
        return sum(width for _, width in self.digits)

    def arrays(self) -> MapArrays:
        """Return the map in the form that kernels take."""
        position = rank_lo = rank_width = local = 0
        filled = dict.fromkeys(FIELDS, 0)
        rows = []
        for name, width in reversed(self.digits):
            if name == "rank":
                if rank_width == 0:
                    rank_lo = position
                rank_width += width
            else:
                rows.append((local, (1 << width) - 1, FIELDS.index(name), filled[name]))
                filled[name] += width
                local += width
            position += width
        names = [(name, width) for name, width in reversed(self.digits) if name != "rank" and width > 0]
        group_bits = filled["bank_group"]
        low = 0
        while names and names[0][0] == "bank_group":
            low += names.pop(0)[1]
        rotating = low == group_bits > 0
        run_bits = low if rotating else 0
        while (rotating or low == 0) and names and names[0][0] == "column":
            run_bits += names.pop(0)[1]
        digits = np.array(rows, np.int64).reshape(-1, 4)
        return MapArrays(rank_lo, rank_width, self._rank_hash(), run_bits, int(rotating), digits)

    def _rank_hash(self) -> int:
        if self.hashed is None:
            return 63
        names = [name for name, _ in self.digits]
        return self.hashed + sum(width for _, width in self.digits[names.index("row") + 1 :])


def parse_address_map(text: str, organization: Organization) -> AddressMap:
    """Read the address map of an NDP stream.

    Raises InputError if a field is missing, unknown, too wide or too narrow, if the rank bits are not contiguous, if it
    has digits that only maps of the host have, or if it hashes anything but the rank with the row, or these where they
    are not each one digit above a run of bursts in one row.
    """
    counts = {
        "bank_group": organization.bank_groups,
        "bank": organization.banks,
        "row": organization.rows,
        "column": organization.columns,
        "rank": organization.ranks,
    }
    notation, bar, hashing = text.partition("|")
    final = _digits(notation, text, counts)
    ranks = [i for i, (name, width) in enumerate(d for d in final if d[1]) if name == "rank"]
    if ranks and ranks[-1] - ranks[0] + 1 != len(ranks):
        raise InputError(f"address map '{text}': rank: expected contiguous bits")
    found = AddressMap(text, final, _rank_hash(hashing, text, counts, final) if bar else None)
    arrays = found.arrays()
    if bar and arrays.rank_lo < arrays.run_bits:
        raise InputError(f"address map '{text}': rank: expected its digit above those of a run in one row to be hashed")
    return found


def _rank_hash(hashing: str, text: str, counts: Mapping[str, int], digits: tuple[tuple[str, int], ...]) -> int:
    hashes = _hashes(hashing, text, counts)
    if len(hashes) != 1 or hashes[0][:2] != ("rank", "row"):
        raise InputError(f"address map '{text}': expected a hash of rank with row: only maps of the host have others")
    shift = hashes[0][2]
    if [name for name, width in digits if width].count("row") > 1 or counts["row"] >> shift < counts["rank"]:
        raise InputError(
            f"address map '{text}': hash of rank: expected row in one digit, as wide as the rank, "
            f"found {hashing.strip()}"
        )
    return shift


class HostMapArrays(NamedTuple):
    """A map of the host as kernels see it; fields are numbered as in HOST_FIELDS.

    digits: int64[k, 4] of (shift in the burst address, mask, field, shift in the field). hashes: int64[h, 4] of (target
    field, source field, shift, mask): target ^= source >> shift & mask; no source is itself a target.
    """

    digits: NDArray[np.int64]
    hashes: NDArray[np.int64]


@dataclass(frozen=True)
class HostMap:
    """A checked address map of a whole memory system; an address beyond its end wraps to the start.

    digits: (field, bits), most significant first. hashes: (target, source, shift).
    """

    text: str
    burst_bytes: int
    digits: tuple[tuple[str, int], ...]
    hashes: tuple[tuple[str, str, int], ...]

    @property
    def size(self) -> int:
        """Bytes that the map covers: all of the memory."""
        return self.burst_bytes << sum(width for _, width in self.digits)

    def counts(self) -> dict[str, int]:
        """Return how many channels, ranks, ... there are, for each of HOST_FIELDS."""
        bits = dict.fromkeys(HOST_FIELDS, 0)
        for name, width in self.digits:
            bits[name] += width
        return {name: 1 << width for name, width in bits.items()}

    def arrays(self) -> HostMapArrays:
        """Return the map in the form that kernels take."""
        number = HOST_FIELDS.index
        position, filled = 0, dict.fromkeys(HOST_FIELDS, 0)
        digits = []
        for name, width in reversed(self.digits):
            digits.append((position, (1 << width) - 1, number(name), filled[name]))
            position += width
            filled[name] += width
        counts = self.counts()
        hashes = [(number(target), number(source), shift, counts[target] - 1) for target, source, shift in self.hashes]
        return HostMapArrays(np.array(digits, np.int64).reshape(-1, 4), np.array(hashes, np.int64).reshape(-1, 4))

    def decode(self, address: npt.ArrayLike) -> dict[str, NDArray[np.int64]]:
        """Return int64[n] for each of HOST_FIELDS: where the bytes of int64[n] addresses (>= 0) lie."""
        burst = np.asarray(address, np.int64) // self.burst_bytes
        fields = {name: np.zeros_like(burst) for name in HOST_FIELDS}
        arrays = self.arrays()
        for shift, mask, field, shift_in_field in arrays.digits.tolist():
            fields[HOST_FIELDS[field]] |= (burst >> shift & mask) << shift_in_field
        self._hash(fields, arrays)
        return fields

    def encode(self, fields: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the byte address, int64[n], of each burst whose place is given by int64[n] for each of HOST_FIELDS."""
        plain = dict(fields)
        arrays = self.arrays()
        self._hash(plain, arrays)  # sources are not hashed themselves, so that hashing twice changes nothing
        burst = np.zeros(len(plain["row"]), np.int64)
        for shift, mask, field, shift_in_field in arrays.digits.tolist():
            burst |= (plain[HOST_FIELDS[field]] >> shift_in_field & mask) << shift
        return burst * self.burst_bytes

    def _hash(self, fields: dict[str, NDArray[np.int64]], arrays: HostMapArrays) -> None:
        for target, source, shift, mask in arrays.hashes.tolist():
            fields[HOST_FIELDS[target]] = fields[HOST_FIELDS[target]] ^ (fields[HOST_FIELDS[source]] >> shift & mask)


def host_map(text: str | None, standard: Standard) -> HostMap:
    """Read an address map of the host; None is HOST_MAP.

    Raises InputError if a field is missing, unknown, too wide or too narrow, if a hash is malformed, or if the memory
    has more than MAX_MEMORY bytes.
    """
    text = HOST_MAP if text is None else text
    organization = standard.organization
    counts = {
        "channel": organization.channels,
        "pseudo_channel": organization.pseudo_channels,
        "rank": organization.ranks,
        "bank_group": organization.bank_groups,
        "bank": organization.banks,
        "row": organization.rows,
        "column": organization.columns,
    }
    notation, bar, hashing = text.partition("|")
    digits = _digits(notation, text, counts)
    hashes = _hashes(hashing, text, counts) if bar else ()
    found = HostMap(text, standard.burst_bytes, digits, hashes)
    if found.size > MAX_MEMORY:
        raise InputError(f"address map '{text}': expected a memory of at most {MAX_MEMORY} bytes, found {found.size}")
    return found


def _digits(notation: str, text: str, counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    widths = {name: count.bit_length() - 1 for name, count in counts.items()}
    digits: list[tuple[str, int | None]] = []
    for part in notation.split():
        name, colon, width = part.partition(":")
        if name not in widths:
            only = ", which only maps of the host have" if name in HOST_FIELDS else ""
            raise InputError(f"address map '{text}': expected one of {', '.join(widths)}, found '{name}'{only}")
        if colon and not (width.isdecimal() and len(width) < 4):
            raise InputError(f"address map '{text}': {name}: expected a width in bits, found '{width}'")
        digits.append((name, int(width) if colon else None))
    for name in widths:
        given = [width for n, width in digits if n == name]
        spelt = sum(width for width in given if width is not None)
        if given.count(None) > 1 or spelt > widths[name] or (None not in given and spelt != widths[name]):
            raise InputError(f"address map '{text}': {name}: expected {widths[name]} bits in all")
        digits = [(n, widths[name] - spelt if n == name and w is None else w) for n, w in digits]
    return tuple((name, width or 0) for name, width in digits)


def _hashes(hashing: str, text: str, counts: Mapping[str, int]) -> tuple[tuple[str, str, int], ...]:
    hashes: list[tuple[str, str, int]] = []
    for part in hashing.split(","):
        match = _HASH.fullmatch(part)
        if match is None:
            raise InputError(f"address map '{text}': expected a hash such as bank ^= row>>2, found '{part.strip()}'")
        target, source, shift = match[1], match[2], int(match[3] or 0)
        targets = [name for name in counts if name not in ("row", "column", *(done for done, _, _ in hashes))]
        where = f"address map '{text}': hash of {target}"
        if target not in targets:
            raise InputError(f"address map '{text}': hash: expected one of {', '.join(targets)}, found '{target}'")
        if source not in ("row", "column"):
            raise InputError(f"{where}: expected row or column, found '{source}'")
        if shift and counts[source] >> shift <= 1:
            raise InputError(f"{where}: expected a shift within {source}, found >>{shift}")
        hashes.append((target, source, shift))
    return tuple(hashes)
