"""Time of one attention kernel: its thread blocks, their steps over the keys, and the bytes behind them."""

from typing import NamedTuple

import numpy as np

from ndpsim.gpu.kernels import Floats
from ndpsim.jit import njit

# As the FlashAttention sources have it.
FILLED = 0.8  # share of the slots that decodes must fill for their keys not to be split
NEAR_BEST = 0.85  # the least parts that fill the waves this well, in proportion to the best
MOST_PARTS_2, MOST_PARTS_3 = 128.0, 32.0  # FlashAttention 2; 3 under CUDA graphs in vLLM
SLACK = 1.1  # of the share of all steps that FlashAttention 3 gives each SM
WRITE_THREADS = 512.0  # most threads that store the keys and values of a token
Q_COPIES = 4.0  # of the queries, so that those of a group lie side by side, and of the output back

# Shapes of the curves, the same for all cards: found once on the RTX 4090, A100, L40S, H100 and H200 together.
L2_SHARPNESS = 12.0  # how sudden a working set that outgrows the L2 misses: it is read front to back, again and again
TWO_RESIDENT = 0.8  # time of a step of two blocks on an SM, in proportion to one after the other
ELEMENT_CLOCKS_2, ELEMENT_CLOCKS_3 = 0.1, 0.03  # of softmax for each query and key; 3 overlaps it with products
SUM_CLOCKS = 280.0  # to add up one more part
EMPTY_CLOCKS = 870.0  # of a block that finds nothing to do
FIXED_TILE = 0.7  # of a decode's `tile` beside its first keys and its output, which grow with the head (128: all of it)
LOCKSTEP, DRIFT = 1.2, 0.27  # exponents of the smooth maximum of memory and compute, see `_together`
LONGEST_FIRST = 0.3  # idle time at the end, in mean lengths of a block, where the longest blocks start first


class AttentionDevice(NamedTuple):
    """A card with its efficiencies: microseconds, bytes, and operations per microsecond.

    `third` tells FlashAttention 3 (Hopper) from 2. power: picojoules per microsecond. energy: picojoules per operation.
    step, tile, helper, combine, write: see `attention.PARAMETERS`, here in microseconds.
    """

    third: bool
    sms: float
    clock: float
    shared_memory: float
    memory_rate: float
    l2_size: float
    l2_rate: float
    power: float
    launch: float
    step: float
    tile: float
    helper: float
    combine: float
    energy: float
    write: float


class AttentionWork(NamedTuple):
    """One attention kernel. element: bytes of a number; rate: operations per microsecond of the card for its format."""

    heads: float
    kv_heads: float
    head_dim: float
    prefills: float
    queries: float
    past: float
    decodes: float
    context: float
    rotation: float
    element: float
    rate: float


class Tile(NamedTuple):
    """rows x keys of a step; blocks resident on an SM; time of a step of a block alone, and of one among `resident`."""

    rows: float
    keys: float
    resident: float
    alone: float
    crowded: float


@njit
def fill_times(shape: Floats, element: Floats, rate: Floats, device: AttentionDevice, microseconds: Floats) -> None:
    """Write the time of each kernel: shape [n, 9] has the first fields of `AttentionWork`."""
    for i in range(len(microseconds)):
        heads, kv_heads, head_dim, prefills, queries, past, decodes, context, rotation = shape[i]
        if prefills * queries == 0:
            prefills, queries = 0.0, 0.0
        if decodes * context == 0:
            decodes, context = 0.0, 0.0
        new = prefills * queries + decodes
        if queries == 1:  # engines do not tell a prefill of one token from a decode
            context = (prefills * (past + 1) + decodes * context) / new
            decodes, prefills, queries = new, 0.0, 0.0
        work = AttentionWork(
            heads, kv_heads, head_dim, prefills, queries, past, decodes, context, rotation, element[i], rate[i]
        )  # fmt: skip
        time = _prefill_time(work, device) if prefills > 0 else _decode_time(work, device)
        microseconds[i] = device.launch + _write_time(work, new, device) + time


