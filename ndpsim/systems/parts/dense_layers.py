"""A forward pass of a dense model, layer by layer, on one card: the frame of the systems that know no sparsity.

What they differ in is where the weights are, and so what a layer waits for: they say it in `layer`.
"""

from collections.abc import Sequence
from typing import ClassVar

from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import LAYER, StepTimes, dense_step
from ndpsim.systems.system import Devices, Job, System
from ndpsim.tables import Table

Part = tuple[str, str, int]
"""A device, an operation and its picoseconds."""


class DenseLayers(System):
    """A system that computes whole layers on the card.

    eager: whether the host launches each kernel by itself, from Python, or they are in a CUDA graph.
    shape: of what a card computes.
    """

    eager: ClassVar[bool] = False

    def __init__(self, job: Job, devices: Devices, policy: Table) -> None:
        super().__init__(job, devices, policy)
        self.shape: ModelShape = job.shape
        self._phase = ""

    def forward(self, step: Step, now: int) -> int:
        """Run a forward pass from `now` on, and return when it has ended."""
        self.begin(step)
        times = self.times(step)
        now = self.compute(times, ("embedding",), now)
        for layer in range(self.shape.layers):
            now = self.layer(layer, times, now)
        return self.head(times, now)

    def begin(self, step: Step) -> None:
        """Note whether all that a pass computes are prompts: then all of it counts as that."""
        self._phase = "prompt" if step.decodes is None else ""

    def times(self, step: Step) -> StepTimes:
        """Return the times of a step's parts on the card."""
        return dense_step(self.devices.gpu, self.shape, step, eager=self.eager)

    def layer(self, layer: int, times: StepTimes, now: int) -> int:
        """Run a layer, and return when it has ended."""
        return self.compute(times, LAYER, now, layer)

    def head(self, times: StepTimes, now: int) -> int:
        """Run what comes behind the last layer, and return when it has ended."""
        return self.compute(times, ("head",), now)

    def compute(self, times: StepTimes, parts: Sequence[str], now: int, layer: int = -1) -> int:
        """Run parts on the card one after the other, and return when they have ended."""
        for part in parts:
            now = self.critical("gpu", part, now, getattr(times, part), layer)
        return now

    def critical(self, device: str, operation: str, now: int, time: int, layer: int = -1) -> int:
        """Let the whole run wait for a device, and return when it is done."""
        operation = self._phase or operation
        if time:
            self.meter.work(device, operation, now, now + time, layer)
            self.meter.spend(operation, time)
        return now + time

    def beside(self, parts: Sequence[Part], copy_ps: int, now: int, layer: int = -1) -> int:
        """Compute parts one after the other while weights come over PCIe, and return when both have ended."""
        computed = now
        for device, operation, time in parts:
            computed = self.critical(device, operation, computed, time, layer)
        self.meter.work("pcie", self._phase or "weights", now, now + copy_ps, layer)
        end = max(computed, now + copy_ps)
        if end > computed:
            self.meter.spend(self._phase or "weights", end - computed)
        return end
