import numpy as np
import pytest
from operator_support import executed, numbers, same_bits
from operator_support import machine as unit_of
from operator_support import streams as assembly
from oracles import layer as oracle

from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.matrix import PlacedMatrix
from ndpsim.compiler.placement import LayerShape, memory_image, place
from ndpsim.dimm.config import load_machine
from ndpsim.errors import InputError


@pytest.fixture(scope="module")
def machine():
    return load_machine(dimms=3)


@pytest.fixture(scope="module")
def compiler(machine):
    return layer_compiler(LayerShape(neurons=6, width=40), machine)


def refusal(function, *arguments, **named):
    """The one sentence with which a call is refused."""
    with pytest.raises(InputError) as error:
        function(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


def streams(compiler, active, batch=1):
    """The assembly of every DIMM, one list of lines each."""
    return assembly(compiler.compile(np.array(active, int), batch))


def test_a_block_is_lowered_to_these_instructions(compiler):
    # Neurons 1 and 4 are rows 0 and 1 of DIMM 1. Buffer: x 80 bytes, room for 6 FP32 and 6 FP16, y, an incoming piece.
    assert streams(compiler, [4, 1]) == [
        ["recv [0x74], 160, 1", "hout [0x74], 160", "end"],
        [
            "mat.f16 m0, 0, 2, 40, 2",
            "mat.f16 m1, 4, 2, 40, 2",
            "hin [0x0], 80",
            "fill [0x74], 0.0, 40",
            "list l0, 0, 2",
            "dot m0, l0, [0x0], [0x50], 1",
            "relu [0x50], [0x50], 2",
            "cvt.f32.f16 [0x50], [0x68], 2",
            "axpy m1, l0, [0x68], [0x74], 1",
            "send [0x74], 160, 0",
            "end",
        ],
        ["end"],
    ]


def test_without_an_active_neuron_dimm_0_returns_zeros(compiler):
    assert streams(compiler, []) == [["fill [0x74], 0.0, 40", "hout [0x74], 160", "end"], ["end"], ["end"]]


def test_a_dimm_of_a_matrix_without_an_active_row_only_ends(machine):
    compiler = layer_compiler(LayerShape(6, 40, None), machine)
    first, second, third = streams(compiler, [1])
    assert first == third == ["end"]
    assert [line.split()[0] for line in second] == ["mat.f16", "hin", "list", "dot", "hout", "end"]


def test_the_chain_is_cut_in_pieces_so_that_hops_overlap(machine):
    compiler = layer_compiler(LayerShape(6, 2500), machine)
    first, second, third = streams(compiler, [0, 1, 2])
    assert [line.split("]")[1] for line in third if line.startswith("send")] == [", 4096, 1", ", 4096, 1", ", 1808, 1"]
    heads = [line.split()[0] for line in second[second.index("end") - 9 :]]
    assert heads == ["recv", "add.f32", "send"] * 3 + ["end"]
    assert [line.split()[0] for line in first][-8:] == ["recv", "add.f32"] * 3 + ["hout", "end"]


def test_compiling_twice_gives_the_same_program(compiler):
    assert streams(compiler, [0, 3, 5]) == streams(compiler, [5, 0, 3])


@pytest.mark.parametrize(
    ("active", "sentence"),
    [
        ([1, 6], "active neurons: expected 0 to 5, found 6"),
        ([-1, 2], "active neurons: expected 0 to 5, found -1"),
        ([2, 3, 2], "active neurons: expected each neuron once, found one twice"),
        ([0.5], "active neurons: expected their numbers, found float64"),
        ([True, False, True, False, False, False], "active neurons: expected their numbers, found bool"),
    ],
)
def test_active_neurons_that_cannot_be_are_refused(compiler, active, sentence):
    assert refusal(compiler.compile, np.array(active)) == sentence


@pytest.mark.parametrize("batch", [0, -1, 256])
def test_a_batch_that_an_instruction_cannot_say_is_refused(compiler, batch):
    assert refusal(compiler.compile, np.array([1]), batch) == f"batch: expected 1 to 255, found {batch}"


def test_a_batch_whose_inputs_of_a_matrix_fill_the_buffer_is_refused(machine):
    compiler = layer_compiler(LayerShape(6, 4096, None), machine)
    compiler.compile(np.arange(6), 31)
    assert refusal(compiler.compile, np.arange(6), 32) == (
        "batch: expected at most 31 for a buffer of 262144 bytes, found 32"
    )


def test_rows_of_a_matrix_that_do_not_fit_are_returned_in_tiles():
    unit = unit_of(2, buffer_bytes=200)
    compiler = layer_compiler(LayerShape(40, 40, None), unit)
    rng = np.random.default_rng(0)
    weights, x = numbers(rng, "f16", 40, 40), numbers(rng, "f16", 2, 40)
    active = np.arange(39, 3, -1)
    program = compiler.compile(active, 2)
    first, second = ([line for line in lines if line.startswith("hout")] for lines in assembly(program))
    # 36 rows, 18 on each DIMM; 160 bytes of inputs leave room for the results of 5
    assert first == second == ["hout [0xa0], 40"] * 3 + ["hout [0xa0], 24"]
    host_out = executed(
        program, unit, memory_image(compiler.placement, {"up": weights}), compiler.host_input(x, active)
    )
    assert same_bits(compiler.result(host_out, active, 2), oracle.matrix(weights, x, active, "f16"))


def test_the_host_sends_inputs_to_the_dimms_that_work(compiler):
    x = np.arange(40, dtype=np.float16)[None]
    assert compiler.host_input(x, np.array([4, 1])) == [b"", x.tobytes(), b""]


def test_a_block_is_no_single_matrix(machine):
    with pytest.raises(InputError, match="layer: expected a single matrix, found a block"):
        PlacedMatrix(machine, place(LayerShape(6, 40), machine))
