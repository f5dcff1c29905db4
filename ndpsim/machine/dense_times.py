"""Times of dense steps as tables, for engines that ask for thousands a second: the same picoseconds as `dense_step`.

All parts but attention depend on the number of new tokens, or of logits, alone. They are timed once for each number;
what is left for a step is its attention.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.attention import device_of
from ndpsim.gpu.attention_kernel import AttentionDevice, fill_times
from ndpsim.gpu.kernels import COLUMNS, DTYPES, Floats, Kernels
from ndpsim.gpu.model import PLAIN_LAUNCH_US, GpuModel
from ndpsim.jit import borrowing
from ndpsim.llm.graph import graph
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import PARTS
from ndpsim.machine.gpu import kernels_of
from ndpsim.wall import GPU_MODEL

Ints = NDArray[np.int64]
_M: Final = COLUMNS.index("m")
PREFILLS, QUERIES, PAST, DECODES, CONTEXT = range(3, 8)


class PartTimes(NamedTuple):
    """Picoseconds of the parts of a step: int64[most tokens + 1] of one layer's, int64[most logits + 1] of the head.

    Entry 0 is 0.
    """

    embedding: Ints
    qkv: Ints
    projection: Ints
    ffn: Ints
    head: Ints

    @property
    def layer(self) -> Ints:
        """One layer without its attention."""
        return self.qkv + self.projection + self.ffn


class DenseTimes(NamedTuple):
    """What the time of a step follows from. tokens, logits: picoseconds by the number of new tokens, and of logits.

    layers: how often attention is computed; least_us: what a kernel takes at least. work: float64[1, 9], `us`:
    float64[1], room for the attention at hand, whose heads, number format and device are given.
    """

    tokens: Ints
    logits: Ints
    layers: int
    least_us: float
    work: Floats
    us: Floats
    element: Floats
    rate: Floats
    device: AttentionDevice


@GPU_MODEL
def part_times(model: GpuModel, shape: ModelShape, tokens: int, logits: int, *, eager: bool = False) -> PartTimes:
    """Time all parts but attention for 1 to `tokens` new tokens, and the head for 1 to `logits`."""
    operators = [one for one in graph(shape, Step((1,), (0,))) if one.kind not in ("elementwise", "attention")]
    one_token = kernels_of(shape, operators)
    names = [one.name for one in operators]

    def timed(part: str, most: int) -> Ints:
        total = np.zeros(most + 1)
        for kernel in (k for k, name in enumerate(names) if name in PARTS[part]):
            op, dtype, sizes = (np.repeat(field[kernel : kernel + 1], most, axis=0) for field in one_token)
            table = Kernels(op.astype(np.int64), dtype.astype(np.int64), sizes.astype(np.float64))
            table.shape[:, _M] = np.arange(1, most + 1)
            total[1:] += model.plain(table) if eager else model.microseconds(table)
        return (total * 1e6).astype(np.int64)

    return PartTimes(*(timed(part, logits if part == "head" else tokens) for part in PartTimes._fields))


def dense_times(model: GpuModel, shape: ModelShape, tokens: Ints, logits: Ints, *, eager: bool = False) -> DenseTimes:
    """Return the times of steps; tokens, logits: see `DenseTimes`."""
    fp16 = list(DTYPES).index("fp16")
    work = np.zeros((1, 9))
    work[0, :3] = shape.heads, shape.kv_heads, shape.head_width
    return DenseTimes(
        tokens=tokens,
        logits=logits,
        layers=shape.layers,
        least_us=PLAIN_LAUNCH_US if eager else 0.0,
        work=work,
        us=np.zeros(1),
        element=np.full(1, list(DTYPES.values())[fp16].activation, np.float64),
        rate=np.full(1, model.card.rate(list(DTYPES.values())[fp16].rate)),
        device=device_of(model.card, model.efficiencies["attention"]),
    )


@borrowing
def dense_picoseconds(times: DenseTimes, new: Ints, computed: Ints, logits: int) -> int:
    """Return the time of a step; new, computed: int64[sequences], new tokens and cached ones."""
    decodes, contexts, queries, past = 0, 0, 0, 0
    for i in range(len(new)):
        if new[i] == 1:
            decodes += 1
            contexts += computed[i] + 1
        else:
            queries += new[i]
            past += computed[i]
    prefills, work = len(new) - decodes, times.work
    work[0, PREFILLS], work[0, DECODES] = prefills, decodes
    work[0, QUERIES] = queries / prefills if prefills else 0.0
    work[0, PAST] = past / prefills if prefills else 0.0
    work[0, CONTEXT] = contexts / decodes if decodes else 0.0
    fill_times(work, times.element, times.rate, times.device, times.us)
    attention = int(max(times.us[0], times.least_us) * 1e6)
    return int(times.tokens[decodes + queries] + times.layers * attention + times.logits[logits])
