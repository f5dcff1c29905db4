"""Address maps: how a linear address, counted in bursts of 64 bytes, falls on rank, bank group, bank, row and column.

The notation lists digits, most significant first: `row bank rank column bank_group`. `column:3` is a digit of three
bits; a name without a width takes all bits of its field that are not spelt out elsewhere. CONTROLLER.md has the rules.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.standard import Organization
from ndpsim.errors import InputError

FIELDS = ("bank_group", "bank", "row", "column", "rank")
BANK_GROUP, BANK, ROW, COLUMN = range(4)


class MapArrays(NamedTuple):
    """An address map as kernels see it; digits describe the local address, in which the rank bits are left out.

    rank_lo, rank_width: bits of the rank in the linear address; digits: int64[n, 4] of (shift in the local address,
    mask, field, shift in the field), least significant first; run_bits: bits of one run in one row; rotating: 1 if
    there are several bank groups and the lowest digits are all their bits.
    """

    rank_lo: int
    rank_width: int
    run_bits: int
    rotating: int
    digits: NDArray[np.int64]


@dataclass(frozen=True)
class AddressMap:
    """A checked address map for one organisation."""

    text: str
    digits: tuple[tuple[str, int], ...]

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
        return MapArrays(rank_lo, rank_width, run_bits, int(rotating), np.array(rows, np.int64).reshape(-1, 4))


def parse_address_map(text: str, organization: Organization) -> AddressMap:
    """Read an address map.

    Raises InputError if a field is missing, unknown, too wide or too narrow, or if the rank bits are not contiguous.
    """
    total = {
        "rank": organization.ranks,
        "bank_group": organization.bank_groups,
        "bank": organization.banks,
        "row": organization.rows,
        "column": organization.columns,
    }
    widths = {name: count.bit_length() - 1 for name, count in total.items()}
    digits: list[tuple[str, int | None]] = []
    for part in text.split():
        name, colon, width = part.partition(":")
        if name not in FIELDS:
            raise InputError(f"address map '{text}': expected one of {', '.join(FIELDS)}, found '{name}'")
        if colon and not (width.isdecimal() and len(width) < 4):
            raise InputError(f"address map '{text}': {name}: expected a width in bits, found '{width}'")
        digits.append((name, int(width) if colon else None))
    for name in FIELDS:
        given = [width for n, width in digits if n == name]
        spelt = sum(width for width in given if width is not None)
        if given.count(None) > 1 or spelt > widths[name] or (None not in given and spelt != widths[name]):
            raise InputError(f"address map '{text}': {name}: expected {widths[name]} bits in all")
        digits = [(n, widths[name] - spelt if n == name and w is None else w) for n, w in digits]
    final = tuple((name, width or 0) for name, width in digits)
    ranks = [i for i, (name, width) in enumerate(d for d in final if d[1]) if name == "rank"]
    if ranks and ranks[-1] - ranks[0] + 1 != len(ranks):
        raise InputError(f"address map '{text}': rank: expected contiguous bits")
    return AddressMap(text, final)
