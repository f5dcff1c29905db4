"""Hermes' bookkeeping by hand: what is computed where, swaps, windows, moves, and what its placement sees."""

from types import SimpleNamespace

import numpy as np
import pytest

from ndpsim.isa.program import Joined
from ndpsim.llm.step import Step
from ndpsim.machine.meter import Meter
from ndpsim.machine.pcie import Pcie
from ndpsim.machine.rows import NeuronRows
from ndpsim.systems.hermes.hermes import Hermes
from ndpsim.systems.parts.shared_layers import Decoded


class Neurons:
    """Two groups of 64 neurons, a word each, of which 0 and 1 are in GPU memory.

    Computed are 1 and 3 of the first group and 1 and 4 of the second one for one sequence, 0 and 2, and 0 and 4, for
    another.
    """

    def __init__(self, heard):
        self.heard = heard
        self.computed = np.array([[0b01010, 0b10010], [0b00101, 0b10001]], np.uint64)
        self.resident = np.array([0b00011, 0b00011], np.uint64)
        self.layout = SimpleNamespace(counts=self.counts, words_of=lambda group: slice(group, group + 1))

    def counts(self, mask):
        return np.array([int(word).bit_count() for word in mask])

    def predict(self, places, tokens):
        self.heard.append(("predict", tuple(places), tuple(tokens)))

    def swap(self, most):
        self.heard.append(("swap", list(most)))
        return SimpleNamespace(bytes=np.array([300, 50]), waiting=np.array([2, 1]))

    def learn(self):
        self.heard.append("learn")


class Remap:
    """Moves of each group: neurons, from and to."""

    def __init__(self, heard):
        self.heard = heard
        self.moves = {0: ([0, 2, 5, 4], [0, 0, 1, 0], [1, 1, 0, 1]), 1: ([0, 2], [0, 0], [1, 1])}

    def observe(self, cold):
        self.heard.append(("observe", cold.tolist()))

    def begin_window(self):
        self.heard.append("window")

    def remap(self, group, dimm):
        neurons, source, target = self.moves[group]
        return SimpleNamespace(
            neurons=np.array(neurons), source=np.array(source, np.uint8), target=np.array(target, np.uint8)
        )


def switch(on):
    return SimpleNamespace(value=on)


def hermes(*, window=3, remap=True, adjust=True):
    """One layer on two DIMMs; a neuron has 10 bytes for QKV and 7 of the block.

    A step takes 5 ps and leaves PCIe free for 8 us, at 0.1 GB/s.
    """
    made, heard = object.__new__(Hermes), []
    made.heard, made.neurons, made.remap, made.meter = heard, Neurons(heard), Remap(heard), Meter()
    made.policy = SimpleNamespace(window=switch(window), remap=switch(remap), adjust=switch(adjust))
    made.shape, made.neuron_bytes, made.tokens = SimpleNamespace(layers=1), [10, 7], 0
    owners = [np.array([0, 1, 0, 1, 0, 1], np.uint8), np.array([0, 1, 0, 1, 0, 1], np.uint8)]
    made.rows = [NeuronRows(own, 2, 5) for own in owners]
    made.devices = SimpleNamespace(pcie=Pcie(gb_per_s=0.1, us=1.0), dimms=SimpleNamespace(dimms=2))
    made.plans = []

    def run(step, plan, now):
        made.plans.append(plan)
        return Decoded(now + 5, [8_000_000])

    made.run = run
    return made


def parts(joined):
    return [part.tolist() for part in joined.parts()]


