"""The host's processor: roofline time of an operator on all its cores."""

from ndpsim.machine.config import CpuTable


def cpu_picoseconds(cpu: CpuTable, size: float, flops: float) -> int:
    """Return the time of an operator that reads `size` bytes and computes `flops`: a roofline behind a fixed start.

    The start is the fork and join of the threads; the slower of memory and arithmetic hides the other.
    """
    memory_us = size / (cpu.memory_gb_per_s.value * cpu.memory_share.value * 1e3)
    compute_us = flops / (cpu.gflops.value * 1e3)
    return int((cpu.start_us.value + max(memory_us, compute_us)) * 1e6)
