"""The prompt of systems whose weights and KV cache lie beside the host: the GPU computes it, layer by layer.

All weights come over PCIe once, each layer while the GPU computes the one before; those that it is to hold stay as they
pass, and the KV cache goes back at the same time.
"""

from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.systems.system import PS_PER_US, System


def streamed_prompt(system: System) -> int:
    """Run the prompt of a system from time 0 on, and return when it has ended, in picoseconds."""
    job, meter, gpu = system.job, system.meter, system.devices.gpu
    compute = step_microseconds(gpu, job.shape, graph(job.shape, Step.prefill(job.batch, job.prompt)))
    rate = system.devices.config.pcie.gb_per_s.value * 1e3
    weights, cache = job.shape.weight_bytes(), job.batch * job.prompt * job.shape.kv_bytes_per_token()
    copy, back = weights / rate, cache / rate
    parts = sorted((copy, compute, back))
    end = int((parts[2] + (parts[1] + parts[0]) / job.shape.layers) * PS_PER_US)
    meter.move("h2d", weights)
    meter.move("d2h", cache)
    meter.work("pcie", "prompt", 0, int(copy * PS_PER_US))
    meter.work("gpu", "prompt", end - int(compute * PS_PER_US), end)
    meter.spend("prompt", end)
    return end