@njit
def _decode_time(work: AttentionWork, device: AttentionDevice) -> float:
    """Return the time of decodes alone: all blocks are alike, and the keys of a sequence may be split over several."""
    group = work.heads / work.kv_heads
    tile = _tile(work, device)
    blocks = work.decodes * work.kv_heads * np.ceil(group / tile.rows)
    steps = np.ceil(work.context / tile.keys)
    parts = 1.0
    if device.third:
        per_sm = np.ceil(SLACK * blocks * steps / device.sms)
        parts = min(MOST_PARTS_3, np.ceil(steps / per_sm))
    elif group > 1:
        parts = split_parts(blocks, 2 * device.sms, steps)
    blocks, steps = blocks * parts, np.ceil(steps / parts)
    slots = device.sms * tile.resident
    waves = np.floor(blocks / slots)
    rest = blocks - waves * slots
    in_waves = waves * slots / blocks
    memory = _memory_time(work, 0.0, slots, device)
    begin = device.tile * (FIXED_TILE + (1 - FIXED_TILE) * work.head_dim / 128)
    exponent = LOCKSTEP + DRIFT * np.sqrt(steps * np.ceil(blocks / slots) * tile.resident)
    time = _together(waves * (begin + steps * tile.crowded), memory * in_waves, exponent)
    if rest > 0:
        last = begin + steps * (tile.crowded if rest > device.sms else tile.alone)
        time += _together(last, memory * (1 - in_waves), exponent)
    if parts > 1:
        time += device.combine
    if not device.third:
        if parts > 1:
            time += parts * SUM_CLOCKS / device.clock
        if group > 1:
            time += device.helper
            if work.decodes > 1 and work.kv_heads > 1:
                moved = Q_COPIES * 2 * work.decodes * work.heads * work.head_dim * work.element
                time += Q_COPIES * device.helper + _moved_time(moved, moved, device)
    return time


@njit
def split_parts(blocks: float, slots: float, steps: float) -> float:
    """Return over how many blocks FlashAttention 2 splits the keys of a decode."""
    if blocks >= FILLED * slots:
        return 1.0
    most = int(min(MOST_PARTS_2, slots / 2, steps))
    best = 0.0
    for wanted in (False, True):
        before = np.inf
        for parts in range(1, most + 1):
            each = np.ceil(steps / parts)
            if each == before:
                continue
            before = each
            waves = blocks * parts / slots
            filled = waves / np.ceil(waves)
            if wanted and filled >= NEAR_BEST * best:
                return float(parts)
            best = max(best, filled)
    return 1.0


@njit
def _prefill_time(work: AttentionWork, device: AttentionDevice) -> float:
    """Return the time of prefills, with decodes or without: blocks of different lengths, in the order of the heads."""
    group = work.heads / work.kv_heads
    tile = _tile(work, device)
    packed = group if device.third else 1.0
    tiles = np.ceil(work.queries * packed / tile.rows)
    chunks = work.prefills * work.heads / packed * tiles
    singles = work.decodes * work.heads / packed * np.ceil(packed / tile.rows)
    blocks = chunks + singles
    slots = device.sms * tile.resident
    step = tile.crowded if blocks > device.sms else tile.alone
    first_keys = work.past + min(work.queries, tile.rows / packed)
    first = device.tile + step * np.ceil(first_keys / tile.keys)
    last = device.tile + step * np.ceil((work.past + work.queries) / tile.keys)
    single = device.tile + step * np.ceil(work.context / tile.keys)
    compute = makespan(chunks, first, last, singles, single, slots, device.third)
    if not device.third:
        compute += singles * (tiles - 1) * EMPTY_CLOCKS / device.clock / slots
    steps = (max(last, single if singles > 0 else 0.0) - device.tile) / step * tile.resident
    exponent = LOCKSTEP + DRIFT * np.sqrt(max(1.0, blocks / slots) * steps)
    time = _together(compute, _memory_time(work, tiles, slots, device), exponent)
    pairs = work.prefills * work.queries * (work.past + (work.queries + 1) / 2) + work.decodes * work.context
    operations = 4 * pairs * work.heads * work.head_dim
    return max(time, operations / work.rate, operations * device.energy / device.power)


