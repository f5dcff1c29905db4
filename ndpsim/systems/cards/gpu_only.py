"""One graphics card that holds the whole model and its KV cache: what offloading has to be measured against."""

from typing import ClassVar, Final

from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.llm.shape import ModelShape
from ndpsim.machine.dense_times import DenseTimes, dense_times, part_times
from ndpsim.systems.parts.dense_layers import DenseLayers
from ndpsim.systems.parts.host_weights import cache_bytes
from ndpsim.systems.system import ONE_CARD, Devices, Job
from ndpsim.tables import Share, Table

CARDS_ONLY: Final = (
    "dimm",
    "dram",
    "pcie",
    "cpu",
    "preset",
    "gpu.reserve_gb",
    "gpu.weights_gb",
    "gpu.int8_tops",
    "gpu.fp32_tflops",
)
"""Paths that a system ignores which is on graphics cards as a whole."""


class ResidentPolicy(Table):
    """The parameter of systems without offloading. memory_share: of a card's memory, for weights and KV cache."""

    memory_share: Share


class GpuOnly(DenseLayers):
    """A model on one card, its kernels in CUDA graphs."""

    name: ClassVar[str] = "gpu-only"
    shares_cache: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = (*CARDS_ONLY, *ONE_CARD)
    Policy = ResidentPolicy
    policy: ResidentPolicy

    def __init__(self, job: Job, devices: Devices, policy: ResidentPolicy) -> None:
        """Raises InputError if weights and cache do not fit."""
        super().__init__(job, devices, policy)
        self.shape = self.slice(job.shape, devices.config.gpu.count.value)
        weights, cache = self.shape.weight_bytes(), cache_bytes(self.shape, job)
        card, share = devices.gpu.card, policy.memory_share.value
        room = card.memory_bytes * share
        self._cache_room = int(room) - weights
        if weights + cache > room:
            raise InputError(
                f"gpu.card: expected room for {weights / 1e9:.1f} GB of weights and {cache / 1e9:.1f} GB of KV cache "
                f"of {job.shape.name} on each card, found {room / 1e9:.1f} GB on {card.name} "
                f"({share:g} of its memory); {self._enough(weights + cache)}"
            )

    def kv_room(self, reserved: int = 0) -> dict[str, int]:
        """Return the tokens that the share of a card's memory beside the weights has room for, and the host's."""
        dimms = self.devices.dimms
        host = dimms.atoms * codes.ATOM_BYTES * dimms.dimms
        return {
            "gpu": max(self._cache_room - reserved, 0) // self.kv_token_bytes,
            "host": host // self.job.shape.kv_bytes_per_token(),
        }

    @property
    def kv_token_bytes(self) -> int:
        """Bytes of the keys and values of a token on a card."""
        return self.shape.kv_bytes_per_token()

    def step_times(self, tokens: int, sequences: int) -> DenseTimes:
        """Return the times of steps on the card."""
        parts = part_times(self.devices.gpu, self.shape, tokens, sequences)
        return dense_times(self.devices.gpu, self.shape, parts.embedding + self.shape.layers * parts.layer, parts.head)

    def _enough(self, size: int) -> str:
        """Return what would hold the bytes of a card."""
        share, card = self.policy.memory_share.value, self.devices.gpu.card
        if size < 0.99 * card.memory_bytes:
            return f"policy.memory_share: at least {-int(-1000 * size // card.memory_bytes) / 1000:g}"
        return f"gpu.memory_mib: at least {int(size / share / (1 << 20)) + 1}, as another gpu.card may have"

    def slice(self, shape: ModelShape, cards: int) -> ModelShape:
        """Return the shape of a card's part of the model on so many cards."""
        return shape
