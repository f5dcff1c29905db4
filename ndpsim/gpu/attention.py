"""Times of attention kernels (MHA, GQA, MQA; paged; prefills, decodes, and both in one batch) on any card.

The model follows FlashAttention as engines of continuous batching run it: version 3 on Hopper, version 2 elsewhere.
The cached keys of a sequence are cut into tiles, over which a thread block goes in steps. The time is

    launch + writing new keys and values + smooth maximum (memory, compute) + copies and sums around it

- compute: blocks take turns on the SMs. A block has a latency to begin and end, and for each step the products of a
  full tile at the matrix rate, however few of its queries are real, and a softmax. Decodes alone: one block for the
  query heads of a group, split along the keys until the SMs are full. With prefills, version 2 gives each query head a
  block of its own, does not split, and starts empty blocks beside the decodes.
- memory: keys and values at a share of the DRAM rate, or of the L2 rate if the L2 still holds them.
- power: operations times energy cannot exceed the card's limit.

The new keys and values count here since every step of an engine writes them between projection and attention.
"""

import numpy as np

from ndpsim.gpu.attention_kernel import AttentionDevice, fill_times
from ndpsim.gpu.card import Card
from ndpsim.gpu.family import KernelFamily, Parameter
from ndpsim.gpu.kernels import DTYPES, Floats, Kernels

PARAMETERS = (
    Parameter("launch", 10500, 3000, 40000, 0.3, "clocks of two launches and the first transfers"),
    Parameter("step", 1000, 100, 4000, 0.3, "clocks of a step beside products and softmax: barriers, dependences"),
    Parameter("tile", 3500, 300, 12000, 0.3, "clocks to begin and end a block: page table, first keys, output"),
    Parameter("helper", 2050, 300, 8000, 0.3, "clocks of a small copy: launch and latency of DRAM or L2"),
    Parameter("combine", 7500, 300, 25000, 0.3, "clocks of the kernel that adds up what splitting left"),
    Parameter("memory_share", 0.88, 0.5, 1.0, 0.1, "reached DRAM rate: refresh, turnarounds, scattered pages"),
    Parameter("l2_share", 0.6, 0.1, 2.0, 0.5, "reached L2 rate; two halves of an L2 may both hold what both read"),
    Parameter("energy", 2.0, 0.5, 6.0, 0.2, "pJ of an operation, with its operands and its part of the softmax"),
    Parameter("write", 2.7, 0.5, 15, 0.4, "clocks of an SM to store a number of the new keys (and one of the values)"),
)  # fmt: skip

_SHAPE = ("heads", "kv_heads", "head_dim", "prefills", "queries", "past", "decodes", "context", "rotation")


def times(kernels: Kernels, card: Card, efficiencies: Floats) -> Floats:
    """Return microseconds float64 [n] of attention kernels; see `KernelFamily`."""
    shape = np.column_stack([kernels.column(name) for name in _SHAPE])
    element = np.array([kind.activation for kind in DTYPES.values()], np.float64)[kernels.dtype]
    rate = np.array([card.rate(kind.rate) for kind in DTYPES.values()])[kernels.dtype]
    microseconds = np.empty(len(kernels))
    fill_times(shape, element, rate, device_of(card, efficiencies), microseconds)
    return microseconds


def expected(card: Card) -> Floats:
    """Return what the data sheet says of the parameters: check bits in the memory, and which version runs."""
    factors = dict.fromkeys((parameter.name for parameter in PARAMETERS), 1.0)
    factors["memory_share"] = 15 / 16 if card.inline_ecc else 1.0
    factors |= {name: factor.value for name, factor in card.common.attention.items()}
    return np.array(list(factors.values()))


def device_of(card: Card, efficiencies: Floats) -> AttentionDevice:
    """Return a card as the kernel takes it."""
    launch, step, tile, helper, combine, memory_share, l2_share, energy, write = efficiencies.tolist()
    common, clock = card.common, card.clock_mhz
    return AttentionDevice(
        third=common.flash_attention.value == 3,
        sms=float(card.sms),
        clock=clock,
        shared_memory=1024.0 * (card.shared_memory_kib or common.shared_memory_kib.value),
        memory_rate=card.memory_rate * memory_share,
        l2_size=card.l2_mb * 1e6,
        l2_rate=card.l2_rate * l2_share,
        power=card.power_w * 1e6,
        launch=launch / clock,
        step=step / clock,
        tile=tile / clock,
        helper=helper / clock,
        combine=combine / clock,
        energy=energy,
        write=write / clock,
    )


ATTENTION = KernelFamily("attention", ("attention",), PARAMETERS, times, expected)
