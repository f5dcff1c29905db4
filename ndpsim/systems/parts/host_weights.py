"""What systems have in common that keep weights in host memory and bring them over PCIe: the rate, and what fits."""

from dataclasses import dataclass

from ndpsim.errors import InputError
from ndpsim.isa import codes
from ndpsim.llm.shape import ModelShape
from ndpsim.machine.pcie import Pcie
from ndpsim.systems.parts.room import card_enough, dimms_enough, found_on_card
from ndpsim.systems.system import Devices, Job


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model in FP16 and of its KV cache.

    layer: of one layer; head: of an output head of its own (0 if it is the embedding); embedding: all else outside of
    the layers; cache: of all sequences at the end of the run; host, card: what there is for weights (and caches).
    """

    layers: int
    layer: int
    embedding: int
    head: int
    cache: int
    host: int
    card: int

    @classmethod
    def of(cls, job: Job, devices: Devices) -> "Sizes":
        """Take the sizes of a job on a machine. Raises InputError if host memory does not hold the weights."""
        shape, dimms = job.shape, devices.dimms
        outer, whole = 2 * shape.outer_parameters(), shape.weight_bytes()
        head = 0 if shape.tied_embedding else 2 * shape.vocab * shape.hidden
        host = dimms.atoms * codes.ATOM_BYTES * dimms.dimms
        if whole > host:
            raise InputError(
                f"dimm.count: expected DIMMs with room for the weights of {shape.name}, {whole / 1e9:.1f} GB, "
                f"found {dimms.dimms} with {host / 1e9:.1f} GB; {dimms_enough(whole, devices)}"
            )
        return cls(
            layers=shape.layers,
            layer=(whole - outer) // shape.layers,
            embedding=outer - head,
            head=head,
            cache=cache_bytes(shape, job),
            host=host,
            card=devices.weight_bytes,
        )

    @property
    def weights(self) -> int:
        """Bytes of the whole model."""
        return self.layers * self.layer + self.embedding + self.head

    def require(self, size: int, what: str, devices: Devices) -> None:
        """Raise InputError if the card has no room for that many bytes."""
        if size > self.card:
            raise InputError(
                f"gpu.weights_gb: expected room for {what}, {size / 1e9:.1f} GB, found {found_on_card(devices)}; "
                f"{card_enough(size, devices)}"
            )


def cache_bytes(shape: ModelShape, job: Job) -> int:
    """Return the bytes of the KV cache of all sequences at the end of a run."""
    tokens = job.batch * job.capacity if job.cache_tokens is None else job.cache_tokens
    return tokens * shape.kv_bytes_per_token()


def copy_picoseconds(devices: Devices, gb_per_s: float, size: float) -> int:
    """Return the time of a copy over PCIe at a system's own rate, or at that of the link if it is slower."""
    return Pcie.of(devices.config.pcie, gb_per_s).picoseconds(size) if size else 0
