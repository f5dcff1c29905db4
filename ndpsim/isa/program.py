"""Program files (`.ndp`): the instruction streams of all DIMMs, what they may touch, and the machine they are for.

Layout, little-endian: 8 bytes magic, u32 version, u32 length of the header, header (JSON), then per DIMM its
instructions (16 bytes each) and its list section (4 bytes an entry), last the SHA-256 of everything before it.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.files import appearing
from ndpsim.isa import codes
from ndpsim.jit import njit

MAGIC = b"\x93NDP\r\n\x1a\n"
VERSION = 1
_PREFIX = struct.Struct("<8sII")
_DIGEST_BYTES = 32
_NAME = re.compile(r"[\w.-]+")


class Joined(NamedTuple):
    """Arrays of all DIMMs, one behind the other: those of DIMM d are values[starts[d] : starts[d + 1]].

    starts: int64[DIMMs + 1].
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]]) -> "Joined":
        """Join one array for each DIMM."""
        starts = np.array(list(accumulate(map(len, parts), initial=0)), np.int64)
        return cls(np.concatenate(parts), starts)

    def parts(self) -> list[NDArray[Any]]:
        """Return the array of each DIMM."""
        return [self.values[begin:end] for begin, end in pairwise(self.starts.tolist())]

    def lengths(self) -> list[int]:
        """Return the length of the array of each DIMM."""
        return [end - begin for begin, end in pairwise(self.starts.tolist())]


class Region(NamedTuple):
    """A piece of one DIMM's DRAM that its program may touch; base and size in atoms of 64 bytes."""

    name: str
    base: int
    atoms: int
    writable: bool = False

    @property
    def end(self) -> int:
        """The first atom behind the region."""
        return self.base + self.atoms


@dataclass(frozen=True)
class DimmProgram:
    """What one DIMM runs: words uint64[n, 2] (low half first), list section uint32[m], and its regions."""

    words: NDArray[np.uint64]
    lists: NDArray[np.uint32]
    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        """Refuse regions that overlap, lie below 0, or have a name that assembly could not hold."""
        _check_regions(self.regions)

    @property
    def upload_bytes(self) -> int:
        """Bytes that the host sends before the DIMM can start: instructions and lists."""
        return self.words.nbytes + self.lists.nbytes


def _check_regions(regions: tuple[Region, ...]) -> None:
    reached, before = 0, "the start of the memory"
    for region in sorted(regions, key=lambda r: (r.base, r.atoms)):
        if not _NAME.fullmatch(region.name):
            raise InputError(f"region: expected a name of letters, digits, '_', '.' and '-', found '{region.name}'")
        if region.base < reached or region.atoms < 0:
            raise InputError(
                f"region {region.name}: expected it behind {before}, from atom {reached} on, "
                f"found {region.atoms} atoms from {region.base} on"
            )
        reached, before = region.end, f"region {region.name}"