@njit
def makespan(chunks: float, first: float, last: float, singles: float, single: float, slots: float,
              sorted_blocks: bool) -> float:  # fmt: skip
    """Return when the last block ends, of `chunks` from `first` to `last` long and `singles`, that slots take in turn.

    Where all fit, the longest; where all are alike, whole waves; else what the slots have to do, and the idle time at
    the end. By renewal theory that is, for blocks in any order, the longest length less half the length-weighted mean;
    less where the longest start first. Few long blocks may all start early: then the end is theirs, delayed by the
    short ones that had slots before them.
    """
    blocks = chunks + singles
    longest = max(last, single) if singles > 0 else last
    if blocks <= slots:
        return longest
    total = chunks * (first + last) / 2 + singles * single
    squares = chunks * (first * first + first * last + last * last) / 3 + singles * single * single
    alike = max(0.0, 4 * total * total / (squares * blocks) - 3)  # 1; 0 for the triangle of a causal prefill
    waves = blocks / slots
    mean = squares / total
    idle = LONGEST_FIRST * mean if sorted_blocks else longest - 0.5 * mean
    time = total / slots * (1 + alike * (np.ceil(waves) / waves - 1)) + (1 - alike) * idle
    long, short = (chunks, single) if last > single else (singles, last)
    if singles > 0 and long <= slots:
        share = 1 - long / blocks
        turns = np.ceil(np.log(max(1 - long / slots, 2 / slots)) / np.log(share)) - 1
        time = min(time, longest + max(turns, 1.0) * short)
    return max(time, longest, np.ceil(chunks / slots) * first, np.ceil(singles / slots) * single)


@njit
def _tile(work: AttentionWork, device: AttentionDevice) -> Tile:
    """Return the tile of the FlashAttention sources for a head width."""
    wide = work.head_dim
    if device.third:
        rows = 64.0 if work.prefills == 0 else 192.0 if wide <= 64 else 128.0
        keys = 128.0 if wide <= 128 else 96.0 if wide <= 192 else 80.0
        resident, softmax = 1.0, ELEMENT_CLOCKS_3
    else:
        rows = 64.0
        keys = 256.0 if wide <= 64 else 128.0 if wide <= 128 else 64.0
        fits = 2 * (rows + 2 * keys) * wide * work.element <= device.shared_memory
        resident, softmax = 2.0 if fits else 1.0, ELEMENT_CLOCKS_2
    step = device.step + rows * keys * (4 * wide * device.sms / work.rate + softmax / device.clock)
    return Tile(rows, keys, resident, step, step * 2 * TWO_RESIDENT if resident > 1 else step)


@njit
def _memory_time(work: AttentionWork, tiles: float, slots: float, device: AttentionDevice) -> float:
    """Return the time of reading keys and values; `tiles`: blocks of a prefill and head; `slots`: blocks at a time.

    Without packing, each query head of a group reads the keys of the decodes again: from L2 if those of one head fit,
    or if blocks of several heads run side by side, which long prefills between them prevent.
    """
    row = 2 * work.element * work.head_dim
    decoded = work.decodes * work.kv_heads * work.context * row
    cached = decoded + work.prefills * work.kv_heads * (work.past + work.queries) * row
    missed = cached
    if work.rotation > 0:
        missed = cached * _missing(work.rotation * cached, device)
    total = cached
    group = work.heads / work.kv_heads
    if tiles > 0 and group > 1 and not device.third:
        side = work.decodes + work.prefills * tiles
        beside = min(group, max(1.0, slots * work.decodes / (side * side)))
        again = decoded * (group / beside - 1)
        total += again
        missed += again * _missing(cached / work.kv_heads, device)
    return missed / device.memory_rate + (total - missed) / device.l2_rate


@njit
def _write_time(work: AttentionWork, new: float, device: AttentionDevice) -> float:
    """Return the time of storing the new keys and values, and of clearing the output."""
    values = work.kv_heads * work.head_dim
    stored = new * work.element * (4 * values + work.heads * work.head_dim)
    in_use = stored + 2 * new * work.element * work.heads * work.head_dim
    return max(new * min(values, WRITE_THREADS) * device.write / device.sms, _moved_time(stored, in_use, device))


@njit
def _moved_time(moved: float, in_use: float, device: AttentionDevice) -> float:
    missing = _missing(in_use, device)
    return moved * (missing / device.memory_rate + (1 - missing) / device.l2_rate)


@njit
def _missing(in_use: float, device: AttentionDevice) -> float:
    """Return the share of a working set that misses the L2."""
    return 1 - 1 / (1 + (in_use / device.l2_size) ** L2_SHARPNESS)


@njit
def _together(compute: float, memory: float, exponent: float) -> float:
    """Return the smooth maximum of two times.

    A block waits for its keys and then computes; blocks that start together do both in lockstep and drift apart as a
    random walk, so that the exponent grows with the square root of the steps.
    """
    larger, smaller = max(compute, memory), min(compute, memory)
    if smaller == 0:
        return larger
    return larger * (1 + (smaller / larger) ** exponent) ** (1 / exponent)
