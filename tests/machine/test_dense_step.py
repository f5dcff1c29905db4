"""The parts of a dense step, and operators on the host's processor."""

import pytest
from baseline_support import devices

from ndpsim.gpu.model import PLAIN_LAUNCH_US, GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.cpu import cpu_picoseconds
from ndpsim.machine.dense_step import dense_step
from ndpsim.machine.gpu import step_microseconds


@pytest.mark.parametrize("name", ["opt-6.7b", "llama2-7b", "falcon-40b"])
@pytest.mark.parametrize("step", [Step.decode(3, 100), Step.prefill(2, 64)])
def test_the_parts_are_the_whole_step(name, step):
    model, shape = GpuModel.load("rtx4090"), load_shape(name)
    times = dense_step(model, shape, step)
    whole = times.embedding + shape.layers * times.layer + times.head
    assert whole == pytest.approx(1e6 * step_microseconds(model, shape, graph(shape, step)), rel=1e-6)
    assert min(times) > 0


def test_a_kernel_that_is_launched_by_itself_takes_at_least_the_launch():
    model, shape = GpuModel.load("rtx4090"), load_shape("relu-lm")
    eager, graphed = (dense_step(model, shape, Step.decode(1, 8), eager=eager) for eager in (True, False))
    launch = int(PLAIN_LAUNCH_US * 1e6)
    assert graphed.qkv < eager.qkv == 3 * launch  # norm, projection, rotary embedding
    assert graphed.ffn < eager.ffn


def test_an_operator_on_the_host_waits_for_memory_or_for_arithmetic():
    cpu = devices(cpu_memory_gb_per_s=100.0, cpu_memory_share=0.5, cpu_gflops=1000.0, cpu_start_us=7.0).config.cpu
    assert cpu_picoseconds(cpu, 1e6, 0) == 27_000_000  # 1 MB at 50 GB/s
    assert cpu_picoseconds(cpu, 1e6, 1e7) == 27_000_000
    assert cpu_picoseconds(cpu, 1e6, 1e8) == 107_000_000  # 100 MFLOP at 1 TFLOPS
    assert cpu_picoseconds(cpu, 1234, 0) == 7_024_680  # 1234 bytes at 50 kB/us, and 7 us
    assert cpu_picoseconds(cpu, 0, 1_500_000) == 8_500_000  # 1.5 MFLOP at 1 MFLOP/us