def test_a_step_computes_what_any_sequence_needs_on_the_gpu_and_the_rest_in_dimms():
    made = hermes()
    assert made.decode(Step((1, 1), (20, 9), sequences=(1, 0)), 100) == 105
    (plan,) = made.plans
    # of each sequence one neuron of a group is in GPU memory, and of both together two
    assert plan.on_gpu.tolist() == [2, 2]
    (layer,) = plan.layers
    assert isinstance(layer.qkv.rows, Joined)
    # 3 for the first sequence, 2 for the second; neurons 0, 2, 4 are rows 0, 1, 2 of DIMM 0, and 1, 3, 5 of DIMM 1
    assert parts(layer.qkv.rows) == [[1], [1]] and [parts(word) for word in layer.qkv.masks] == [[[0b10], [0b01]]]
    assert parts(layer.ffn.rows) == [[2], []] and [parts(word) for word in layer.ffn.masks] == [[[0b11], []]]
    assert (layer.moved, layer.busiest) == (0, 0)
    assert made.heard == [
        ("predict", (1, 0), (20, 9)),
        ("swap", [800]),  # bytes in 8 us
        ("observe", [0b01000, 0b10000]),
        ("observe", [0b00100, 0b10000]),
        "learn",
    ]
    assert made.meter.link == {"swap": 350} and made.meter.events == {"hot neurons that wait": 3}
    assert made.tokens == 1


def test_one_sequence_needs_no_masks():
    made = hermes()
    made.neurons.computed = made.neurons.computed[:1]
    made.decode(Step((1,), (20,)), 0)
    (layer,) = made.plans[0].layers
    assert layer.qkv.masks is None and layer.ffn.masks is None
    assert parts(layer.qkv.rows) == [[], [1]] and parts(layer.ffn.rows) == [[2], []]


def decoded(made, tokens):
    """At which tokens neurons moved, and behind which a window began."""
    moved, windows = [], []
    for number in range(tokens):
        made.heard.clear()
        made.decode(Step((1, 1), (20 + number, 9 + number)), 0)
        moved += [number] if made.plans[-1].layers[0].moved else []
        windows += [number] if "window" in made.heard else []
    return moved, windows


@pytest.mark.parametrize(
    ("window", "moved", "windows"),
    [(3, [2, 5, 8], [2, 5, 8]), (4, [3, 7], [3, 7]), (1, [1, 2, 3, 4, 5, 6, 7, 8], list(range(9))), (20, [], [])],
)
def test_neurons_move_in_the_last_token_of_each_window(monkeypatch, window, moved, windows):
    made = hermes(window=window)
    monkeypatch.setattr(Hermes, "_remap", lambda self, layer: np.array([0, 30, 12, 0]))
    assert decoded(made, 9) == (moved, windows)
    assert all((one.layers[0].moved, one.layers[0].busiest) in ((0, 0), (42, 30)) for one in made.plans)


def test_mechanisms_that_are_switched_off_do_nothing():
    made = hermes(remap=False, adjust=False)
    assert decoded(made, 4) == ([], [2])
    assert not made.meter.link and not made.meter.events and not any("swap" in one for one in made.heard)


def test_bytes_of_moves_are_counted_over_all_paths_and_over_the_busiest():
    """QKV: three go from DIMM 0 to 1, where neuron 5 leaves its row to the third, and it comes back; block: two."""
    made = hermes()
    over = made._remap(0)
    assert over.tolist() == [0, 3 * 10 + 2 * 7, 1 * 10, 0]  # from 0 to 1, and from 1 to 0
    assert made.meter.events == {"neurons that changed DIMM": 6}
    assert made.rows[0].dimm.tolist() == [1, 1, 1, 1, 1, 0] and made.rows[1].dimm.tolist() == [1, 1, 1, 1, 0, 1]


def test_moves_without_room_take_no_bytes():
    made = hermes()
    made.rows[0] = NeuronRows(np.array([0, 1, 0, 1, 0, 1], np.uint8), 2, 3)  # no free row at all
    over = made._remap(0)
    assert over.tolist() == [0, 2 * 7, 0, 0] and made.meter.events == {"neurons that changed DIMM": 2}


def test_the_block_reads_neurons_where_they_went_and_qkv_where_they_were():
    made = hermes()
    made.tokens = 2
    made.neurons.computed[:] = [0b01100, 0b00100]  # neuron 2 of both groups, and 3 of the first
    made.decode(Step((1, 1), (20, 9)), 0)
    (layer,) = made.plans[0].layers
    assert (layer.moved, layer.busiest) == (54, 44)
    assert parts(layer.qkv.rows) == [[1], [1]]  # neuron 2 in row 1 of DIMM 0
    assert parts(layer.ffn.rows) == [[], [4]]  # in DIMM 1, behind neuron 0, which took row 3
