"""Hermes and Hermes-base as a whole, on a model small enough to run at once."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from steps import prompt, token

from ndpsim.data import workloads_dir
from ndpsim.dimm.config import load_machine
from ndpsim.errors import InputError
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.machine.config import MachineConfig
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.runs.traces import generated_trace
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.systems.hermes.base import HermesBase
from ndpsim.systems.hermes.hermes import Hermes
from ndpsim.systems.hermes.offline import fitted, gpu_room
from ndpsim.systems.system import Devices, Job
from ndpsim.tables import read_toml

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
DENSE = 2 * (SHAPE.layers * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)
PROMPT, OUTPUT = 32, 7
RANDOM = {"placement": "random"}  # a model so small gains nothing on the GPU, which the others would see
CONTENT = read_toml(workloads_dir() / "hardware" / "machines" / "hermes.toml")
PAPER = read_toml(workloads_dir() / "sparsity" / "paper.toml")
POLICY = read_toml(workloads_dir() / "systems" / "hermes.toml")["policy"]


@pytest.fixture(scope="module")
def traces():
    return {batch: generated_trace(SHAPE, PAPER, PROMPT, OUTPUT, batch, seed=3) for batch in (1, 3)}


def devices(room, dimms=2, **changes):
    content = {name: dict(table) if isinstance(table, dict) else table for name, table in CONTENT.items()}
    for path, value in {"gpu.weights_gb": (DENSE + room) * 1e-9, **changes}.items():
        table, name = path.split(".")
        content[table][name] = {"value": value, "source": "test"}
    config = MachineConfig.model_validate(content)
    return Devices(config, GpuModel.load("rtx4090"), load_machine("hermes", placement="row", dimms=dimms))


def machine(traces, batch=1, room=300_000, kind=Hermes, policy: Mapping[str, Any] | None = None, **changes):
    job = Job(SHAPE, batch, PROMPT, OUTPUT, lambda: traces[batch])
    table = {**POLICY, **{n: {"value": v, "source": "test"} for n, v in (policy or {}).items()}}
    return kind(job, devices(room, **changes), kind.Policy.model_validate(table if kind is Hermes else {}))


def run(system, tokens=range(OUTPUT)):
    """Run a prompt and tokens, and return the ends of all."""
    ends = [prompt(system)]
    for number in tokens:
        ends.append(token(system, number, ends[-1]))
    return ends


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", [Hermes, HermesBase])
def test_the_operations_add_up_to_the_run(traces, batch, kind):
    system = machine(traces, batch, kind=kind)
    ends = run(system)
    assert sum(system.meter.operation.values()) == ends[-1] and min(np.diff(ends)) > 0
    assert set(system.meter.operation) == {"prompt", "qkv", "attention", "projection", "ffn", "head"}


def test_no_device_does_two_things_at_a_time(traces):
    system = machine(traces, room=200_000, policy=RANDOM)
    end = run(system)[-1]
    for device in ("gpu", "dimms", "dimm-link"):
        spans = sorted((one.start, one.end) for one in system.meter.spans if one.device == device)
        assert spans and all(before[1] <= after[0] for before, after in pairwise(spans))
        assert spans[0][0] >= 0 and spans[-1][1] <= end
        assert system.meter.device_ps(device) == sum(stop - start for start, stop in spans)


def test_the_same_run_gives_the_same_result(traces):
    first, again = (machine(traces) for _ in range(2))
    assert run(first) == run(again) and first.meter.spans == again.meter.spans


def cache_bytes(batch=1):
    """Bytes of keys and values that are read and written for all output tokens, in whole bursts."""
    burst = -(-SHAPE.head_width * 2 // 64) * 64
    tokens = sum(PROMPT + number + 1 + 1 for number in range(OUTPUT))
    return 2 * SHAPE.layers * SHAPE.kv_heads * burst * tokens * batch


def test_without_sparsity_the_dimms_read_all_that_the_gpu_does_not_hold(traces):
    base = machine(traces, kind=HermesBase)
    everything = SHAPE.layers * (SHAPE.hidden * base.neuron_bytes[0] + SHAPE.ffn * base.neuron_bytes[1])
    assert 0 < base.resident_bytes < everything
    run(base)
    assert base.ndp.dram_bytes.sum() == OUTPUT * (everything - base.resident_bytes) + cache_bytes()


def test_without_room_on_the_gpu_the_dimms_read_all_that_is_predicted(traces):
    hermes = machine(traces, room=0)
    run(hermes)
    quality = hermes.neurons.quality
    predicted = quality.true_positives + quality.false_positives
    assert hermes.resident_bytes == 0
    assert hermes.ndp.dram_bytes.sum() == int(predicted @ np.array(hermes.neuron_bytes)) + cache_bytes()
    assert hermes.meter.link["swap"] == 0


def test_a_neuron_on_the_gpu_is_read_from_no_dimm(traces):
    few, many = (machine(traces, room=room, policy={**RANDOM, "adjust": False}) for room in (0, 400_000))
    run(few), run(many)
    assert many.ndp.dram_bytes.sum() < few.ndp.dram_bytes.sum()
    assert many.meter.device_ps("gpu") > few.meter.device_ps("gpu")


def test_each_mechanism_can_be_switched_off(traces):
    whole = machine(traces, room=200_000, policy=RANDOM)
    run(whole)
    assert whole.meter.link["swap"] > 0 and whole.meter.link["remap"] > 0
    assert whole.meter.events["neurons that changed DIMM"] > 0
    still = machine(traces, room=200_000, policy={**RANDOM, "adjust": False, "remap": False})
    run(still)
    assert "swap" not in still.meter.link and "remap" not in still.meter.link
    assert not still.meter.events


def test_swaps_have_the_bytes_that_pcie_offers_during_the_projection(traces):
    """The projection and its norm follow from the GPU model, and 64 GB/s from the machine; no swap is larger."""
    hermes = machine(traces, room=200_000, policy=RANDOM, **{"pcie.gb_per_s": 64.0})
    seen, swap = [], hermes.neurons.residency.swap

    def watched(hot, states, most_bytes):
        swaps = swap(hot, states, most_bytes)
        seen.append((swaps.bytes.tolist(), list(most_bytes)))
        return swaps

    hermes.neurons.residency.swap = watched
    run(hermes)
    none = np.zeros(SHAPE.layers, np.int64)
    times = layer_times(hermes.gpu, SHAPE, 1, none, none)
    most = [int((int(a * 1e6) + int(b * 1e6)) * 64 / 1e3) for a, b in zip(times.output, times.ffn_norm, strict=True)]
    assert [offered for _, offered in seen] == [most] * OUTPUT
    assert all(copied <= room for bytes_, offered in seen for copied, room in zip(bytes_, offered, strict=True))
    assert hermes.meter.link["swap"] == sum(sum(bytes_) for bytes_, _ in seen) > 0


def test_moved_neurons_are_read_where_they_went(traces):
    """The block of a layer reads all neurons that were moved during its output projection in their new DIMMs."""
    hermes = machine(traces, room=0)
    before = [rows.dimm.copy() for rows in hermes.rows]
    read, sparse = {}, hermes.dimms.sparse

    def watched(kind, layer, shares, start, **more):
        read[kind, layer] = [set(rows.tolist()) for rows in shares.parts()]
        return sparse(kind, layer, shares, start, **more)

    hermes.dimms.sparse = watched
    run(hermes, range(5))  # neurons move at the fifth token
    moved = 0
    for layer in range(SHAPE.layers):
        rows, computed = hermes.rows[2 * layer + 1], hermes.neurons.computed[0]
        active = hermes.neurons.layout.flags(computed)[hermes.neurons.layout.of(2 * layer + 1)]
        moved += np.count_nonzero(active & (rows.dimm != before[2 * layer + 1]))
        for dimm, found in enumerate(read["ffn", layer]):
            assert found == set(rows.row[active & (rows.dimm == dimm)].tolist())
    assert moved


def one_of(trace, sequence):
    """A trace of one sequence of another."""
    header = replace(trace.header, sequences=1)
    groups = range(trace.header.groups)
    return ActivationTrace.of(header, [trace.fired(group, 0, PROMPT + OUTPUT, sequence) for group in groups])


def test_a_batch_predicts_each_sequence_as_it_would_be_alone(traces):
    """Three sequences together, and each in a run of its own; a batch also has their union on the GPU."""
    trace, parents = traces[3]
    still = {"adjust": False, "remap": False, **RANDOM}
    together = machine(traces, 3, policy=still)
    alone = [machine({1: (one_of(trace, sequence), parents)}, policy=still) for sequence in range(3)]
    for system in (together, *alone):
        prompt(system)
    for number in range(4):
        for system in (together, *alone):
            token(system, number, 10**12)
        for sequence, single in enumerate(alone):
            assert together.neurons.computed[sequence].tolist() == single.neurons.computed[0].tolist()
            assert together.neurons.active[sequence].tolist() == single.neurons.active[0].tolist()
    assert len({computed.tobytes() for computed in together.neurons.computed}) == 3


def test_the_placement_sees_the_prompt_alone(traces):
    """Traces that are equal in the prompt, and the opposite of each other behind it, are placed alike."""
    trace, parents = traces[1]
    fired = [trace.fired(group, 0, PROMPT + OUTPUT) for group in range(trace.header.groups)]
    other = [np.concatenate([one[:PROMPT], ~one[PROMPT:]]) for one in fired]
    first, second = (
        machine({1: (ActivationTrace.of(trace.header, one), parents)}, room=200_000) for one in (fired, other)
    )
    for system in (first, second):
        prompt(system)
    assert first.neurons.resident.tolist() == second.neurons.resident.tolist()
    assert [rows.dimm.tolist() for rows in first.rows] == [rows.dimm.tolist() for rows in second.rows]
    assert first.neurons.predictors[0].states.tolist() == second.neurons.predictors[0].states.tolist()


def test_more_dimms_are_faster_and_a_slower_link_is_slower(traces):
    two = run(machine(traces, room=0, kind=HermesBase))
    slow = run(machine(traces, room=0, kind=HermesBase, **{"pcie.gb_per_s": 1.0}))
    one = run(machine(traces, room=0, kind=HermesBase, dimms=1))
    assert max(np.diff(two)) < min(np.diff(slow)) and two[0] < slow[0]
    assert max(np.diff(two)) < min(np.diff(one))


def test_a_run_goes_on_from_its_state(traces):
    whole = machine(traces, room=200_000, policy=RANDOM)
    ends = run(whole)
    state = None
    for stop in (1, 4, 5):
        first = machine(traces, room=200_000, policy=RANDOM)
        part = run(first, range(stop))
        state = first.state()
        second = machine(traces, room=200_000, policy=RANDOM)
        second.restore(state)
        second.neurons.predict([0], [PROMPT + stop])
        first.neurons.predict([0], [PROMPT + stop])
        assert part == ends[: stop + 1]
        assert second.neurons.computed.tolist() == first.neurons.computed.tolist()
        assert second.neurons.resident.tolist() == first.neurons.resident.tolist()
        assert {n: v.tolist() for n, v in second.state().items()} == {n: v.tolist() for n, v in first.state().items()}


def test_traces_of_other_models_and_without_a_prompt_are_refused(traces):
    trace, parents = traces[1]
    policy = Hermes.Policy.model_validate(POLICY)
    job = Job(load_shape("relu-lm"), 1, PROMPT, OUTPUT, lambda: (trace, parents))
    with pytest.raises(InputError, match=r"expected attention and ffn groups of the 4 layers of relu-lm, found 4"):
        Hermes(job, devices(10**8), policy)
    bare = generated_trace(SHAPE, PAPER, 0, 39, 1, seed=3)
    with pytest.raises(InputError, match=r"expected a prompt and tokens behind it, found a prompt of 0 of 39"):
        Hermes(Job(SHAPE, 1, PROMPT, OUTPUT, lambda: bare), devices(0), policy)


def test_too_little_gpu_memory_for_the_dense_parts_is_refused(traces):
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected room for output projections and head"):
        machine(traces, room=-1000)
    hermes = machine(traces, room=12345)
    assert gpu_room(hermes.devices, hermes.shape) == pytest.approx(12345, abs=1)


def test_a_dimm_with_too_many_neurons_gives_its_rarest_away():
    dimm = np.array([0, 0, 0, 0, 1, 2], np.uint8)
    frequency = np.array([0.5, 0.1, 0.9, 0.2, 1, 1])
    assert fitted(dimm, frequency, 3, 2).tolist() == [0, 1, 0, 2, 1, 2]
