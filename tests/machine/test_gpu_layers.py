"""The GPU's part of a shared decode step."""

import numpy as np

from ndpsim.gpu.kernels import kernels
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.gpu_layers import layer_times


def test_every_part_is_the_time_of_its_kernels():
    shape = load_shape("llama2-7b").with_overrides(layers=2)
    model = GpuModel.load("rtx4090")
    found = layer_times(model, shape, 4, np.array([1000, 0]), np.array([0, 2000]))
    norm, qkv, output, up, act, down, head = model.microseconds(
        kernels(
            [
                ("rmsnorm", "fp16", {"m": 4, "n": 4096}),
                ("sparse_gemm", "fp16", {"m": 4, "n": 3 * 4096, "k": 1000, "row": 3 * 4096}),
                ("gemm", "fp16", {"m": 4, "n": 4096, "k": 4096}),
                ("sparse_gemm", "fp16", {"m": 4, "n": 2 * 2000, "k": 4096}),
                ("gated_activation", "fp16", {"m": 4, "n": 2000}),
                ("sparse_gemm", "fp16", {"m": 4, "n": 4096, "k": 2000, "row": 4096}),
                ("gemm", "fp16", {"m": 4, "n": 32000, "k": 4096}),
            ]
        )
    )
    assert found.attention_norm.tolist() == found.ffn_norm.tolist() == [norm, norm]
    assert found.qkv.tolist() == [qkv, 0]
    assert found.output.tolist() == [output, output]
    assert found.block.tolist() == [0, up + act + down]
    assert found.head == norm + head


def test_a_single_channel_and_a_single_neuron_are_computed_as_such():
    shape = load_shape("opt-6.7b").with_overrides(layers=1)  # layer norms, no gate
    model = GpuModel.load("rtx4090")
    found = layer_times(model, shape, 2, np.array([1]), np.array([1]))
    norm, qkv, up, act, down = model.microseconds(
        kernels(
            [
                ("layernorm", "fp16", {"m": 2, "n": 4096}),
                ("sparse_gemm", "fp16", {"m": 2, "n": 3 * 4096, "k": 1, "row": 3 * 4096}),
                ("sparse_gemm", "fp16", {"m": 2, "n": 1, "k": 4096}),
                ("activation", "fp16", {"m": 2, "n": 1}),
                ("sparse_gemm", "fp16", {"m": 2, "n": 4096, "k": 1, "row": 4096}),
            ]
        )
    )
    assert (found.attention_norm[0], found.qkv[0], found.block[0]) == (norm, qkv, up + act + down)
