"""The kernels of the trace generator: seats, activity of ranks, rows of bits. GENERATOR.md says what they compute."""

from typing import Any, NamedTuple

import numpy as np

from ndpsim.jit import njit
from ndpsim.sparsity.generation.counter_hash import draw, high, low

WINDOW = 64
"""Tokens that are computed at a time: one bit each of a word."""


class Chances(NamedTuple):
    """One group's chances, in units of 2^-32, and the keys of its streams; see GENERATOR.md for the letters."""

    layer: int
    active: Any
    """p: uint32-valued int64[2 * clans], by rank."""
    refreshed: int
    """r"""
    held: int
    """h"""
    follows: int
    """a"""
    handed: Any
    """b: int64[layer + 1]"""
    common: int
    """g"""
    refresh_key: Any
    held_key: Any
    common_key: Any
    own_keys: Any
    """uint64[2]: of the sequence, and of what sequences have in common"""
    clan_keys: Any
    """uint64[2, layer + 1]"""


@njit
def shuffled(stream: Any, n: Any) -> Any:
    """The numbers 0 to n - 1 in the order of a shuffle, int64[n]."""
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        j = (high(draw(stream, i, 0)) * (i + 1)) >> 32
        held = order[i]
        order[i] = order[j]
        order[j] = held
    return order


@njit
def swaps(pair_stream: Any, swap_stream: Any, clans: Any, chance: Any, begin: Any, horizon: Any) -> Any:
    """Which seats change places in a period.

    Returns int64[2, clans]: the seat that each one's holder goes to (its own where it stays), and the token of it.
    """
    order = shuffled(pair_stream, clans)
    found = np.empty((2, clans), dtype=np.int64)
    for clan in range(clans):
        found[0, clan], found[1, clan] = clan, begin + horizon
    for pair in range(clans // 2):
        word = draw(swap_stream, pair, 0)
        if low(word) < chance:
            x, y = order[2 * pair], order[2 * pair + 1]
            found[0, x] = y
            found[0, y] = x
            found[1, x] = found[1, y] = begin + ((high(word) * horizon) >> 32)
    return found


@njit
def _clan_number(keys: Any, chances: Any, clan: Any, event: Any) -> Any:
    layer = chances.layer
    while True:
        word = draw(keys[layer], clan, event)
        if layer == 0 or low(word) >= chances.handed[layer]:
            return high(word)
        layer -= 1


@njit
def _pair_active(chances: Any, clan: Any, event: Any) -> Any:
    """Whether the two ranks of a clan are active from this event on: 0 to 3, a bit each."""
    of = 0
    if chances.common > 0 and low(draw(chances.common_key, clan, event)) < chances.common:
        of = 1
    first = draw(chances.own_keys[of], 2 * clan, event)
    second = draw(chances.own_keys[of], 2 * clan + 1, event)
    x, y = high(first), high(second)
    if low(first) < chances.follows or low(second) < chances.follows:
        number = _clan_number(chances.clan_keys[of], chances, clan, event)
        if low(first) < chances.follows:
            x = number
        if low(second) < chances.follows:
            y = number
    return np.int64(x < chances.active[2 * clan]) + 2 * np.int64(y < chances.active[2 * clan + 1])


@njit
def rank_words(chances: Any, start: Any, count: Any, words: Any) -> Any:
    """Fill in which ranks are active at tokens start to start + count - 1, uint64[ranks]: token start is bit 0."""
    one = np.uint64(1)
    for clan in range(len(words) // 2):
        held = high(draw(chances.held_key, clan, 0)) < chances.held
        event = 0
        if not held:
            event = start
            while event > 0 and high(draw(chances.refresh_key, clan, event)) >= chances.refreshed:
                event -= 1
        active = _pair_active(chances, clan, event)
        x = y = np.uint64(0)
        bit = one
        for t in range(start, start + count):
            if not held and t > start and high(draw(chances.refresh_key, clan, t)) < chances.refreshed:
                active = _pair_active(chances, clan, t)
            if active & 1:
                x |= bit
            if active & 2:
                y |= bit
            bit <<= one
        words[2 * clan] = x
        words[2 * clan + 1] = y


@njit
def _transpose(square: Any) -> Any:
    """Turn a square of 64 x 64 bits: bit t of word n becomes bit n of word t."""
    width = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while width:
        shift = np.uint64(width)
        k = 0
        while k < 64:
            moved = ((square[k] >> shift) ^ square[k + width]) & mask
            square[k] ^= moved << shift
            square[k + width] ^= moved
            k = (k + width + 1) & ~width
        width >>= 1
        mask ^= mask << np.uint64(width)


@njit
def neuron_rows(words: Any, home: Any, seats: Any, moves: Any, start: Any, rows: Any) -> Any:
    """Seat the neurons on the ranks and write the rows of bits.

    Args:
        words: activity of the ranks, uint64[ranks].
        home: first rank of each neuron, int64[neurons].
        seats: seat of each clan as the period of these tokens began, int64[clans].
        moves: int64[2, clans], from `swaps`.
        start: token of the first row.
        rows: to fill in, uint8[count, bytes].
    """
    square = np.empty(64, dtype=np.uint64)
    neurons, count = len(home), len(rows)
    for first in range(0, neurons, 64):
        square[:] = 0
        for n in range(first, min(first + 64, neurons)):
            clan, member = home[n] >> 1, home[n] & 1
            seat = seats[clan]
            word = words[2 * seat + member]
            stays = moves[1, seat] - start
            if stays < count:
                later = words[2 * moves[0, seat] + member]
                mask = (np.uint64(1) << np.uint64(stays)) - np.uint64(1) if stays > 0 else np.uint64(0)
                word = (word & mask) | (later & ~mask)
            square[n - first] = word
        _transpose(square)
        for t in range(count):
            row = square[t]
            for byte in range(min(8, rows.shape[1] - first // 8)):
                rows[t, first // 8 + byte] = np.uint8(row >> np.uint64(8 * byte) & np.uint64(0xFF))
