"""What Hermes keeps account of between and within tokens, each against sets and numbers worked out apart from it."""

from types import SimpleNamespace

import numpy as np
import pytest
from baseline_support import devices
from steps import prompt, token

from ndpsim.data import workloads_dir
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.gpu_layers import LayerTimes
from ndpsim.runs.traces import generated_trace
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.systems.hermes import host, offline
from ndpsim.systems.hermes.hermes import Hermes
from ndpsim.systems.hermes.host import HermesHost
from ndpsim.systems.hermes.remap import Moves
from ndpsim.systems.parts.shared_layers import Decoded, SharedLayers
from ndpsim.systems.system import Job
from ndpsim.tables import read_toml

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
DENSE = 2 * (SHAPE.layers * SHAPE.hidden**2 + SHAPE.vocab * SHAPE.hidden)
PROMPT, OUTPUT = 24, 8
PAPER = read_toml(workloads_dir() / "sparsity" / "paper.toml")
LAYERS = range(SHAPE.layers)


@pytest.fixture(scope="module")
def traces():
    return {batch: generated_trace(SHAPE, PAPER, PROMPT, OUTPUT, batch, seed=2) for batch in (1, 2)}


def made(kind, trace, batch, *, policy=None, **changes):
    content = read_toml(workloads_dir() / "systems" / f"{kind.name}.toml")["policy"]
    asked = {"placement": "random", **(policy or {})}
    content |= {name: {"value": value, "source": "test"} for name, value in asked.items()}
    machine = devices(**{"gpu_weights_gb": (DENSE + 200_000) * 1e-9, "dimm_count": 2, **changes})
    job = Job(SHAPE, batch, PROMPT, OUTPUT, lambda: trace)
    return kind(job, machine, kind.Policy.model_validate(content))


def numbers(system, mask, group):
    """The neurons of a group in a mask."""
    layout = system.neurons.layout
    return set(np.flatnonzero(layout.flags(mask)[layout.of(group)]).tolist())


def planned(system, monkeypatch, step):
    """Run a step, and return its plan with the neurons that were predicted and resident then."""
    found = []

    def run(self, own, plan, now):
        computed = [[numbers(self, one, group) for one in self.neurons.computed] for group in range(2 * len(LAYERS))]
        resident = [numbers(self, self.neurons.resident, group) for group in range(2 * len(LAYERS))]
        found.append((plan, computed, resident))
        return Decoded(now + 1, [0 for _ in LAYERS])

    monkeypatch.setattr(SharedLayers, "run", run)
    system.decode(step, 0)
    return found[0]


