"""Times of copies over PCIe and of all-reduce between the cards of a machine, from link rates and a few constants.

- h2d, d2h: latency + bytes / rate. The two directions have an engine each; what is not pinned is first copied by the
  host into a pinned buffer, which bounds it.
- all_reduce over NVLink, as engines for language models do it: small ones with one kernel, in which each card reads the
  parts of all others (one stage) or reduces a share and gathers the rest (two stages), whichever is faster; large ones
  with NCCL's rings. Switches that add up by themselves let a byte cross each link about once.
- all_reduce over PCIe: a ring. Two cards talk directly; more share the path through the host.

`bytes` is the size of the buffer on each card. Nothing here is fitted to a card: links of one kind are alike.
"""

from typing import Any, Final

import numpy as np

from ndpsim.gpu.architecture import NvLink
from ndpsim.gpu.card import Card
from ndpsim.gpu.family import KernelFamily
from ndpsim.gpu.kernels import OP_NAMES, Floats, Kernels

# Copies. Ours: what bandwidth tests commonly show on PCIe 3.0 to 5.0; measure with tools/measure_gpu.py.
PINNED_SHARE: Final = 0.82  # of the raw rate: headers of packets of 256 bytes, flow control
PINNED_US: Final = 5.0
PAGEABLE_SHARE: Final = 0.45
PAGEABLE_US: Final = 10.0
HOST_COPY: Final = 12e3  # bytes a microsecond that one core copies into the pinned buffer


BRIDGE: Final = 200.0  # GB/s each way: slower NVLink is a bridge between two cards, not a switch

# The same for the L40S (PCIe 4.0, two sockets): mean error 5.1 %.
PCIE_US: Final = 5.3
PCIE_GPU_US: Final = 3.1  # for each card beyond two
PEER_SHARE: Final = 0.615  # of the raw rate, between two cards
HOST_SHARE: Final = 0.48  # of the raw rate of one card, for all cards together


def times(kernels: Kernels, card: Card, efficiencies: Floats) -> Floats:
    """Return microseconds float64 [n] of copies and all-reduces; see `KernelFamily`. There are no efficiencies."""
    size, gpus = kernels.column("bytes"), kernels.column("gpus")
    copies = _copies(size, kernels.column("pageable"), card.pcie_gb_per_s * 1e3)
    return np.where(kernels.op == OP_NAMES.index("all_reduce"), _all_reduce(size, gpus, card), copies)


def expected(_: Card) -> Floats:
    """Return nothing: there are no parameters."""
    return np.ones(0)


LINKS: Final = KernelFamily("links", ("h2d", "d2h", "all_reduce"), (), times, expected)


def copy_us(size: Any, rate: float, latency_us: float) -> Any:
    """Return the microseconds of copies, a number or an array of bytes; rate: what is reached, bytes a microsecond."""
    return latency_us + size / rate


def _copies(size: Floats, pageable: Floats, link: float) -> Floats:
    pinned = copy_us(size, PINNED_SHARE * link, PINNED_US)
    staged = copy_us(size, min(PAGEABLE_SHARE * link, HOST_COPY), PAGEABLE_US)
    return np.where(pageable > 0, staged, pinned)


def _all_reduce(size: Floats, gpus: Floats, card: Card) -> Floats:
    gpus = np.maximum(gpus, 1)
    time = _over_pcie(size, gpus, card.pcie_gb_per_s * 1e3)
    if card.nvlink_gb_per_s:
        reached = gpus <= (2 if card.nvlink_gb_per_s < BRIDGE else np.inf)
        time = np.where(reached, _over_nvlink(size, gpus, card.common.nvlink, card.nvlink_gb_per_s * 1e3), time)
    return np.where(gpus > 1, time, 0.0)


def _over_pcie(size: Floats, gpus: Floats, rate: float) -> Floats:
    moved = 2 * (gpus - 1) / gpus * size
    return PCIE_US + PCIE_GPU_US * (gpus - 2) + moved / (rate * np.where(gpus == 2, PEER_SHARE, HOST_SHARE / gpus))


def _over_nvlink(size: Floats, gpus: Floats, link: NvLink, rate: float) -> Floats:
    around = np.where(gpus == 2, 1, 1 + 1 / gpus if link.adding.value else 2 * (gpus - 1) / gpus) * size
    start = link.start_us.value + link.start_gpu_us.value * gpus
    one = start + (gpus - 1) * size / (link.one_share.value * rate)
    two = start + np.where(gpus == 2, 0, link.second_us.value) + around / (link.two_share.value * rate)
    rings = link.ring_us.value + link.ring_gpu_us.value * gpus + around / (link.ring_share.value * rate)
    kernel = np.where(gpus == 2, two, np.minimum(one, two))
    return np.where(size <= link.most_bytes.value, kernel, rings)
