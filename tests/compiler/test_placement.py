import numpy as np
import pytest

from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape, by_frequency, memory_image, place, round_robin
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.timing import time_program
from ndpsim.errors import InputError

SHAPE = LayerShape(neurons=6, width=40)


@pytest.fixture(scope="module")
def machine():
    return load_machine(dimms=4)


def refusal(function, *arguments, **named):
    """The one sentence with which a call is refused."""
    with pytest.raises(InputError) as error:
        function(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"neurons": 0}, "layer: neurons: expected 1 to 16777215, found 0"),
        ({"neurons": 1 << 24}, "layer: neurons: expected 1 to 16777215, found 16777216"),
        ({"width": 0}, "layer: width: expected 1 to 1048575, found 0"),
        ({"width": -3}, "layer: width: expected 1 to 1048575, found -3"),
        ({"width": 1 << 20}, "layer: width: expected 1 to 1048575, found 1048576"),
        ({"type": "f32"}, "layer: type: expected f16 or bf16 for a block (an INT8 one would need scales), found f32"),
        ({"type": "i8"}, "layer: type: expected f16 or bf16 for a block (an INT8 one would need scales), found i8"),
        (
            {"type": "i4", "activation": None},
            "layer: type: expected f16 or bf16 or i8 for a single matrix, found i4",
        ),
        ({"activation": "tanh"}, "layer: activation: expected relu, silu, gelu or none, found tanh"),
    ],
)
def test_a_shape_that_cannot_work_is_refused(wrong, sentence):
    assert refusal(LayerShape, **{"neurons": 6, "width": 40} | wrong) == sentence


@pytest.mark.parametrize(
    ("shape", "atoms", "read"),
    [
        (LayerShape(1, 32), 1, 2 * 64),
        (LayerShape(1, 33), 2, 2 * 2 * 64),
        (LayerShape(1, 33, gated=True), 2, 3 * 2 * 64),
        (LayerShape(1, 64, None, type="i8"), 1, 64),
        (LayerShape(1, 65, None, type="i8"), 2, 128),
    ],
)
def test_a_neuron_takes_whole_bursts_of_every_matrix(shape, atoms, read):
    assert (shape.row_atoms, shape.neuron_bytes) == (atoms, read)


def test_round_robin_deals_neurons_out_in_turn(machine):
    placed = place(SHAPE, machine)
    assert placed.owner.tolist() == [0, 1, 2, 3, 0, 1]
    assert placed.local.tolist() == [0, 0, 0, 0, 1, 1]
    assert [held.tolist() for held in placed.neurons] == [[0, 4], [1, 5], [2], [3]]


def test_matrices_lie_densely_one_after_the_other_from_the_first_atom(machine):
    placed = place(SHAPE, machine, first_atom=100)
    assert placed.bases == ((100, 104), (100, 104), (100, 102), (100, 102))
    assert [(r.base, r.atoms, r.writable) for regions in placed.regions for r in regions] == [
        (100, 8, False), (100, 8, False), (100, 4, False), (100, 4, False),
    ]  # fmt: skip
    assert placed.end == 108


def test_a_dimm_without_neurons_has_no_region(machine):
    placed = place(LayerShape(2, 40), machine)
    assert [len(regions) for regions in placed.regions] == [1, 1, 0, 0]
    weights = {name: np.ones((2, 40), np.float16) for name in ("up", "down")}
    assert [len(image) for image in memory_image(placed, weights)] == [1, 1, 0, 0]


def test_the_image_holds_each_row_at_its_place_and_zeros_behind_it(machine):
    rng = np.random.default_rng(1)
    shape = LayerShape(6, 33, gated=True)
    placed = place(shape, machine, first_atom=7)
    weights = {name: rng.standard_normal((6, 33)).astype(np.float16) for name in shape.matrices}
    images = memory_image(placed, weights)
    for n in range(6):
        dimm = int(placed.owner[n])
        image = images[dimm][0].reshape(-1, 64)
        assert len(image) == placed.regions[dimm][0].atoms
        for m, name in enumerate(shape.matrices):
            at = placed.bases[dimm][m] - placed.regions[dimm][0].base + int(placed.local[n]) * 2
            assert image[at : at + 2].tobytes() == weights[name][n].tobytes().ljust(128, b"\0")


