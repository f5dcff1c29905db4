"""Times of row and element-wise kernels: softmax, norms, activations, addition, rotary embedding, embedding, copies.

They do little work for each element. The slowest of three things decides (smooth maximum):

- memory: reads miss the L2 where the kernel's buffers outgrow what is left of it, writes where they outgrow all of it;
  what misses takes a share of the DRAM rate, what hits a share of the L2 rate. The kernel before wrote the inputs.
- the SMs: clocks for each element, over all SMs. A row belongs to one block and so to one SM: few rows, few SMs.
- the fixed time between two kernels of a CUDA graph, on top.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.card import Card
from ndpsim.gpu.family import KernelFamily, Parameter
from ndpsim.gpu.kernels import DTYPES, OPERATIONS, Floats, Kernels
from ndpsim.jit import njit

VECTOR, GATHER, SCALAR = 0, 1, 2


class RowWork(NamedTuple):
    """What a kernel does with each element of its output.

    reads, writes: elements moved; buffers: elements of all its buffers, less than both where it works in place;
    clocks: relative cost on an SM, in clocks where the pace is SCALAR; pace: which rate it runs at; split: whether
    several blocks share a row.
    """

    reads: float
    writes: float
    buffers: float
    clocks: float
    pace: int = VECTOR
    split: bool = False


# Clocks: the mean over the RTX 4090 (vLLM) and the A100 (PyTorch; norm, rotary and gate of an older vLLM).
WORK: Final[Mapping[str, RowWork]] = {
    "softmax": RowWork(1, 1, 2, 0.55, SCALAR),  # a maximum, a sum of exponentials and a division, in three passes
    "layernorm": RowWork(1, 1, 2, 0.4),
    "rmsnorm": RowWork(1, 1, 2, 0.9),
    "activation": RowWork(1, 1, 2, 0.4, split=True),
    "gated_activation": RowWork(2, 1, 3, 1.0),
    "add": RowWork(2, 1, 3, 0.4, split=True),
    "rotary": RowWork(1, 1, 1, 0.6, SCALAR),  # in place; pairs half a head apart, one element at a time in all engines
    "embedding": RowWork(1, 1, 1, 1.0, GATHER),
    "copy": RowWork(1, 1, 2, 0.4, split=True),
}

# Shapes of the curves, the same for all cards.
L2_SHARPNESS = 2.5  # how sudden buffers that outgrow the L2 miss
BLOCK_ELEMENTS = 1024.0  # of a block of a kernel that splits rows
INDEX_CLOCKS = 600.0  # latency of an index and of the row that it points to
FEW_INDICES = 16.0  # up to which PyTorch walks the indices one by one

PARAMETERS: Final = (
    Parameter("launch_us", 1.8, 0.3, 8.0, 0.5, "between two kernels of a CUDA graph, and the drain of the last blocks"),
    Parameter(
        "lanes", 3.0, 0.2, 64.0, 0.7, "elements a clock and SM: how far the kernels of the engine are vectorised"
    ),
    Parameter(
        "gather_lanes", 2.0, 0.1, 64.0, 1.0, "elements a clock and SM of an embedding: index arithmetic for each"
    ),
    Parameter("memory_share", 0.88, 0.5, 1.0, 0.15, "reached DRAM rate: refresh, turnarounds, bank conflicts"),
    Parameter("l2_share", 0.6, 0.05, 1.5, 0.7, "reached L2 rate"),
    Parameter("l2_kept", 0.5, 0.03, 1.0, 0.5, "share of the L2 that still holds what the kernel before wrote"),
)


def times(kernels: Kernels, card: Card, efficiencies: Floats) -> Floats:
    """Return microseconds float64 [n] of row operations; see `KernelFamily`."""
    work = np.array([WORK.get(op, RowWork(0, 0, 0, 0)) for op in OPERATIONS], np.float64)
    sizes = np.array([kind.activation for kind in DTYPES.values()])[kernels.dtype]
    machine = np.array([card.sms, card.clock_mhz, card.memory_rate, card.l2_mb * 1e6, card.l2_rate])
    columns = [kernels.column(name) for name in ("m", "n", "residual", "rotation")]
    microseconds = np.empty(len(kernels))
    _times(kernels.op, *columns, sizes, work, machine, efficiencies, microseconds)
    return microseconds


def expected(card: Card) -> Floats:
    """Return what the data sheet says of the parameters: check bits in the memory."""
    factors = dict.fromkeys((parameter.name for parameter in PARAMETERS), 1.0)
    factors["memory_share"] = 15 / 16 if card.inline_ecc else 1.0
    return np.array(list(factors.values()))


ROWS: Final = KernelFamily("rows", tuple(WORK), PARAMETERS, times, expected)


@njit
def _times(op: NDArray[np.int64], m: Floats, n: Floats, residual: Floats, rotation: Floats, sizes: Floats,
           work: Floats, machine: Floats, efficiencies: Floats, microseconds: Floats) -> None:  # fmt: skip
    sms, clock, memory_rate, l2_size, l2_rate = machine
    launch, lanes, gather_lanes, memory_share, l2_share, kept = efficiencies
    memory_rate = memory_rate * memory_share
    l2_rate = max(l2_rate * l2_share, memory_rate)  # all that DRAM gives passes through the L2
    for i in range(len(microseconds)):
        reads, writes, buffers, clocks, pace, split = work[op[i]]
        output = m[i] * n[i] * sizes[i]
        read, write = (reads + residual[i]) * output, (writes + residual[i]) * output
        time = launch
        if pace == GATHER:
            time += 2 * INDEX_CLOCKS / clock
            if m[i] <= FEW_INDICES:
                time += m[i] * INDEX_CLOCKS / clock
            if rotation[i] > 0:  # one row again and again, which the first-level caches hold
                read = 0.0
        missed = read * _missing(buffers * output, kept * l2_size) + write * _missing(write, l2_size)
        memory = missed / memory_rate + (read + write - missed) / l2_rate
        rate = lanes
        if pace == GATHER:
            rate = gather_lanes
        elif pace == SCALAR:
            rate = 1.0
        blocks = m[i]
        if split == 1:
            blocks = m[i] * n[i] / BLOCK_ELEMENTS
        compute = m[i] * n[i] * clocks / (min(max(blocks, 1.0), sms) * rate * clock)
        memory2, compute2 = memory * memory, compute * compute
        microseconds[i] = time + np.sqrt(np.sqrt(memory2 * memory2 + compute2 * compute2))


@njit
def _missing(bytes_in_use: float, size: float) -> float:
    """Return the share of accesses to buffers that misses a cache."""
    return 1 - 1 / (1 + (bytes_in_use / size) ** L2_SHARPNESS)
