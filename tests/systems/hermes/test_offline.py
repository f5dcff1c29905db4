"""The offline placement's inputs, each figure worked out by hand from what models of the machine are made to say."""

from types import SimpleNamespace as Names

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.sparsity.frequency import Frequencies
from ndpsim.systems.hermes import offline
from ndpsim.systems.hermes.offline import Probe, fitted, gpu_room, gpu_seconds, placement_problem, whole_layers

PROBE = Probe(rows=128, draws=3, gpu=8)


def test_one_more_neuron_on_the_gpu_takes_what_as_many_again_take_longer_in_the_first_layer(monkeypatch):
    asked = []

    def layer_times(gpu, shape, sequences, channels, neurons):
        asked.append((gpu, shape.layers, sequences, channels.tolist(), neurons.tolist()))
        if channels[0] == 8:
            return Names(qkv=np.array([10.0, 999.0, 5.0]), block=np.array([100.0, 7.0, 8.0]))
        return Names(qkv=np.array([26.0, 1500.0, 77.0]), block=np.array([140.0, 9.0, 11.0]))

    monkeypatch.setattr(offline, "layer_times", layer_times)
    seconds = gpu_seconds(Names(layers=3), 5, "card", 8)
    assert seconds == pytest.approx([2e-6, 5e-6])  # 16 us and 40 us over 8 neurons
    assert asked == [("card", 3, 5, [8] * 3, [8] * 3), ("card", 3, 5, [16] * 3, [16] * 3)]


class FakeDimms:
    """NDP-DIMMs whose programs take 1,000 ps a row of all DIMMs, and which note what they were asked."""

    made: list = []  # noqa: RUF012 - of the class on purpose

    def __init__(self, machine, shape, sequences, capacity):
        self.machine, self.rows = machine, {"attention": 1, "ffn": 4000}
        self.timer = Names(now_ps=77)
        self.calls = []
        FakeDimms.made.append((machine, shape, sequences, capacity, self))

    def sparse(self, kind, layer, shares, start, *, gpu, masks):
        self.calls.append((kind, layer, shares, start, gpu, masks))
        self.timer.now_ps = start + 1000 * sum(map(len, shares)) + 50  # the next one begins later
        return Names(start=start, end=start + 1000 * sum(map(len, shares)))


@pytest.fixture
def ndp(monkeypatch):
    FakeDimms.made = []
    monkeypatch.setattr(offline, "NdpModel", FakeDimms)
    shape = Names(with_overrides=lambda layers: f"{layers} layer")
    return Names(machine=Names(dimms=2), shape=shape)


def test_a_dimm_neuron_takes_the_mean_of_programs_on_rows_drawn_by_chance(ndp):
    attention, ffn = offline._dimm_seconds(ndp, 4, 1, PROBE)
    machine, shape, sequences, capacity, dimms = FakeDimms.made[0]
    assert (machine, shape, sequences, capacity) == (ndp.machine, "1 layer", 4, 1)
    drawn = {"attention": 0, "ffn": 0}
    starts = []
    for kind, layer, shares, start, gpu, masks in dimms.calls:
        assert layer == 0 and gpu is False and len(shares) == 2
        assert [mask.tolist() for mask in masks[0]] == [[1] * len(rows) for rows in shares] and len(masks) == 1
        assert all(
            rows.dtype == np.uint32 and mask.dtype == np.uint32 for rows, mask in zip(shares, masks[0], strict=True)
        )
        drawn[kind] += sum(map(len, shares))
        starts.append(start)
    assert [call[0] for call in dimms.calls] == ["attention"] * 3 + ["ffn"] * 3
    assert starts[0] == 77 and starts == sorted(starts)
    exactly = {"rel": 1e-12, "abs": 0.0}
    assert attention == pytest.approx(drawn["attention"] * 1e-9 / (3 * 1), **exactly)  # a DIMM holds one row alone
    assert ffn == pytest.approx(drawn["ffn"] * 1e-9 / (3 * 128), **exactly)
    assert drawn["ffn"] == pytest.approx(2 * 3 * 128, rel=0.15)  # 128 of each of two DIMMs, in each of three programs


