"""Times of copies over PCIe and of all-reduce between the cards of a machine, from link rates and a few numbers.

- h2d, d2h: latency + bytes / rate. The two directions have an engine each; what is not pinned is first copied by the
  host into a pinned buffer, which bounds it.
- all_reduce over NVLink, as engines for language models do it: small ones with one kernel, in which each card reads the
  parts of all others (one stage) or reduces a share and gathers the rest (two stages), whichever is faster; large ones
  with NCCL's rings. Switches that add up by themselves let a byte cross each link about once.
- all_reduce over PCIe: a ring. Two cards talk directly; more share the path through the host.

`bytes` is the size of the buffer on each card. The numbers are those of the card's architecture
(`workloads/hardware/gpus/`): of PCIe the same for all cards, of NVLink one set for each architecture.
"""

from typing import Any, Final

import numpy as np

from ndpsim.gpu.architecture import Copies, NvLink, PcieRing
from ndpsim.gpu.card import Card
from ndpsim.gpu.family import KernelFamily
from ndpsim.gpu.kernels import OP_NAMES, Floats, Kernels


def times(kernels: Kernels, card: Card, efficiencies: Floats) -> Floats:
    """Return microseconds float64 [n] of copies and all-reduces; see `KernelFamily`. There are no efficiencies."""
    size, gpus = kernels.column("bytes"), kernels.column("gpus")
    copies = _copies(size, kernels.column("pageable"), card.common.copies, card.pcie_gb_per_s * 1e3)
    return np.where(kernels.op == OP_NAMES.index("all_reduce"), _all_reduce(size, gpus, card), copies)


def expected(_: Card) -> Floats:
    """Return nothing: there are no parameters."""
    return np.ones(0)


LINKS: Final = KernelFamily("links", ("h2d", "d2h", "all_reduce"), (), times, expected)


def copy_us(size: Any, rate: float, latency_us: float) -> Any:
    """Return the microseconds of copies, a number or an array of bytes; rate: what is reached, bytes a microsecond."""
    return latency_us + size / rate


def most_over_nvlink(card: Card) -> float:
    """Return how many cards talk over NVLink at most: none, two over a bridge, or any number."""
    if not card.nvlink_gb_per_s:
        return 0
    return 2 if card.nvlink_gb_per_s < card.common.pcie.bridge_gb_per_s.value else np.inf


def _copies(size: Floats, pageable: Floats, copies: Copies, link: float) -> Floats:
    pinned = copy_us(size, copies.pinned_share.value * link, copies.pinned_us.value)
    rate = min(copies.pageable_share.value * link, copies.host_copy_gb_per_s.value * 1e3)
    staged = copy_us(size, rate, copies.pageable_us.value)
    return np.where(pageable > 0, staged, pinned)


def _all_reduce(size: Floats, gpus: Floats, card: Card) -> Floats:
    gpus = np.maximum(gpus, 1)
    time = _over_pcie(size, gpus, card.common.pcie, card.pcie_gb_per_s * 1e3)
    if card.nvlink_gb_per_s:
        over_nvlink = _over_nvlink(size, gpus, card.common.nvlink, card.nvlink_gb_per_s * 1e3)
        time = np.where(gpus <= most_over_nvlink(card), over_nvlink, time)
    return np.where(gpus > 1, time, 0.0)


def _over_pcie(size: Floats, gpus: Floats, ring: PcieRing, rate: float) -> Floats:
    moved = 2 * (gpus - 1) / gpus * size
    share = np.where(gpus == 2, ring.peer_share.value, ring.host_share.value / gpus)
    return ring.ring_us.value + ring.ring_gpu_us.value * (gpus - 2) + moved / (rate * share)


def _over_nvlink(size: Floats, gpus: Floats, link: NvLink, rate: float) -> Floats:
    around = np.where(gpus == 2, 1, 1 + 1 / gpus if link.adding.value else 2 * (gpus - 1) / gpus) * size
    start = link.start_us.value + link.start_gpu_us.value * gpus
    one = start + (gpus - 1) * size / (link.one_share.value * rate)
    two = start + np.where(gpus == 2, 0, link.second_us.value) + around / (link.two_share.value * rate)
    rings = link.ring_us.value + link.ring_gpu_us.value * gpus + around / (link.ring_share.value * rate)
    kernel = np.where(gpus == 2, two, np.minimum(one, two))
    return np.where(size <= link.most_bytes.value, kernel, rings)
