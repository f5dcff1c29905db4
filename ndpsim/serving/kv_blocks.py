"""KV blocks: who holds them, in which order free ones are given out, and which tokens they still hold.

A free block keeps its content, and with it its identity, until it is given out again; the one that has been free for
longest goes first. Two blocks may have the same identity; of these the one that got it first is found.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.jit import borrowing

Ints = NDArray[np.int64]
NONE = -1


class KvBlocks(NamedTuple):
    """n blocks; all arrays are int64.

    after, before: [n + 1], the queue of free blocks as a ring, with n as its beginning and end; holders: [n], requests
    that hold a block; free: [1], how many nobody holds. identity: [n], NONE if a block's content is nobody's; first:
    [buckets], chain: [n], the blocks of each bucket of identities, in the order in which they got them.
    """

    after: Ints
    before: Ints
    holders: Ints
    free: Ints
    identity: Ints
    first: Ints
    chain: Ints


def new_blocks(count: int) -> KvBlocks:
    """Return so many blocks, all free and empty."""
    ring = np.arange(count + 1)
    return KvBlocks(
        after=np.roll(ring, -1),
        before=np.roll(ring, 1),
        holders=np.zeros(count, np.int64),
        free=np.array([count]),
        identity=np.full(count, NONE),
        first=np.full(2 * count + 1, NONE),
        chain=np.full(count, NONE),
    )


@borrowing
def find(kv: KvBlocks, identity: int) -> int:
    """Return the block that got an identity first, or NONE."""
    block = kv.first[identity % len(kv.first)]
    while block != NONE and kv.identity[block] != identity:
        block = kv.chain[block]
    return int(block)


@borrowing
def mark(kv: KvBlocks, block: int, identity: int) -> None:
    """Give a block, which has none, its identity."""
    kv.identity[block] = identity
    bucket = identity % len(kv.first)
    last = kv.first[bucket]
    if last == NONE:
        kv.first[bucket] = block
        return
    while kv.chain[last] != NONE:
        last = kv.chain[last]
    kv.chain[last] = block


@borrowing
def hold(kv: KvBlocks, block: int) -> None:
    """Let one more request hold a block; a free one leaves the queue, wherever it stands in it."""
    if kv.holders[block] == 0:
        before, after = kv.before[block], kv.after[block]
        kv.after[before], kv.before[after] = after, before
        kv.free[0] -= 1
    kv.holders[block] += 1


@borrowing
def take(kv: KvBlocks) -> int:
    """Give out the block that has been free for longest; what it held is gone. There must be one."""
    block = kv.after[len(kv.holders)]
    _forget(kv, block)
    hold(kv, block)
    return int(block)


@borrowing
def give_back(kv: KvBlocks, block: int) -> None:
    """Let one request fewer hold a block; without any it joins the end of the queue."""
    kv.holders[block] -= 1
    if kv.holders[block] == 0:
        end = len(kv.holders)
        last = kv.before[end]
        kv.after[last], kv.before[block] = block, last
        kv.after[block], kv.before[end] = end, block
        kv.free[0] += 1


@borrowing
def _forget(kv: KvBlocks, block: int) -> None:
    identity = kv.identity[block]
    if identity == NONE:
        return
    bucket = identity % len(kv.first)
    if kv.first[bucket] == block:
        kv.first[bucket] = kv.chain[block]
    else:
        before = kv.first[bucket]
        while kv.chain[before] != block:
            before = kv.chain[before]
        kv.chain[before] = kv.chain[block]
    kv.chain[block] = NONE
    kv.identity[block] = NONE
