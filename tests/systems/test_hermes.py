"""Hermes as a whole, on a model small enough to run at once."""

from dataclasses import replace

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.systems.hermes import Hermes, Mechanisms
from ndpsim.systems.hermes_config import load_config
from ndpsim.systems.hermes_start import fitted, gpu_room
from ndpsim.systems.traces import generated_trace

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
DENSE = 2 * (SHAPE.layers * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)
PROMPT, OUTPUT = 32, 7
RANDOM = Mechanisms(placement="random")  # a model so small gains nothing on the GPU, which the others would see


@pytest.fixture(scope="module")
def traces():
    return {batch: generated_trace(SHAPE, "paper", PROMPT, OUTPUT, batch, seed=3) for batch in (1, 3)}


def machine(traces, batch=1, room=300_000, mechanisms=None, **changes):
    settings = {"machine.dimms": 2, "machine.gpu_weights_gb": (DENSE + room) * 1e-9, **changes}
    trace, parents = traces[batch]
    return Hermes(load_config(settings), SHAPE, trace, parents, mechanisms or Mechanisms())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sparse", [True, False])
def test_the_operations_add_up_to_the_run(traces, batch, sparse):
    result = machine(traces, batch, mechanisms=Mechanisms(sparse=sparse)).run()
    assert sum(result.operation_ps.values()) == result.prompt_ps + sum(result.token_ps)
    assert len(result.token_ps) == OUTPUT and min(result.token_ps) > 0
    record = result.record()
    assert record["tokens_per_s"] == pytest.approx(batch * OUTPUT / record["simulated_s"])
    assert record["time_per_output_token_s"] == pytest.approx(np.mean(result.token_ps) * 1e-12)


def test_the_same_run_gives_the_same_result(traces):
    first, again = (machine(traces).run().record() for _ in range(2))
    assert first == again


def cache_bytes(batch=1):
    """Bytes of keys and values that are read and written for all output tokens, in whole bursts."""
    burst = -(-SHAPE.head_width * 2 // 64) * 64
    tokens = sum(PROMPT + number + 1 + 1 for number in range(OUTPUT))
    return 2 * SHAPE.layers * SHAPE.kv_heads * burst * tokens * batch


def test_without_sparsity_the_dimms_read_all_that_the_gpu_does_not_hold(traces):
    hermes = machine(traces, mechanisms=Mechanisms(sparse=False))
    everything = sum(n * size for n, size in zip(hermes.layout.neurons, hermes._bytes, strict=True))
    assert 0 < hermes.residency.bytes() < everything
    result = hermes.run()
    assert result.dram_bytes.sum() == OUTPUT * (everything - result.resident_bytes) + cache_bytes()


def test_without_room_on_the_gpu_the_dimms_read_all_that_is_predicted(traces):
    hermes = machine(traces, room=0)
    result = hermes.run()
    quality = result.quality
    predicted = quality.true_positives + quality.false_positives
    assert result.resident_bytes == 0
    assert result.dram_bytes.sum() == int(predicted @ np.array(hermes._bytes)) + cache_bytes()
    assert result.link_bytes["swap"] == 0


def test_a_neuron_on_the_gpu_is_read_from_no_dimm(traces):
    fixed = replace(RANDOM, adjust=False)
    few, many = (machine(traces, room=room, mechanisms=fixed).run() for room in (0, 400_000))
    assert many.dram_bytes.sum() < few.dram_bytes.sum() and many.gpu_ps > few.gpu_ps


def test_each_mechanism_can_be_switched_off(traces):
    whole = machine(traces, room=200_000, mechanisms=RANDOM).run()
    assert whole.link_bytes["swap"] > 0 and whole.moved > 0 and whole.link_bytes["remap"] > 0
    still = machine(traces, room=200_000, mechanisms=replace(RANDOM, adjust=False, remap=False)).run()
    assert "swap" not in still.link_bytes and "remap" not in still.link_bytes and still.moved == 0


def test_swaps_keep_within_the_time_of_the_projection(traces):
    hermes = machine(traces, room=200_000, mechanisms=RANDOM)
    seen = []
    swap = hermes.residency.swap

    def watched(layer, hot, states, most_bytes):
        swaps = swap(layer, hot, states, most_bytes)
        seen.append((swaps.bytes, most_bytes))
        return swaps

    hermes.residency.swap = watched
    hermes.run()
    assert len(seen) == OUTPUT * SHAPE.layers and all(copied <= most for copied, most in seen)
    assert any(copied for copied, _ in seen)


def test_moved_neurons_are_read_where_they_went(traces):
    hermes = machine(traces, room=0)
    hermes.run()
    assert hermes.result.moved
    for group, rows in enumerate(hermes.rows):
        assert rows.dimm.tolist() == hermes.remap.dimm[hermes.layout.of(group)].tolist()


def test_more_dimms_are_faster_and_a_slower_link_is_slower(traces):
    two = machine(traces, room=0, mechanisms=Mechanisms(sparse=False)).run()
    slow = machine(traces, room=0, mechanisms=Mechanisms(sparse=False), **{"machine.pcie_gb_per_s": 1.0}).run()
    assert max(two.token_ps) < min(slow.token_ps) and two.prompt_ps < slow.prompt_ps


def test_traces_of_other_models_and_without_a_prompt_are_refused(traces):
    trace, parents = traces[1]
    config = load_config({"machine.dimms": 2})
    with pytest.raises(InputError, match=r"expected attention and ffn groups of the 4 layers of relu-lm, found 4"):
        Hermes(config, load_shape("relu-lm"), trace, parents, Mechanisms())
    bare, _ = generated_trace(SHAPE, "paper", 0, 39, 1, seed=3)
    with pytest.raises(InputError, match=r"expected a prompt and tokens behind it, found a prompt of 0 of 39"):
        Hermes(config, SHAPE, bare, parents, Mechanisms())


def test_parameters_are_replaced_by_path_and_faults_are_told_together():
    assert load_config({"machine.dimms": 16}).machine.dimms.value == 16
    with pytest.raises(InputError, match=r"machine\.dimm5: expected one of machine\.gpu, .*policy\.hot_above"):
        load_config({"machine.dimm5": 1})
    with pytest.raises(InputError) as error:
        load_config({"machine.dimms": 0, "machine.pcie_us": "x"})
    assert "machine.dimms.value: expected greater than 0" in str(error.value) and "machine.pcie_us" in str(error.value)


def test_too_little_gpu_memory_for_the_dense_parts_is_refused(traces):
    with pytest.raises(InputError, match=r"gpu_weights_gb: expected room for output projections and head"):
        machine(traces, room=-1000)
    hermes = machine(traces, room=12345)
    assert gpu_room(hermes.config.machine, hermes.ndp) == pytest.approx(12345, abs=1)


def test_a_dimm_with_too_many_neurons_gives_its_rarest_away():
    dimm = np.array([0, 0, 0, 0, 1, 2], np.uint8)
    frequency = np.array([0.5, 0.1, 0.9, 0.2, 1, 1])
    assert fitted(dimm, frequency, 3, 2).tolist() == [0, 1, 0, 2, 1, 2]
