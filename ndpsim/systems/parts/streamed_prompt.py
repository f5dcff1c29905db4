"""Prompts in systems whose weights and KV cache lie beside the host: the GPU computes them, layer by layer.

All weights come over PCIe once, each layer while the GPU computes the one before; those that it is to hold stay as they
pass, and the KV cache goes back at the same time. A chunk behind others needs what these have cached, too: it comes
with the weights.
"""

from abc import abstractmethod

from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.systems.system import PS_PER_US, System


class StreamedPrompts(System):
    """A system that runs the prompts of a step in this way, and then a token of each decoding sequence in its own."""

    def forward(self, step: Step, now: int) -> int:
        """Run prompts, then decode."""
        if step.prefills:
            now = self.prefill(step.prefills, now)
        return self.decode(step.decodes, now) if step.decodes else now

    @abstractmethod
    def decode(self, step: Step, now: int) -> int:
        """Run a token of each sequence from `now` on, and return when it has ended."""

    def prefill(self, step: Step, now: int) -> int:
        """Run prompts from `now` on, and return when they have ended, in picoseconds."""
        shape, meter, gpu = self.job.shape, self.meter, self.devices.gpu
        compute = step_microseconds(gpu, shape, graph(shape, step))
        token = shape.kv_bytes_per_token()
        sent, cache = shape.weight_bytes() + step.cached * token, step.tokens * token
        copy, back = self.devices.pcie.stream_us(sent), self.devices.pcie.stream_us(cache)
        parts = sorted((copy, compute, back))
        time = int((parts[2] + (parts[1] + parts[0]) / shape.layers) * PS_PER_US)
        meter.move("h2d", sent)
        meter.move("d2h", cache)
        meter.work("pcie", "prompt", now, now + int(copy * PS_PER_US))
        meter.work("gpu", "prompt", now + time - int(compute * PS_PER_US), now + time)
        meter.spend("prompt", time)
        return now + time
