"""One card that holds everything."""

import pytest
from baseline_support import ends, system

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.systems.cards.gpu_only import GpuOnly


def test_prompt_and_tokens_are_the_steps_of_the_model():
    shape = load_shape("llama2-7b")
    made = system(GpuOnly, shape, batch=3, prompt=100, output=3)
    prompt, first, second = ends(made)
    for step, took in (
        (Step.prefill(3, 100), prompt),
        (Step.decode(3, 100), first - prompt),
        (Step.decode(3, 101), second - first),
    ):
        expected = 1e6 * step_microseconds(made.devices.gpu, shape, graph(shape, step))
        assert took == pytest.approx(expected, rel=1e-6)
    assert made.meter.device_ps("gpu") == second and not made.meter.link


def test_what_does_not_fit_is_refused_with_its_sizes():
    with pytest.raises(InputError) as error:
        system(GpuOnly, load_shape("opt-13b"))
    assert str(error.value) == (
        "gpu.card: expected room for 25.7 GB of weights and 0.0 GB of KV cache of opt-13b on each card, "
        "found 23.2 GB on RTX 4090 (0.9 of its memory); gpu.memory_mib: at least 27258, as another gpu.card may have"
    )


def test_the_cache_counts_as_the_weights_do():
    shape = load_shape("llama2-7b")
    size = shape.weight_bytes() + 20 * shape.kv_bytes_per_token()
    system(GpuOnly, shape, policy={"memory_share": (size + 10) / (24564 << 20)})
    with pytest.raises(InputError, match=r"13\.5 GB of weights"):
        system(GpuOnly, shape, policy={"memory_share": (size - 10) / (24564 << 20)})
