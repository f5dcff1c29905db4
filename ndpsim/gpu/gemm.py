"""Times of matrix products: GEMV, GEMM, and GEMM with gathered rows, on any card.

A thread block computes one tile of the output along a part of the inputs; blocks run in waves over the SMs. The time is

    launch + fill + (memory^4 + compute^4)^(1/4) + reduction of the parts

of the tile and split for which it is shortest, as a library's heuristics would find them:

- memory: what misses the L2 at a share of the DRAM rate, what hits at a share of the L2 rate (no less
  than that of DRAM). Of a working set of b
  bytes the share x / (1 + x), x = (b / L2)^L2_SHARPNESS, misses. The working set of the weights is all copies over
  which a benchmark cycles and the inputs (without rotation all weights miss); that of the inputs is weights and inputs;
  that of the outputs is all three, in the share WRITE_BACK of the L2.
- compute: sqrt(multiply^2 + latency^2). Each wave multiplies whole tiles in steps of DEPTH inputs at a share of the
  matrix rate (tile and wave quantization), and a tile r by c takes 1 + TILE_LOSS (1/r + 1/c - 1/128) times its own
  multiplications, for the operands that it has to fetch. Each step also has a latency, and so has each wave.
- Tiles of more than 16 rows are taken where they are more than half full, splits where each part has two steps.
- reduction: a fixed time for any split, and the partial sums (4 bytes, written and read) at a share of the L2 rate.
- gathered rows: GATHER_BYTES more for each.
- ramp: a kernel reaches its rates only after some time: ramp * RAMP_US * (1 - exp(-t / RAMP_US)) is added to time t.
"""

import numpy as np

from ndpsim.gpu.card import Card
from ndpsim.gpu.family import KernelFamily, Parameter
from ndpsim.gpu.kernels import DTYPES, OP_NAMES, Floats, Kernels
from ndpsim.jit import njit

# Tiles (rows, outputs) of common libraries, and parts into which they split the inputs.
TILES = np.array(
    [
        (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 256), (64, 64), (32, 128), (32, 64), (16, 128),
        (16, 64),
    ],
    np.float64,
)  # fmt: skip
SPLITS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32], np.float64)
DEPTH = 64.0  # inputs of one step of a tile

# Shapes of the curves, the same for all cards: found once on the RTX 4090, A100, H100 and L40S together.
TILE_LOSS = 14.0  # rows or outputs whose fetching costs as much as a tile's own multiplications
L2_SHARPNESS = 4.0  # how sudden a working set that outgrows the L2 misses
WRITE_BACK = 0.5  # share of the L2 that outputs may fill before they are written back
REDUCTION = 0.015  # share of the L2 time of the partial sums that is not hidden
RAMP_US = 170.0
WAVE_CLOCKS = 140.0  # between the waves of an SM
GATHER_BYTES = 128.0  # fetched in vain at the two ends of a gathered row: half a 256-byte DRAM access

COMPUTE_POWER = 0.75  # share of a card's power limit that is left beside DRAM, leakage and idle parts

_SHAPE = ("m", "n", "k", "rotation", "row")

PARAMETERS = (
    Parameter("launch_us", 2.0, 0.3, 8.0, 0.7, "between two kernels of a CUDA graph, and the drain of the last wave"),
    Parameter("fill_us", 0.5, 0.01, 5.0, 0.7, "first operands of a tile and its epilogue"),
    Parameter("memory_share", 0.89, 0.5, 1.0, 0.15, "reached DRAM rate: refresh, turnarounds, bank conflicts"),
    Parameter("matrix_share", 0.95, 0.4, 1.1, 0.2, "reached matrix rate of what clock and power limit allow"),
    Parameter("l2_share", 0.35, 0.05, 1.5, 0.7, "reached L2 rate"),
    Parameter("ramp", 0.03, 0.002, 0.5, 1.0, "share of the first RAMP_US that is lost: TLB misses, clocks that rise"),
    Parameter("step_clocks", 200.0, 20.0, 600.0, 0.7, "latency of one step of a tile that has an SM for itself"),
    Parameter("split_us", 2.0, 0.2, 8.0, 0.7, "adding up the parts of a split product"),
    Parameter("gemv_fill", 0.5, 0.01, 1.2, 1.0, "share of fill_us that a product with one row needs"),
)


