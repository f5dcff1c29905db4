"""Accelerate: what fits stays, the rest is copied before it runs."""

import pytest
from baseline_support import ends, system

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import dense_step
from ndpsim.systems.offloading.accelerate import Accelerate

SHAPE = load_shape("relu-lm")  # four layers
OUTER = 2 * SHAPE.outer_parameters()
LAYER = 2 * SHAPE.layer_parameters()
CACHE = 20 * SHAPE.kv_bytes_per_token()  # of 16 and 4 tokens


def room_for(layers):
    """Gigabytes for so many layers and the one that is being loaded, embedding and cache."""
    return (OUTER + CACHE + (layers + 1) * LAYER + 10) * 1e-9


def copy_ps(size, gb_per_s):
    return int((2.0 + size / (gb_per_s * 1e3)) * 1e6)


def test_layers_that_do_not_fit_are_copied_and_then_run():
    assert SHAPE.tied_embedding
    made = system(Accelerate, SHAPE, gpu_weights_gb=room_for(1))
    prompt, *tokens = ends(made)
    for step, took in ((Step.prefill(1, 16), prompt), (Step.decode(1, 16), tokens[0] - prompt)):
        times = dense_step(made.devices.gpu, SHAPE, step, eager=True)
        assert took == times.embedding + 4 * times.layer + times.head + 3 * copy_ps(LAYER, 6.0)
    assert made.figures() == {"resident_layers": 1}
    assert made.meter.link["h2d"] == 4 * 3 * LAYER


def test_what_fits_as_a_whole_is_never_copied():
    made = system(Accelerate, SHAPE, gpu_weights_gb=(OUTER + CACHE + 4 * LAYER) * 1e-9)
    ends(made)
    assert made.figures() == {"resident_layers": 4} and not made.meter.link["h2d"]
    less = system(Accelerate, SHAPE, gpu_weights_gb=(OUTER + CACHE + 4 * LAYER - 10) * 1e-9)
    assert less.figures() == {"resident_layers": 2}  # the room of a layer is for those that come and go


def test_a_head_of_its_own_is_copied_like_a_layer():
    shape = SHAPE.with_overrides(tied_embedding=False)
    head = 2 * shape.vocab * shape.hidden
    largest = max(head, LAYER)
    made = system(Accelerate, shape, gpu_weights_gb=(OUTER + CACHE + largest + 10) * 1e-9)
    ends(made)
    assert made.meter.link["h2d"] == 4 * (4 * LAYER + head)
    assert made.meter.busy["pcie", "weights"] == 3 * (4 * copy_ps(LAYER, 6.0) + copy_ps(head, 6.0))


def test_the_slower_of_link_and_copies_counts():
    def copying(**changes):
        made = system(Accelerate, SHAPE, gpu_weights_gb=room_for(1), **changes)
        ends(made)
        return made.meter.busy["pcie", "weights"]

    per_token = 3 * 3
    assert copying(policy={"link_gb_per_s": 100.0}) == per_token * copy_ps(LAYER, 64.0)
    assert copying(pcie_gb_per_s=2.0) == per_token * copy_ps(LAYER, 2.0)


def test_a_card_without_room_for_a_layer_is_refused():
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected room for embedding, KV cache and the largest"):
        system(Accelerate, SHAPE, gpu_weights_gb=(OUTER + CACHE + LAYER - 10) * 1e-9)


def test_a_host_without_room_for_the_weights_is_refused():
    with pytest.raises(InputError, match=r"dimm\.count: .* opt-66b, 131\.\d GB, found 2 with 68\.7 GB"):
        system(Accelerate, load_shape("opt-66b"), dimm_count=2)
