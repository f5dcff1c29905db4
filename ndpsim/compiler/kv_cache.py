"""The KV cache in the DIMMs: which one has the keys and values of a sequence and KV head, and where they lie there."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.placement import too_few_dimms
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.program import Region, Regions
from ndpsim.isa.spec import isa


@dataclass(frozen=True)
class CacheShape:
    """The KV cache of one layer, FP16: `sequences` of up to `capacity` tokens."""

    sequences: int
    capacity: int
    heads: int
    kv_heads: int
    head_width: int

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        limits = {
            "sequences": 1 << 20,
            "capacity": (1 << isa().fields["rows"].width) - 1,
            "heads": 1 << 20,
            "kv_heads": 1 << 20,
            "head_width": (1 << isa().fields["cols"].width) - 1,
        }
        for name, most in limits.items():
            found = getattr(self, name)
            if not 1 <= found <= most:
                raise InputError(f"KV cache: {name}: expected 1 to {most}, found {found}")
        if self.head_width % 2:
            raise InputError(f"KV cache: head_width: expected an even number, found {self.head_width}")
        most = (1 << isa().fields["batch"].width) - 1
        if self.heads % self.kv_heads or self.group > most:
            raise InputError(
                f"KV cache: heads: expected 1 to {most} times the {self.kv_heads} KV heads, found {self.heads}"
            )

    @property
    def group(self) -> int:
        """Query heads that share a key and a value."""
        return self.heads // self.kv_heads

    @property
    def row_bytes(self) -> int:
        """Bytes of one key or value."""
        return self.head_width * codes.TYPE_BYTES[codes.T_F16]

    @property
    def row_atoms(self) -> int:
        """Bursts of 64 bytes that one key or value occupies."""
        return -(-self.row_bytes // codes.ATOM_BYTES)

    @property
    def token_atoms(self) -> int:
        """Bursts of 64 bytes that the key and the value of one token occupy."""
        return 2 * self.row_atoms

    @property
    def pair_atoms(self) -> int:
        """Bursts of 64 bytes that the keys and values of one sequence and KV head occupy."""
        return self.capacity * self.token_atoms


@dataclass(frozen=True)
class CachePlacement:
    """A KV cache placed on the DIMMs of a machine.

    The key and the value of a token adjoin, those of the next token follow: keys alone would keep short contexts in few
    ranks. first_atom: where the share of every DIMM begins; end: the first atom behind the cache, the same on every
    DIMM.
    """

    shape: CacheShape
    name: str
    dimms: int
    regions: Regions
    first_atom: int
    end: int

    @property
    def pairs(self) -> tuple[NDArray[np.int64], ...]:
        """Sequence and KV head of each pair that a DIMM owns, int64[k, 2] for each."""
        return pairs_of(self.shape, self.dimms)

    @property
    def bases(self) -> tuple[NDArray[np.int64], ...]:
        """The first atom of the keys of each pair that a DIMM owns, int64[k] for each."""
        return tuple(self.first_atom + self.shape.pair_atoms * np.arange(len(own)) for own in self.pairs)


@lru_cache(maxsize=1 << 6)
def pairs_of(shape: CacheShape, dimms: int) -> tuple[NDArray[np.int64], ...]:
    """Deal the pairs of a sequence and a KV head out in turn."""
    number = np.arange(shape.sequences * shape.kv_heads)
    return tuple(np.stack(np.divmod(number[dimm::dimms], shape.kv_heads), axis=1) for dimm in range(dimms))


def place_cache(shape: CacheShape, machine: Machine, *, first_atom: int = 0, name: str = "cache") -> CachePlacement:
    """Deal the pairs of a sequence and a KV head out in turn, from `first_atom` on.

    Raises InputError if a DIMM is too small.
    """
    totals = [shape.pair_atoms * len(own) for own in pairs_of(shape, machine.dimms)]
    regions = Regions((Region(name, first_atom, total, writable=True),) if total else () for total in totals)
    end = first_atom + max(totals)
    if end > machine.atoms:
        pairs = shape.sequences * shape.kv_heads
        raise too_few_dimms(name, machine, end, lambda dimms: first_atom + -(-pairs // dimms) * shape.pair_atoms)
    return CachePlacement(shape, name, machine.dimms, regions, first_atom, end)


def cache_image(
    placement: CachePlacement, keys: NDArray[np.float16], values: NDArray[np.float16]
) -> list[list[NDArray[np.uint8]]]:
    """Lay a cache out: per DIMM the contents of its regions, uint8[atoms * 64].

    keys, values: float16[sequences, KV heads, capacity, head width].
    """
    shape = placement.shape
    images = []
    for pairs in placement.pairs:
        rows = np.zeros((len(pairs), shape.capacity, 2, shape.row_atoms * codes.ATOM_BYTES), np.uint8)
        for m, stored in enumerate((keys, values)):
            rows[:, :, m, : shape.row_bytes] = np.ascontiguousarray(stored[pairs[:, 0], pairs[:, 1]]).view(np.uint8)
        images.append([rows.reshape(-1)] if len(pairs) else [])
    return images
