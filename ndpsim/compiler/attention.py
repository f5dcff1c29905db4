"""Attention of a decode step on the DIMMs, where the KV cache lives.

Every pair of a sequence and a KV head belongs to one DIMM; the query heads of its group share its keys and values. The
DIMM appends the token's key and value, multiplies the group's queries with all keys, turns the scores into
probabilities in FP32, narrows them, and adds the values up: one pair after the other. Scaling by the root of the head's
width and rotary embedding are done by the host, in the queries and keys that it sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.merge import END, Words, aligned, assemble
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Joined, Program, Region, Regions
from ndpsim.isa.spec import isa

_mat, _range, _st, _dot, _axpy = (encoder(name) for name in ("mat", "range", "st", "dot", "axpy"))
_softmax, _cvt, _fill, _hin, _hout = (encoder(name) for name in ("softmax", "cvt", "fill", "hin", "hout"))
_F16, _F32 = codes.T_F16, codes.T_F32
_SIZE = codes.TYPE_BYTES[_F16]


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
        return self.head_width * _SIZE

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
        return _pairs(self.shape, self.dimms)

    @property
    def bases(self) -> tuple[NDArray[np.int64], ...]:
        """The first atom of the keys of each pair that a DIMM owns, int64[k] for each."""
        return tuple(self.first_atom + self.shape.pair_atoms * np.arange(len(own)) for own in self.pairs)


@lru_cache(maxsize=1 << 6)
def _pairs(shape: CacheShape, dimms: int) -> tuple[NDArray[np.int64], ...]:
    """Deal the pairs of a sequence and a KV head out in turn."""
    number = np.arange(shape.sequences * shape.kv_heads)
    return tuple(np.stack(np.divmod(number[dimm::dimms], shape.kv_heads), axis=1) for dimm in range(dimms))


def place_cache(shape: CacheShape, machine: Machine, *, first_atom: int = 0, name: str = "cache") -> CachePlacement:
    """Deal the pairs of a sequence and a KV head out in turn, from `first_atom` on.

    Raises InputError if a DIMM is too small.
    """
    totals = [shape.pair_atoms * len(own) for own in _pairs(shape, machine.dimms)]
    regions = Regions((Region(name, first_atom, total, writable=True),) if total else () for total in totals)
    end = first_atom + max(totals)
    if end > machine.atoms:
        raise InputError(
            f"{name}: needs {end * codes.ATOM_BYTES} bytes of a DIMM that has {machine.atoms * codes.ATOM_BYTES}; "
            f"use more DIMMs"
        )
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


class Attention:
    """Compiles attention over a placed KV cache.

    Contexts are the tokens that each sequence attends to, int[sequences]: with the new one, which is their last; 0 for
    a place without a sequence. Everything else is encoded once and kept.
    """

    def __init__(self, machine: Machine, placement: CachePlacement) -> None:
        """Lay out the buffer. Raises InputError if the scores of a full cache do not fit."""
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()
        self._nothing = Joined.of([np.empty(0, np.uint32)] * machine.dimms)
        shape, need = placement.shape, _Buffer.of(placement.shape).end
        if need > machine.buffer_bytes:
            raise InputError(
                f"{placement.name}: capacity: {shape.group} query heads over {shape.capacity} tokens need {need} bytes "
                f"of a buffer that has {machine.buffer_bytes}; use a smaller capacity"
            )

    def compile(self, contexts: NDArray[np.integer]) -> Program:
        """Compile one token of every sequence. Raises InputError if a context does not fit the cache."""
        placement = self.placement
        streams = _streams(placement.shape, placement.dimms, self._checked(contexts).tobytes())
        return assemble(self._machine_json, streams, self._nothing, placement.regions, placement.first_atom)

    def host_input(
        self,
        queries: NDArray[np.float16],
        keys: NDArray[np.float16],
        values: NDArray[np.float16],
        contexts: NDArray[np.integer],
    ) -> list[bytes]:
        """Return what the host sends to each DIMM: for each of its pairs the new key and value, and the queries.

        queries: float16[sequences, heads, head width]; keys, values: float16[sequences, KV heads, head width].
        """
        shape, lengths = self.placement.shape, self._checked(contexts)
        groups = queries.reshape(shape.sequences, shape.kv_heads, shape.group, shape.head_width)
        rows = np.concatenate([keys[:, :, None], values[:, :, None], groups], axis=2)
        return [rows[tuple(self._running(dimm, lengths).T)].tobytes() for dimm in range(self.machine.dimms)]

    def result(self, host_out: Sequence[bytes], contexts: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read what the DIMMs returned: float32[sequences, heads, head width], 0 where there is no sequence."""
        shape, lengths = self.placement.shape, self._checked(contexts)
        y = np.zeros((shape.sequences, shape.kv_heads, shape.group, shape.head_width), np.float32)
        for dimm, raw in enumerate(host_out):
            pairs = self._running(dimm, lengths)
            y[tuple(pairs.T)] = np.frombuffer(raw, np.float32).reshape(len(pairs), shape.group, shape.head_width)
        return y.reshape(shape.sequences, shape.heads, shape.head_width)

    def _checked(self, contexts: NDArray[np.integer]) -> NDArray[np.uint64]:
        shape, given = self.placement.shape, np.asarray(contexts)
        if given.shape != (shape.sequences,) or given.dtype.kind not in "iu":
            raise InputError(f"contexts: expected {shape.sequences} whole numbers, one a sequence")
        if given.min() < 0 or given.max() > shape.capacity:
            wrong = given.min() if given.min() < 0 else given.max()
            raise InputError(f"contexts: expected 0 to {shape.capacity} tokens, found {wrong}")
        return given.astype(np.uint64)

    def _running(self, dimm: int, lengths: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the pairs of a DIMM whose sequences run, int64[k, 2]."""
        pairs = self.placement.pairs[dimm]
        return pairs[lengths[pairs[:, 0]] > 0]


class _Buffer(NamedTuple):
    """Where the operands of a pair begin in the buffer: the new key, at 0, and value, queries, results, scores in FP32
    and narrowed, and what is behind them."""

    value: int
    queries: int
    y: int
    scores: int
    narrow: int
    end: int

    @classmethod
    def of(cls, shape: CacheShape) -> "_Buffer":
        values = shape.group * shape.capacity
        queries = 2 * shape.row_bytes
        y = queries + shape.group * shape.row_bytes
        scores = y + 4 * shape.group * shape.head_width
        narrow = scores + 4 * values
        return cls(shape.row_bytes, queries, y, scores, narrow, narrow + aligned(_SIZE * values))


@lru_cache(maxsize=1 << 3)  # the layers of a token have the same ones
def _streams(shape: CacheShape, dimms: int, contexts: bytes) -> Joined:
    """Return what each DIMM runs for a cache from atom 0 on; contexts: the bytes of uint64[sequences]."""
    kept, pairs = _encoded(shape, dimms), _pairs(shape, dimms)
    lengths = np.frombuffer(contexts, np.uint64)[np.concatenate(pairs)[:, 0]]
    runs = lengths > 0
    words, own = kept[runs], lengths[runs]
    first, count = isa().fields["first"], isa().fields["count"]
    words[:, _LAST_ROW, first.lo // 64] |= (own - np.uint64(1)) << np.uint64(first.lo % 64)
    own <<= np.uint64(count.lo % 64)
    words[:, (_ALL_ROWS, _SOFTMAX), count.lo // 64] |= own[:, None]
    words[:, _CVT, count.lo // 64] |= own * np.uint64(shape.group)
    before = np.cumsum([0, *runs])[np.cumsum([0, *map(len, pairs)])].tolist()
    return Joined.of([np.concatenate([words[begin:end].reshape(-1, 2), END]) for begin, end in pairwise(before)])


@lru_cache(maxsize=1 << 6)
def _encoded(shape: CacheShape, dimms: int) -> Words:
    """Encode the instructions of every pair, uint64[pairs, instructions, 2], with contexts of 0."""
    group, y_count, at = shape.group, shape.group * shape.head_width, _Buffer.of(shape)
    words = [
        0,
        0,
        _range(0, 0, 1),
        _range(1, 0, 0),
        _hin(0, (2 + group) * shape.row_bytes),
        _st(0, 0, 0),
        _st(1, 0, at.value),
        _dot(0, 1, at.queries, at.scores, group),
        _softmax(at.scores, at.scores, 0, group),
        _cvt(_F32, _F16, at.scores, at.narrow, 0),
        _fill(at.y, 0, y_count),
        _axpy(1, 1, at.narrow, at.y, group),
        _hout(at.y, 4 * y_count),
    ]
    bases = [shape.pair_atoms * place for own in _pairs(shape, dimms) for place in range(len(own))]
    kept = np.tile(words_to_array(words), (len(bases), 1, 1))
    size = (shape.capacity, shape.head_width, shape.token_atoms)
    for m in range(2):
        kept[:, _KEYS + m] = words_to_array([_mat(_F16, m, base + m * shape.row_atoms, *size) for base in bases])
    return kept


_KEYS, _LAST_ROW, _ALL_ROWS, _SOFTMAX, _CVT = 0, 2, 3, 8, 9
"""Places of the instructions that depend on the pair or on the context, in those of a pair."""
