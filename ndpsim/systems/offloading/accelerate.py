"""Accelerate: layers that do not fit on the card are loaded before they run and freed behind it, for every token.

Source of the model: Hugging Face Accelerate, `device_map="auto"` and its hooks. The card is filled in the order of the
model (embedding, layers, head) with whole layers, and keeps room for the largest one that is to come; nothing overlaps:
a hook copies the weights of a layer, the layer runs, the weights are dropped. The KV cache stays on the card.
"""

from typing import Any

from ndpsim.machine.dense_step import StepTimes
from ndpsim.systems.parts.dense_layers import DenseLayers
from ndpsim.systems.parts.host_weights import Sizes, copy_picoseconds
from ndpsim.systems.system import DIMM_UNITS, ONE_CARD, OTHER_FORMATS, Devices, Job
from ndpsim.tables import Rate, Table


class AcceleratePolicy(Table):
    """The parameters of Accelerate; see `workloads/systems/accelerate.toml`. link_gb_per_s: of its copies."""

    link_gb_per_s: Rate


class Accelerate(DenseLayers):
    """One card that runs a model layer by layer, from host memory where it must."""

    name = "accelerate"
    ignores = ("cpu", "preset", *ONE_CARD, *DIMM_UNITS, *OTHER_FORMATS)
    Policy = AcceleratePolicy
    policy: AcceleratePolicy
    eager = True

    def __init__(self, job: Job, devices: Devices, policy: AcceleratePolicy) -> None:
        """Fill the card. Raises InputError if not even one layer fits beside embedding and cache."""
        super().__init__(job, devices, policy)
        sizes = self.sizes = Sizes.of(job, devices)
        if sizes.weights + sizes.cache <= sizes.card:
            self.resident, self._head = sizes.layers, 0
        else:
            fixed = sizes.embedding + sizes.cache + max(sizes.layer, sizes.head)
            sizes.require(fixed, "embedding, KV cache and the largest layer", devices)
            self.resident, self._head = min((sizes.card - fixed) // sizes.layer, sizes.layers), sizes.head

    def layer(self, layer: int, times: StepTimes, now: int) -> int:
        """Load a layer if it is not on the card, and run it."""
        if layer >= self.resident:
            now = self._load(self.sizes.layer, now, layer)
        return super().layer(layer, times, now)

    def head(self, times: StepTimes, now: int) -> int:
        """Load the head if it is not on the card, and run it."""
        return super().head(times, self._load(self._head, now))

    def _load(self, size: int, now: int, layer: int = -1) -> int:
        if size:
            self.meter.move("h2d", size)
        time = copy_picoseconds(self.devices, self.policy.link_gb_per_s.value, size)
        return self.critical("pcie", "weights", now, time, layer)

    def figures(self) -> dict[str, Any]:
        """Return what lies on the card."""
        return {"resident_layers": self.resident}