class Regions(tuple[tuple[Region, ...], ...]):
    """The regions of each DIMM, checked once: the programs of a layer share them."""

    def __new__(cls, regions: Iterable[tuple[Region, ...]]) -> "Regions":
        """Take what each DIMM may touch. Raises InputError as `DimmProgram` does."""
        found = super().__new__(cls, regions)
        for own in found:
            _check_regions(own)
        return found

    @cached_property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the regions of each DIMM begin in a table, int64[DIMMs + 1], and the table, int64[n, 3].

        Its rows are the first byte, the end, and whether the region may be written.
        """
        starts = np.cumsum([0] + [len(own) for own in self])
        rows = [(r.base * codes.ATOM_BYTES, r.end * codes.ATOM_BYTES, int(r.writable)) for own in self for r in own]
        return starts, np.array(rows, np.int64).reshape(-1, 3)

    @cached_property
    def last(self) -> Region | None:
        """The region that reaches highest, if there is one."""
        return max((region for own in self for region in own), key=lambda region: region.end, default=None)


@dataclass(frozen=True)
class Program:
    """Streams for all DIMMs, and the machine that they were compiled for (as `Machine.to_json` writes it).

    words, lists: those of `DimmProgram`, of all DIMMs; regions: the regions of each DIMM. mark: an instruction of DIMM
    0, of which whoever compiled the program wants to know when it starts; -1: none. Files do not keep it.
    """

    machine: str
    words: Joined
    lists: Joined
    regions: Regions
    mark: int = -1

    @classmethod
    def of(cls, machine: str, dimms: Sequence[DimmProgram]) -> "Program":
        """Join the programs of all DIMMs, of which there is at least one."""
        words, lists = Joined.of([dimm.words for dimm in dimms]), Joined.of([dimm.lists for dimm in dimms])
        return cls(machine, words, lists, Regions(dimm.regions for dimm in dimms))

    @cached_property
    def dimms(self) -> tuple[DimmProgram, ...]:
        """What each DIMM runs."""
        return tuple(map(DimmProgram, self.words.parts(), self.lists.parts(), self.regions))

    def upload_bytes(self) -> NDArray[np.int64]:
        """Return the bytes that the host sends to each DIMM before it can start, int64[DIMMs]."""
        return upload_bytes(self.words.starts, self.lists.starts)


@njit
def upload_bytes(starts: NDArray[np.int64], list_starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of `Program`, from where words and lists of each DIMM begin, int64[DIMMs + 1]."""
    before = 16 * starts + 4 * list_starts
    return before[1:] - before[:-1]


def to_bytes(program: Program) -> bytes:
    """Return the bytes of a program file."""
    header = {
        "machine": program.machine,
        "dimms": [
            {
                "instructions": len(dimm.words),
                "lists": len(dimm.lists),
                "regions": [[r.name, r.base, r.atoms, r.writable] for r in dimm.regions],
            }
            for dimm in program.dimms
        ],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    parts = [_PREFIX.pack(MAGIC, VERSION, len(text)), text]
    for dimm in program.dimms:
        parts += [dimm.words.astype("<u8").tobytes(), dimm.lists.astype("<u4").tobytes()]
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def from_bytes(data: bytes, file: str) -> Program:
    """Read the bytes of a program file; any damage is an InputError of one sentence that names `file`."""
    if len(data) < _PREFIX.size or data[:8] != MAGIC:
        raise InputError(f"{file}: not an NDP program file")
    _, version, header_bytes = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise InputError(f"{file}: version: expected {VERSION}, found {version}")
    body = data[:-_DIGEST_BYTES]
    if len(body) < _PREFIX.size + header_bytes or hashlib.sha256(body).digest() != data[-_DIGEST_BYTES:]:
        raise InputError(f"{file}: the file is damaged or cut short (its checksum does not match)")
    try:
        header = json.loads(body[_PREFIX.size : _PREFIX.size + header_bytes])
        return _read_sections(header, body, _PREFIX.size + header_bytes)
    except (InputError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{file}: header: not what version {VERSION} defines: {error}") from None


def _read_sections(header: dict[str, Any], body: bytes, at: int) -> Program:
    dimms = []
    for entry in header["dimms"]:
        n, m = int(entry["instructions"]), int(entry["lists"])
        words = np.frombuffer(body, "<u8", 2 * n, at).astype(np.uint64).reshape(-1, 2)
        at += 16 * n
        lists = np.frombuffer(body, "<u4", m, at).astype(np.uint32)
        at += 4 * m
        regions = tuple(Region(str(name), int(b), int(a), bool(w)) for name, b, a, w in entry["regions"])
        dimms.append(DimmProgram(words, lists, regions))
    if not dimms:
        raise ValueError("no DIMM has a program")
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes are left over")
    return Program.of(str(header["machine"]), dimms)


def write_program(path: str | Path, program: Program) -> None:
    """Write a program file, whole or not at all."""
    with appearing(path) as part:
        part.write_bytes(to_bytes(program))


def read_program(path: str | Path) -> Program:
    """Read a program file. Raises InputError if it cannot be read or is damaged in any way."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return from_bytes(data, str(path))
