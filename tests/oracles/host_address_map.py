"""Naive decoder of the host's address maps: digits, and XOR hashing after a bar."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndpsim.dram.standard.standard import Standard
from oracles.host_controller import Request


@dataclass(frozen=True)
class AddressMap:
    """Of every address bit, least significant first, its field and the bit of that; hashes: (field, source, shift)."""

    bits: tuple[tuple[str, int], ...]
    hashes: tuple[tuple[str, str, int], ...]
    widths: dict[str, int]
    burst_bytes: int

    def burst(self, address: int) -> int:
        """Return the number of the burst at a byte address: the bits below a burst and above the map are dropped."""
        return address // self.burst_bytes % 2 ** len(self.bits)

    def locate(self, address: int) -> dict[str, int]:
        """Return each field of a byte address."""
        fields = dict.fromkeys(self.widths, 0)
        rest = self.burst(address)
        for name, bit in self.bits:
            fields[name] += rest % 2 * 2**bit
            rest //= 2
        for name, source, shift in self.hashes:
            fields[name] ^= (fields[source] >> shift) % 2 ** self.widths[name]
        return fields


def parse_map(text: str, standard: Standard) -> AddressMap:
    """Read `digits | hashes`: the digits most significant first, the hashes as `bank ^= row>>2, bank_group ^= row`."""
    shape = standard.organization
    counts = {
        "channel": shape.channels,
        "pseudo_channel": shape.pseudo_channels,
        "rank": shape.ranks,
        "bank_group": shape.bank_groups,
        "bank": shape.banks,
        "row": shape.rows,
        "column": shape.columns,
    }
    widths = {name: count.bit_length() - 1 for name, count in counts.items()}
    digits, _, hashing = text.partition("|")

    # From the least significant end; the digit without a width takes what the others of its field leave.
    left = dict(widths)
    tokens = [token.partition(":") for token in digits.split()]
    for name, _, width in tokens:
        left[name] -= int(width or 0)
    bits: list[tuple[str, int]] = []
    filled = dict.fromkeys(widths, 0)
    for name, _, width in reversed(tokens):
        for _ in range(int(width) if width else left[name]):
            bits.append((name, filled[name]))
            filled[name] += 1
    if filled != widths:
        raise ValueError(f"{text!r}: not all bits of each field occur exactly once")

    hashes = []
    for clause in filter(str.strip, hashing.split(",")):
        name, _, value = clause.partition("^=")
        source, _, shift = value.partition(">>")
        if name.strip() in ("row", "column") or source.strip() not in ("row", "column"):
            raise ValueError(f"{text!r}: expected another field ^= row or column, found {clause.strip()!r}")
        hashes.append((name.strip(), source.strip(), int(shift or 0)))
    return AddressMap(tuple(bits), tuple(hashes), widths, standard.burst_bytes)


def place_requests(
    standard: Standard,
    address_map: str,
    addresses: Sequence[int],
    writes: Sequence[bool],
    arrivals: Sequence[int] | None = None,
    afters: Sequence[int] | None = None,
) -> list[Request]:
    """Return the requests of a trace of byte addresses; `arrivals` None: without arrival cycles."""
    the_map = parse_map(address_map, standard)
    return [
        Request(
            **the_map.locate(address),
            burst=the_map.burst(address),
            write=write,
            arrival=arrivals[index] if arrivals is not None else 0,
            after=afters[index] if afters is not None else 0,
            timed=arrivals is not None,
        )
        for index, (address, write) in enumerate(zip(addresses, writes, strict=True))
    ]