def test_a_dimm_has_half_of_its_rows_asked_at_most(ndp, monkeypatch):
    monkeypatch.setattr(FakeDimms, "__init__", with_rows(FakeDimms.__init__, {"attention": 200, "ffn": 9}))
    attention, ffn = offline._dimm_seconds(ndp, 1, 1, PROBE)
    calls = FakeDimms.made[0][-1].calls
    rows = [sum(map(len, call[2])) for call in calls]
    assert attention == pytest.approx(sum(rows[:3]) * 1e-9 / (3 * 100)) and ffn == pytest.approx(
        sum(rows[3:]) * 1e-9 / 12
    )


def with_rows(init, rows):
    def made(self, *arguments):
        init(self, *arguments)
        self.rows = rows

    return made


def test_a_row_that_all_sequences_need_has_no_mask_and_one_that_some_need_a_bit_for_each(ndp):
    offline._dimm_seconds(ndp, 4, 4, PROBE)
    offline._dimm_seconds(ndp, 4, 3, PROBE)
    assert all(call[-1] is None for call in FakeDimms.made[0][-1].calls)
    assert {int(bits) for call in FakeDimms.made[1][-1].calls for mask in call[-1][0] for bits in mask} == {0b111}


def problem(monkeypatch, sequences, dimm_s):
    monkeypatch.setattr(offline, "gpu_seconds", lambda shape, count, gpu, probe: [count * 1.0, probe * 1.0])
    asked = []

    def seconds(ndp, batch, needing, probe):
        asked.append((batch, needing))
        return dimm_s[needing]

    monkeypatch.setattr(offline, "_dimm_seconds", seconds)
    monkeypatch.setattr(offline, "gpu_room", lambda devices, shape: 4096)
    often = [
        Frequencies(np.array([[0.5, 0.25], [0.25, 0.25]], np.float32), np.array([0.625, 0.375], np.float32)),
        Frequencies(np.array([[0.5], [0.75]], np.float32), np.array([0.875], np.float32)),
        Frequencies(np.array([[1.0], [0.5]], np.float32), np.array([1.0], np.float32)),
        Frequencies(np.array([[0.25], [0.5]], np.float32), np.array([0.5], np.float32)),
    ]
    dimms = Names(
        shape="shape", sequences=sequences, neuron_bytes={"attention": 10, "ffn": 30}.get,
        machine=Names(atoms=100, dimms=3),
    )  # fmt: skip
    devices = Names(gpu="card", config=Names(pcie=Names(us=Names(value=3.0))))
    return placement_problem(devices, dimms, often, PROBE), asked


@pytest.mark.parametrize(("sequences", "probed"), [(2, 2), (5, 5), (40, 32)])
def test_further_sequences_that_need_a_neuron_count_by_what_each_adds_to_the_time_of_the_first(
    monkeypatch, sequences, probed
):
    dimm_s = {1: [2.0, 5.0], probed: [2.0 + 0.5 * (probed - 1), 4.0]}  # 0.5 s for each further one; none for blocks
    found, asked = problem(monkeypatch, sequences, dimm_s)
    assert asked == [(probed, 1), (probed, probed)]
    assert found.frequencies[0] == pytest.approx(
        [0.625 + 0.125 * 0.25, 0.375 + 0.125 * 0.25]
    )  # 0.5 s is a quarter of 2 s
    assert found.frequencies[1] == pytest.approx([0.875])
    assert found.frequencies[2] == pytest.approx([1.0 + 0.5 * 0.25])
    assert found.frequencies[3] == pytest.approx([0.5])


