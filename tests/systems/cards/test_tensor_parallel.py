"""Slices of a model on several cards, and what it takes to add up."""

import pytest
from baseline_support import ends, system

from ndpsim.errors import InputError
from ndpsim.gpu.kernels import kernels
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import dense_step
from ndpsim.systems.cards.gpu_only import GpuOnly
from ndpsim.systems.cards.tensor_parallel import TensorParallel

FIVE = {"gpu_card": "a100-40", "gpu_count": 5}


def all_reduce_ps(made, size, cards):
    table = kernels([("all_reduce", "fp16", {"bytes": size, "gpus": cards})])
    return int(made.devices.gpu.microseconds(table)[0] * 1e6)


def test_the_busiest_card_has_whole_groups_of_heads_and_the_next_whole_number_of_neurons():
    made = system(TensorParallel, load_shape("llama2-70b"), **FIVE)
    part = made.shape
    assert (part.heads, part.kv_heads, part.ffn, part.vocab) == (16, 2, 5735, 6400)
    assert (part.layers, part.hidden, part.head_width) == (80, 8192, 128)
    assert system(TensorParallel, load_shape("opt-66b"), **FIVE).shape.heads == 15  # of 72, each with keys of its own


def test_a_token_is_slices_and_two_sums_a_layer():
    shape = load_shape("llama2-70b")
    made = system(TensorParallel, shape, batch=2, prompt=128, output=2, **FIVE)
    prompt, end = ends(made)
    for step, took in ((Step.prefill(2, 128), prompt), (Step.decode(2, 128), end - prompt)):
        times = dense_step(made.devices.gpu, made.shape, step)
        sums = (2 * 80 + 1) * all_reduce_ps(made, 2 * 8192 * step.tokens, 5) + all_reduce_ps(made, 8 * 2, 5)
        assert took == times.embedding + 80 * times.layer + times.head + sums
    assert made.meter.link["all-reduce"] == 161 * 2 * 8192 * (2 * 128 + 2) + 2 * 16
    assert made.meter.device_ps("nvlink") > 0


def test_a_parallel_block_adds_up_once():
    shape = load_shape("falcon-40b")
    made = system(TensorParallel, shape, prompt=1, output=2, gpu_card="a100-80", gpu_count=2)
    ends(made)
    assert made.meter.link["all-reduce"] == 2 * ((shape.layers + 1) * 2 * shape.hidden + 8)


def test_cards_without_a_fast_link_add_up_over_pcie():
    made = system(TensorParallel, load_shape("llama2-13b"), gpu_count=2)
    ends(made)
    assert made.meter.device_ps("pcie") > 0 and not made.meter.device_ps("nvlink")


def test_one_card_is_a_card_alone():
    shape = load_shape("llama2-7b")
    alone, parallel = (system(kind, shape) for kind in (GpuOnly, TensorParallel))
    assert ends(alone) == ends(parallel) and not parallel.meter.link


def test_a_slice_that_does_not_fit_is_refused():
    lacking = r"expected room for 4\d\.\d GB of weights .* found 38\.7 GB on A100"
    with pytest.raises(InputError, match=lacking + r".*gpu\.count: at least 4"):
        system(TensorParallel, load_shape("llama2-70b"), gpu_card="a100-40", gpu_count=3)