def times(kernels: Kernels, card: Card, efficiencies: Floats) -> Floats:
    """Return microseconds float64 [n] of matrix products; see `KernelFamily`."""
    weights = np.array([kind.weight for kind in DTYPES.values()])[kernels.dtype]
    activations = np.array([kind.activation for kind in DTYPES.values()])[kernels.dtype]
    rates = np.array([card.rate(kind.rate) for kind in DTYPES.values()])[kernels.dtype]
    gathered = (kernels.op == OP_NAMES.index("sparse_gemm")).astype(np.float64)
    machine = np.array([card.sms, card.clock_mhz, card.memory_rate, card.l2_mb * 1e6, card.l2_rate])
    microseconds = np.empty(len(kernels))
    shape = np.column_stack([kernels.column(name) for name in _SHAPE])
    _times(shape, weights, activations, rates, gathered, machine, efficiencies, microseconds)
    return microseconds


def expected(card: Card) -> Floats:
    """Return what the data sheet says of the parameters: check bits in the memory, clock, and power limit."""
    watts = card.fp16_tflops * card.common.pj_per_flop.value
    factors = dict.fromkeys((parameter.name for parameter in PARAMETERS), 1.0)
    factors["memory_share"] = 15 / 16 if card.inline_ecc else 1.0
    factors["matrix_share"] = min(card.clock_headroom, COMPUTE_POWER * card.power_w / watts)
    return np.array(list(factors.values()))


GEMM = KernelFamily("gemm", ("gemm", "gemv", "sparse_gemm"), PARAMETERS, times, expected)


@njit
def _times(shape: Floats, weights: Floats, activations: Floats, rates: Floats, gathered: Floats, machine: Floats,
           efficiencies: Floats, microseconds: Floats) -> None:  # fmt: skip
    sms, clock, memory_rate, l2_size, l2_rate = machine
    launch, fill, memory_share, matrix_share, l2_share, ramp, step_clocks, split_us, gemv_fill = efficiencies
    step, wave = step_clocks / clock, WAVE_CLOCKS / clock
    memory_rate = memory_rate * memory_share
    l2_rate = max(l2_rate * l2_share, memory_rate)
    for i in range(len(microseconds)):
        m, n, k, rotation, row = shape[i]
        weight_bytes, in_bytes, out_bytes = weights[i] * n * k, activations[i] * m * k, activations[i] * m * n
        if gathered[i] == 1:
            row_bytes = weights[i] * (row if row > 0 else k)
            weight_bytes *= 1 + GATHER_BYTES / row_bytes
        cold = 1.0
        if rotation > 0:
            cold = _missing(rotation * weight_bytes + in_bytes, l2_size)
        missed = weight_bytes * cold + in_bytes * _missing(weight_bytes + in_bytes, l2_size)
        missed += out_bytes * _missing(weight_bytes + in_bytes + out_bytes, WRITE_BACK * l2_size)
        memory = missed / memory_rate + (weight_bytes + in_bytes + out_bytes - missed) / l2_rate
        sm_rate = rates[i] * matrix_share / sms
        time = _best(m, n, k, sms, sm_rate, step, wave, memory, split_us, 8 * REDUCTION / l2_rate)
        time += launch + (fill if m > 1 else fill * gemv_fill)
        microseconds[i] = time + ramp * RAMP_US * (1 - np.exp(-time / RAMP_US))


@njit
def _missing(bytes_in_use: float, l2_size: float) -> float:
    """Return the share of a working set that misses the L2."""
    return 1 - 1 / (1 + (bytes_in_use / l2_size) ** L2_SHARPNESS)


@njit
def _best(m: float, n: float, k: float, sms: float, sm_rate: float, step: float, wave: float, memory: float,
          split_us: float, sum_us: float) -> float:  # fmt: skip
    """Return the time of the best tile and split: the smooth maximum (fourth powers), and adding up the parts."""
    best = np.inf
    memory4 = memory**4
    for t in range(len(TILES)):
        rows, outputs = TILES[t]
        if rows >= 2 * m and rows > 16:
            continue
        tiles = np.ceil(m / rows) * np.ceil(n / outputs)
        slow = 1 + TILE_LOSS * (1 / rows + 1 / outputs - 1 / 128)
        tile_step = 2 * rows * outputs * DEPTH * slow / sm_rate
        for s in range(len(SPLITS)):
            parts = SPLITS[s]
            if parts > 1 and k < 2 * DEPTH * parts:
                break
            waves, steps = np.ceil(tiles * parts / sms), np.ceil(k / parts / DEPTH)
            multiply, wait = waves * steps * tile_step, waves * (steps * step + wave)
            compute2 = multiply * multiply + wait * wait
            time = np.sqrt(np.sqrt(memory4 + compute2 * compute2))
            if parts > 1:
                time += split_us + sum_us * m * n * parts
            best = min(best, time)
    return best