def test_by_frequency_balances_a_skewed_layer_better_than_round_robin(machine):
    frequencies = np.arange(1, 1001) ** -0.5
    frequencies[::4] *= 5  # as if the busy neurons stood four apart

    def imbalance(owner):
        loads = np.bincount(owner, weights=frequencies, minlength=4)
        return loads.max() / loads.mean()

    dealt = imbalance(round_robin(1000, 4, frequencies))
    balanced = imbalance(by_frequency(1000, 4, frequencies))
    assert dealt > 1.5
    assert balanced < 1.01


def test_by_frequency_spreads_neurons_of_frequency_zero_evenly():
    assert np.bincount(by_frequency(12, 4, np.zeros(12))).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"balance": "by_color"}, "balance 'by_color': expected one of round_robin, by_frequency"),
        ({"balance": "by_frequency"}, "balance by_frequency: expected the frequency of every neuron, found none"),
        ({"frequencies": np.ones(5)}, "frequencies: expected 6 values, one a neuron, found 5"),
        ({"frequencies": [1, 1, 1, 1, 1, np.nan]}, "frequencies: expected finite numbers from 0 on, found others"),
        ({"frequencies": [1, 1, 1, 1, 1, -1]}, "frequencies: expected finite numbers from 0 on, found others"),
    ],
)
def test_a_strategy_that_cannot_be_followed_is_refused(machine, named, sentence):
    assert refusal(place, SHAPE, machine, **named) == sentence


@pytest.mark.parametrize(
    "nonsense",
    [
        None, 3, "abcdef", [], [0, 1, 2], [0, 1, 2, 3, 4, 0], [0, 1, 2, 3, -1, 0], [0.5] * 6, [[0] * 6],
        [[0], [0, 1], 0, 0, 0, 0], np.full(6, 1 << 32), np.ones(6, bool), [None] * 6,
    ],
    ids=repr,
)  # fmt: skip
def test_a_strategy_that_returns_nonsense_is_refused(machine, nonsense):
    sentence = refusal(place, SHAPE, machine, balance=lambda neurons, dimms, frequencies: nonsense)
    assert sentence == "balance: expected a DIMM from 0 to 3 for each of 6 neurons"


def test_a_layer_too_large_for_the_dimms_is_refused(machine):
    shape = LayerShape(neurons=1 << 20, width=1 << 19)
    assert refusal(place, shape, machine, name="ffn 7") == (
        f"dimms: expected at least 64 for ffn 7, which needs {(1 << 20) // 4 * 2 * (1 << 20)} bytes of each, "
        f"found 4 of {1 << 35} bytes"
    )


def test_a_layer_that_begins_too_far_up_is_refused(machine):
    assert "dimms: expected at least 6 for layer" in refusal(place, SHAPE, machine, first_atom=machine.atoms - 7)
    assert place(SHAPE, machine, first_atom=machine.atoms - 8).end == machine.atoms


@pytest.mark.parametrize(
    ("down", "found"),
    [
        (np.zeros((6, 41), np.float16), "float16[6, 41]"),
        (np.zeros((40, 6), np.float16), "float16[40, 6]"),
        (np.zeros((6, 40), np.float32), "float32[6, 40]"),
        (np.zeros(240, np.float16), "float16[240]"),
    ],
)
def test_weights_of_another_shape_or_type_are_refused(machine, down, found):
    weights = {"up": np.zeros((6, 40), np.float16), "down": down}
    sentence = refusal(memory_image, place(SHAPE, machine), weights)
    assert sentence == f"layer: down: expected float16[6, 40], found {found}"


def test_a_missing_matrix_is_refused(machine):
    weights = {"up": np.zeros((6, 40), np.float16)}
    assert refusal(memory_image, place(SHAPE, machine), weights) == "layer: down: expected its weights, found none"


def stream_gb_per_s(placement):
    """Bandwidth of one DIMM over a dense stream of 8 KiB rows, refreshes not counted."""
    machine = load_machine(placement=placement, dimms=1)
    program = layer_compiler(LayerShape(2000, 4096, None), machine).compile(np.arange(2000))
    timing = machine.standard.timing
    figures = time_program(program, machine).summary()
    return figures["stream_gb_per_s"] / (1 - timing["nRFC"] / timing["nREFI"])


@pytest.mark.parametrize(("placement", "peak"), [("interleaved", 102.4), ("row", 51.2), ("striped", 102.4)])
def test_a_dense_stream_comes_near_the_pace_of_its_placement(placement, peak):
    assert 0.92 * peak < stream_gb_per_s(placement) <= 1.001 * peak


def test_interleaving_bank_groups_is_close_to_twice_as_fast_as_rows_of_one_bank():
    assert stream_gb_per_s("interleaved") / stream_gb_per_s("row") == pytest.approx(2, rel=0.05)
