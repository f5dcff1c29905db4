"""Attention of a decode step on the DIMMs, where the KV cache lives.

Every pair of a sequence and a KV head belongs to one DIMM; the query heads of its group share its keys and values. The
DIMM appends the token's key and value, multiplies the group's queries with all keys, turns the scores into
probabilities in FP32, narrows them, and adds the values up: one pair after the other. Scaling by the root of the head's
width and rotary embedding are done by the host, in the queries and keys that it sends.

A context whose scores do not fit the buffer is cut in tiles of tokens. Keys and values are read once all the same:

    tokens    |---- tile 0 ----|---- tile 1 ----|- tile 2 -|
    dot            scores           scores        scores       the same place in the buffer for each tile
    softpart      m, s, c, r  -->  m, s, c, r --> m, s, c, r   maximum and sum so far: weights e = exp(score - m)
    scale                            y * c          y * c      what was relative to the old maximum now is to the new
    axpy             y       ----->    y      ---->   y        y += e * value
    scale                                             y * r    r = 1 / s

This is the softmax of FlashAttention (Dao et al., NeurIPS 2022), after Milakov and Gimelshein (2018).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.compiler.kv_cache import CachePlacement, CacheShape, pairs_of
from ndpsim.compiler.merge import END, Words, aligned, assemble
from ndpsim.dimm.config import Machine
from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.isa.encoding import encoder, words_to_array
from ndpsim.isa.program import Joined, Program
from ndpsim.isa.spec import isa

_mat, _range, _st, _dot, _axpy = (encoder(name) for name in ("mat", "range", "st", "dot", "axpy"))
_softmax, _cvt, _fill, _hin, _hout = (encoder(name) for name in ("softmax", "cvt", "fill", "hin", "hout"))
_softpart, _scale = encoder("softpart"), encoder("scale")
_F16, _F32 = codes.T_F16, codes.T_F32
_SIZE = codes.TYPE_BYTES[_F16]


class AttentionCompiler:
    """Compiles attention over a placed KV cache.

    Contexts are the tokens that each sequence attends to, int[sequences]: with the new one, which is their last; 0 for
    a place without a sequence. Everything else is encoded once and kept.
    """

    def __init__(self, machine: Machine, placement: CachePlacement) -> None:
        """Lay out the buffer. Raises InputError if it has no room for the scores of a single token."""
        self.machine, self.placement = machine, placement
        self._machine_json = machine.to_json()
        self._nothing = Joined.of([np.empty(0, np.uint32)] * machine.dimms)
        whole_passes = machine.ranks * machine.config.unit.return_queue.value
        self._buffer = _Buffer.of(placement.shape, machine.buffer_bytes, whole_passes)

    def compile(self, contexts: NDArray[np.integer]) -> Program:
        """Compile one token of every sequence. Raises InputError if a context does not fit the cache."""
        placement = self.placement
        streams = _streams(placement.shape, placement.dimms, self._buffer, self._checked(contexts).tobytes())
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
    """Where the operands of a pair begin in the buffer.

    The new key, at 0, and value, queries, results, the state of a softmax in parts, scores of a tile of tokens in FP32
    and narrowed, and what is behind them. Without tiles there is no state, and `tile` is the capacity.
    """

    value: int
    queries: int
    y: int
    state: int
    scores: int
    narrow: int
    end: int
    tile: int

    @classmethod
    def of(cls, shape: CacheShape, buffer_bytes: int, whole_passes: int) -> "_Buffer":
        """Lay out a buffer, for a full cache in one piece if that fits, else for tiles as long as they can be.

        whole_passes: tiles of a multiple of so many tokens end in no rank within a pass of the MAC array. Raises
        InputError if the buffer has no room for a tile of one token.
        """
        piece = cls._with(shape, 0, shape.capacity)
        if piece.end <= buffer_bytes:
            return piece
        state = _STATE * shape.group
        room = buffer_bytes - cls._with(shape, state, 0).end
        tile = room // (_SCORE * shape.group)
        if tile < 1:
            least = buffer_bytes - room + _SCORE * shape.group
            raise InputError(
                f"dimm.unit.buffer_bytes: expected at least {-(-least // 64) * 64} for {shape.group} query heads of "
                f"{shape.head_width} elements that share a KV head, found {buffer_bytes}"
            )
        return cls._with(shape, state, tile // whole_passes * whole_passes or tile)

    @classmethod
    def _with(cls, shape: CacheShape, state_bytes: int, tile: int) -> "_Buffer":
        queries = 2 * shape.row_bytes
        y = queries + shape.group * shape.row_bytes
        state = y + 4 * shape.group * shape.head_width
        scores = state + state_bytes
        narrow = scores + 4 * shape.group * tile
        return cls(
            shape.row_bytes, queries, y, state, scores, narrow, narrow + aligned(_SIZE * shape.group * tile), tile
        )


_STATE = 4 * 4
"""Bytes of the state of a softmax in parts, of one query head: what `softpart` keeps."""
_SCORE = 4 + _SIZE
"""Bytes of a score, in FP32 and narrowed."""
_NO_SCORE = 0xFF800000
"""The bits of -infinity: the maximum of no scores."""


@lru_cache(maxsize=1 << 3)  # the layers of a token have the same ones
def _streams(shape: CacheShape, dimms: int, buffer: _Buffer, contexts: bytes) -> Joined:
    """Return what each DIMM runs for a cache from atom 0 on; contexts: the bytes of uint64[sequences].

    Pairs with as many tiles run the same instructions, but for the place of their cache and for the last tile's size.
    """
    pairs, matrices = pairs_of(shape, dimms), _matrices(shape, dimms)
    lengths = np.frombuffer(contexts, np.uint64).astype(np.int64)[np.concatenate(pairs)[:, 0]]
    tiles = -(-lengths // buffer.tile)
    sizes = np.zeros(len(tiles), np.int64)
    counts = np.unique(tiles[tiles > 0]).tolist()
    for count in counts:
        sizes[tiles == count] = len(_encoded(shape, buffer, count))
    starts = np.cumsum([0, *sizes])
    joined = np.empty((int(starts[-1]), 2), np.uint64)
    for count in counts:
        own = np.flatnonzero(tiles == count)
        places = starts[own, None] + np.arange(sizes[own[0]])
        joined[places] = _filled(shape, buffer, count, matrices[own], lengths[own])
    cuts = starts[np.cumsum([0, *map(len, pairs)])].tolist()
    return Joined.of([np.concatenate([joined[begin:end], END]) for begin, end in pairwise(cuts)])


def _filled(shape: CacheShape, buffer: _Buffer, tiles: int, matrices: Words, lengths: NDArray[np.int64]) -> Words:
    """Return the instructions of pairs whose contexts have so many tiles, uint64[pairs, instructions, 2].

    matrices: uint64[pairs, 2, 2]; lengths: their contexts, int64[pairs].
    """
    words = np.tile(_encoded(shape, buffer, tiles), (len(lengths), 1, 1))
    rows, soft, cvt = _LAST_OF_TILES if tiles > 1 else _PIECE
    first, count = isa().fields["first"], isa().fields["count"]
    own = ((lengths - 1) % buffer.tile + 1).astype(np.uint64) << np.uint64(count.lo % 64)
    words[:, :2] = matrices
    words[:, _LAST_ROW, first.lo // 64] |= (lengths - 1).astype(np.uint64) << np.uint64(first.lo % 64)
    words[:, (rows, soft), count.lo // 64] |= own[:, None]
    words[:, cvt, count.lo // 64] |= own * np.uint64(shape.group)
    return words


@lru_cache(maxsize=1 << 6)
def _matrices(shape: CacheShape, dimms: int) -> Words:
    """Encode what sets m0 and m1 to the keys and values of each pair, uint64[pairs, 2, 2]; the cache is at atom 0."""
    bases = [shape.pair_atoms * place for own in pairs_of(shape, dimms) for place in range(len(own))]
    size = (shape.capacity, shape.head_width, shape.token_atoms)
    words = [_mat(_F16, m, base + m * shape.row_atoms, *size) for base in bases for m in range(2)]
    return words_to_array(words).reshape(-1, 2, 2)


@lru_cache(maxsize=1 << 6)
def _encoded(shape: CacheShape, at: _Buffer, tiles: int) -> Words:
    """Encode what a pair runs whose context has so many tiles, uint64[instructions, 2]: matrices not yet set, the last
    tile of 0 tokens."""
    group, y_count, tile = shape.group, shape.group * shape.head_width, at.tile
    m, s, c, r = (at.state + 4 * group * number for number in range(4))
    words = [
        0,
        0,
        _range(0, 0, 1),
        _range(1, 0, tile if tiles > 1 else 0),
        _hin(0, (2 + group) * shape.row_bytes),
        _st(0, 0, 0),
        _st(1, 0, at.value),
    ]
    if tiles == 1:
        words += [
            _dot(0, 1, at.queries, at.scores, group),
            _softmax(at.scores, at.scores, 0, group),
            _cvt(_F32, _F16, at.scores, at.narrow, 0),
            _fill(at.y, 0, y_count),
            _axpy(1, 1, at.narrow, at.y, group),
        ]
    else:
        words += [_fill(m, _NO_SCORE, group), _fill(s, 0, group)]
        for number in range(tiles):
            tokens = tile if number < tiles - 1 else 0
            words += [
                *([_range(1, number * tile, tokens)] if number else []),
                _dot(0, 1, at.queries, at.scores, group),
                _softpart(at.scores, m, at.scores, tokens, group),
                _cvt(_F32, _F16, at.scores, at.narrow, tokens * group),
                _scale(at.y, c, at.y, shape.head_width, group) if number else _fill(at.y, 0, y_count),
                _axpy(1, 1, at.narrow, at.y, group),
            ]
        words.append(_scale(at.y, r, at.y, shape.head_width, group))
    return words_to_array([*words, _hout(at.y, 4 * y_count)])


_LAST_ROW = 2
_PIECE, _LAST_OF_TILES = (3, 8, 9), (-8, -6, -5)
"""Places of the instructions that depend on the context: the new token's row; rows, softmax and narrowing of a context
in one piece, and of the last of several tiles."""