def test_a_batch_computes_what_any_of_its_sequences_needs_and_the_gpu_what_it_holds_of_it(traces, monkeypatch):
    system = made(Hermes, traces[2], 2)
    prompt(system)
    plan, computed, resident = planned(system, monkeypatch, Step.decode(2, PROMPT))
    for group, (first, second) in enumerate(computed):
        assert first != second and resident[group]
        assert plan.on_gpu[group] == len((first | second) & resident[group])
        share = (plan.layers[group // 2].qkv, plan.layers[group // 2].ffn)[group % 2]
        where, rows = system.rows[group].dimm, system.rows[group].row
        for dimm, (found, masks) in enumerate(zip(share.rows.parts(), share.masks[0].parts(), strict=True)):
            cold = sorted(n for n in (first | second) - resident[group] if where[n] == dimm)
            assert found.tolist() == [rows[n] for n in cold]
            assert masks.tolist() == [(n in first) + 2 * (n in second) for n in cold]


def test_each_sequence_of_a_batch_is_predicted_as_if_it_were_alone(traces, monkeypatch):
    """A trace of two sequences against traces of each of them alone, over three tokens; the predictors learn apart."""
    (trace, parents), still = traces[2], {"adjust": False, "remap": False}
    both = made(Hermes, (trace, parents), 2, policy=still)
    prompt(both)
    now = 0
    alone = []
    for sequence in range(2):
        header = trace.header.__class__(**{**vars(trace.header), "sequences": 1})
        rows = [trace.packed(group, 0, trace.tokens)[:, sequence : sequence + 1] for group in range(header.groups)]
        alone.append(made(Hermes, (ActivationTrace(header, rows), parents), 1, policy=still))
        prompt(alone[-1])
    for number in range(3):
        now = token(both, number, now)
        for sequence, one in enumerate(alone):
            token(one, number, 0)
            assert both.neurons.computed[sequence].tolist() == one.neurons.computed[0].tolist()
    assert both.neurons.computed[0].tolist() != both.neurons.computed[1].tolist()


def test_heat_is_the_mean_of_the_states_of_all_sequences(traces):
    system = made(Hermes, traces[2], 2)
    prompt(system)
    for state, place in ((5, 0), (12, 1)):
        system.neurons.predictors[place].states[:] = state
    seen = []
    system.neurons.residency.swap = lambda hot, heat, room: seen.append((hot.copy(), heat.copy()))
    system.neurons.predict([0, 1], [PROMPT, PROMPT])
    system.neurons.swap([0, 0])
    assert set(seen[0][1].tolist()) == {8} and not seen[0][0].any()  # (5 + 12) / 2, and hot is above 10
    system.neurons.predictors[0].states[:] = 10
    system.neurons.predict([0, 1], [PROMPT, PROMPT])
    system.neurons.swap([0, 0])
    assert set(seen[1][1].tolist()) == {11} and seen[1][0].any()
    system.neurons.predictors[1].states[:] = 10
    system.neurons.predict([0, 1], [PROMPT, PROMPT])
    system.neurons.swap([0, 0])
    assert set(seen[2][1].tolist()) == {10} and not seen[2][0].any()  # 10 itself is not hot


def test_a_step_of_one_sequence_alone_is_predicted_from_its_own_states_and_teaches_no_other(traces):
    system = made(Hermes, traces[2], 2)
    prompt(system)
    first, second = system.neurons.predictors
    first.states[:], second.states[:] = 3, 12
    seen = []
    system.neurons.residency.swap = lambda hot, heat, room: seen.append(heat.copy())
    system.neurons.predict([1], [PROMPT])
    system.neurons.swap([0, 0])
    assert set(seen[0].tolist()) == {12}
    system.neurons.learn()
    assert set(first.states.tolist()) == {3} and set(second.states.tolist()) != {12}


def test_predictions_that_are_restored_have_the_same_quality(traces):
    one, other = (made(Hermes, traces[1], 1) for _ in range(2))
    prompt(one)
    one.neurons.predict([0], [PROMPT])
    other.neurons.restore(one.neurons.state())
    assert other.neurons.figures() == one.neurons.figures()
    assert other.neurons.state()["predicted"] == one.neurons.state()["predicted"] > 0


@pytest.mark.parametrize(("window", "at"), [(3, [2, 5]), (1, [1, 2, 3, 4, 5, 6]), (5, [4])])
def test_neurons_move_at_the_last_token_of_a_window_and_a_new_one_begins(traces, monkeypatch, window, at):
    """With a window of one token nothing is known at the first."""
    system = made(Hermes, traces[1], 1, policy={"window": window})
    prompt(system)
    remapped, began, observed = [], [], []
    remap, begin, observe = system.remap.remap, system.remap.begin_window, system.remap.observe
    monkeypatch.setattr(system.remap, "remap", lambda *a: remapped.append((number, a[0])) or remap(*a))
    monkeypatch.setattr(system.remap, "begin_window", lambda: began.append(number) or begin())
    monkeypatch.setattr(system.remap, "observe", lambda one: observed.append(number) or observe(one))
    for number in range(7):
        token(system, number, 0)
    assert remapped == [(number, group) for number in at for group in range(4)]
    assert began == [number for number in range(7) if number % window == window - 1]
    assert observed == list(range(7))


def test_what_the_dimms_computed_counts_in_the_window_and_what_the_gpu_did_does_not(traces, monkeypatch):
    system = made(Hermes, traces[2], 2)
    prompt(system)
    seen = []
    monkeypatch.setattr(system.remap, "observe", lambda one: seen.append(one.copy()))
    _, computed, resident = planned(system, monkeypatch, Step.decode(2, PROMPT))
    for group in range(4):
        for sequence in range(2):
            assert numbers(system, seen[sequence], group) == computed[group][sequence] - resident[group]


def test_the_busiest_path_counts_and_all_bytes_that_move(traces, monkeypatch):
    """In both groups of a layer two neurons go from DIMM 0 to 1, and one back; the GPU holds none of them."""
    system = made(Hermes, traces[1], 1)
    prompt(system)
    none = np.zeros(0, np.int64)

    def remap(group, dimm):
        there, back = np.flatnonzero(dimm == 0)[:2], np.flatnonzero(dimm == 1)[:1]
        neurons = np.concatenate([there, back])
        source, target = np.array([0, 0, 1], np.uint8), np.array([1, 1, 0], np.uint8)
        return Moves(neurons, source, target, none, none, none, none)

    monkeypatch.setattr(system.remap, "remap", remap)
    system.tokens = 4
    plan, *_ = planned(system, monkeypatch, Step.decode(1, PROMPT))
    qkv, ffn = system.neuron_bytes[:2]
    assert [(layer.moved, layer.busiest) for layer in plan.layers] == [(3 * (qkv + ffn), 2 * (qkv + ffn))] * 2
    assert system.meter.events["neurons that changed DIMM"] == 3 * 4


def test_hot_neurons_have_the_bytes_that_pcie_brings_while_the_gpu_projects(traces, monkeypatch):
    """4 and 5 us at 2 GB/s are 8,000 and 10,000 bytes."""
    system = made(Hermes, traces[1], 1, pcie_gb_per_s=2.0)
    prompt(system)
    asked = []

    def swap(most_bytes):
        asked.append(list(most_bytes))
        return SimpleNamespace(bytes=np.array([100, 23]), waiting=np.array([4, 5]))

    monkeypatch.setattr(system.neurons, "swap", swap)
    monkeypatch.setattr(SharedLayers, "run", lambda self, step, plan, now: Decoded(now + 1, [4_000_000, 5_000_000]))
    system.decode(Step.decode(1, PROMPT), 0)
    assert asked == [[8000, 10000]]
    assert system.meter.link["swap"] == 123 and system.meter.events["hot neurons that wait"] == 9


def test_the_room_for_swaps_of_the_host_is_the_time_of_the_projection(traces, monkeypatch):
    """3 + 1 and 3 + 2 us at 2 GB/s; what else the layer does, and the transfer before it, leaves no room."""
    times = LayerTimes(*map(np.array, ([9.0, 9], [8.0, 8], [3.0, 3], [1.0, 2], [7.0, 7])), 5.0)  # type: ignore[arg-type]
    monkeypatch.setattr(host, "layer_times", lambda *arguments: times)
    system = made(HermesHost, traces[1], 1, pcie_gb_per_s=2.0, dimm_count=8)
    prompt(system)
    asked = []
    swap = system.neurons.residency.swap
    monkeypatch.setattr(system.neurons.residency, "swap", lambda *a: asked.append(list(a[2])) or swap(*a))
    token(system, 0, 0)
    assert asked == [[8000, 10000]]


def test_the_placement_knows_the_prompt_alone(traces):
    trace, parents = traces[2]
    rows = [trace.packed(group, 0, trace.tokens).copy() for group in range(trace.header.groups)]
    for one in rows:
        one[PROMPT:] = ~one[PROMPT:]
    other = ActivationTrace(trace.header, rows)
    same, changed = (made(Hermes, (one, parents), 2, policy={"placement": "greedy"}) for one in (trace, other))
    assert same.neurons.resident.tolist() == changed.neurons.resident.tolist()
    assert [one.dimm.tolist() for one in same.rows] == [one.dimm.tolist() for one in changed.rows]
    for one in rows:
        one[: PROMPT // 2] = ~one[: PROMPT // 2]
    third = made(Hermes, (ActivationTrace(trace.header, rows), parents), 2, policy={"placement": "greedy"})
    assert same.neurons.resident.tolist() != third.neurons.resident.tolist()


def test_a_neuron_costs_the_gpu_what_the_slope_of_its_kernel_says(monkeypatch):
    """QKV takes 10 us and 2 ns a neuron, the block 50 us and 7 ns."""

    def layer_times(gpu, shape, batch, channels, neurons):
        zero = np.zeros(len(channels))
        return LayerTimes(zero, 10 + 0.002 * channels, zero, zero, 50 + 0.007 * neurons, 0.0)

    monkeypatch.setattr(offline, "layer_times", layer_times)
    assert offline.gpu_seconds(SHAPE, 1, None, 1024) == pytest.approx([2e-9, 7e-9])


def test_a_neuron_costs_the_dimms_about_its_bytes_by_their_rate(traces):
    """All DIMMs together read at most 2 * 102.4 GB/s; rows drawn by chance make one wait for another."""
    system = made(Hermes, traces[1], 1)
    for size, found in zip(
        system.neuron_bytes[:2], offline._dimm_seconds(system.dimms, 1, 1, offline.Probe(128, 4, 1024)), strict=True
    ):
        assert size / (2 * 102.4e9) < found < 20 * size / (2 * 102.4e9)