def test_a_block_that_takes_longer_for_more_sequences_counts_by_its_own_times(monkeypatch):
    found, _ = problem(monkeypatch, 2, {1: [2.0, 5.0], 2: [2.0, 9.0]})
    assert found.frequencies[0] == pytest.approx([0.625, 0.375])
    assert found.frequencies[1] == pytest.approx([0.875 + 0.375 * 4 / 5])


def test_of_a_single_sequence_a_neuron_counts_as_often_as_it_fires(monkeypatch):
    found, asked = problem(monkeypatch, 1, {1: [2.0, 5.0]})
    assert asked == [(1, 1)]
    assert [f.tolist() for f in found.frequencies] == [[0.625, 0.375], [0.875], [1.0], [0.5]]


def test_the_problem_has_times_and_sizes_by_group_and_the_latency_of_pcie(monkeypatch):
    found, _ = problem(monkeypatch, 1, {1: [2.0, 5.0]})
    assert found.neuron_bytes == [10, 30, 10, 30]
    assert found.gpu_s == [1.0, 8.0, 1.0, 8.0] and found.dimm_s == [2.0, 5.0, 2.0, 5.0]
    assert found.sync_s == pytest.approx(3e-6)
    assert found.gpu_bytes == 4096 and found.dimm_bytes == [6400, 6400, 6400]  # 100 bursts of 64 bytes


def test_whole_groups_go_to_the_gpu_as_long_as_they_fit(monkeypatch):
    monkeypatch.setattr(offline, "gpu_room", lambda devices, shape: 140)
    dimms = Names(shape="shape", neuron_bytes={"attention": 10, "ffn": 30}.get, machine=Names(dimms=2))
    placed = whole_layers("devices", dimms, [5, 3, 4, 1])  # 50, 90, 40 and 30 bytes
    assert [set(flags.tolist()) for flags in placed.resident] == [{True}, {True}, {False}, {False}]
    assert [owner.tolist() for owner in placed.dimm] == [[0, 1, 0, 1, 0], [0, 1, 0], [0, 1, 0, 1], [0]]
    monkeypatch.setattr(offline, "gpu_room", lambda devices, shape: 130)
    placed = whole_layers(
        "devices", dimms, [5, 3, 4, 2]
    )  # the block of the first layer has no room, the next group has
    assert [flags.all() for flags in placed.resident] == [True, False, True, False]


def test_what_neurons_may_take_is_what_projections_and_head_leave(monkeypatch):
    shape = Names(layers=3, hidden=100, attention_width=40, vocab=70)
    dense = 2 * (3 * 100 * 40 + 70 * 100)
    assert gpu_room(Names(weight_bytes=dense + 5), shape) == 5
    assert gpu_room(Names(weight_bytes=dense), shape) == 0
    monkeypatch.setattr(offline, "found_on_card", lambda devices: "less")
    monkeypatch.setattr(offline, "card_enough", lambda size, devices: f"at least {size}")
    large = Names(layers=1, hidden=26_000, attention_width=26_000, vocab=1000)
    with pytest.raises(InputError, match=r"output projections and head, 1\.4 GB, found less; at least 1404000000"):
        gpu_room(Names(weight_bytes=1_404_000_000 - 1), large)


def test_neurons_above_a_dimms_rows_go_to_where_the_fewest_are():
    dimm, often = np.array([0, 0, 0, 0, 0, 1, 2], np.uint8), np.array([0.5, 0.1, 0.9, 0.2, 0.3, 1, 1])
    assert fitted(dimm, often, 3, 2).tolist() == [0, 1, 0, 2, 1, 1, 2]
    assert fitted(dimm, often, 3, 5).tolist() == dimm.tolist()  # as many as there are rows
    assert fitted(dimm, often, 3, 4).tolist() == [0, 1, 0, 0, 0, 1, 2]


def test_neurons_that_move_even_out_one_by_one():
    dimm = np.array([2, 2, 2, 2, 2, 2, 2], np.uint8)
    assert fitted(dimm, np.arange(7.0), 3, 1).tolist() == [0, 1, 0, 1, 0, 1, 2]
