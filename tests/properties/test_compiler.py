"""Random layers, compiled and run: numbers as of the oracles, time and traffic as the weights need."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import decode_step
from oracles import layer as oracle

from ndpsim.compiler import merge
from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape, memory_image
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.decode import OP
from ndpsim.dimm.executor import execute, new_states
from ndpsim.dimm.timing import time_program
from ndpsim.dram.checker.checker import check
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp.rank_state import N_RD, N_WR
from ndpsim.isa.program import from_bytes, to_bytes
from ndpsim.isa.spec import isa

MAPS = ["interleaved", "row", "striped", "row bank column:3 bank_group rank column", "rank row bank_group bank column"]
STORED = {"f16": np.float16, "bf16": np.uint16, "i8": np.int8}


def machine(dimms, placement="interleaved", buffer_bytes=262144, piece=4096):
    """The Hermes DIMM with another buffer, and merges in other pieces, in bytes."""
    base = load_machine(placement=placement, dimms=dimms)
    config = base.config
    changed = {
        table: getattr(config, table).model_copy(
            update={name: getattr(getattr(config, table), name).model_copy(update={"value": value})}
        )
        for table, name, value in (("unit", "buffer_bytes", buffer_bytes), ("software", "merge_piece", piece))
    }
    return type(base)(config.model_copy(update=changed), base.standard, base.address_map, base.dimms)


def stored(rng, kind, shape, wild=False):
    """Draw elements of a layer's type: moderate numbers, or any bits at all."""
    if kind == "i8":
        return rng.integers(-128, 128, shape, np.int8)
    if wild:
        bits = rng.integers(0, 1 << 16, shape, np.uint16)
        return bits.view(np.float16) if kind == "f16" else bits
    numbers = rng.standard_normal(shape).astype(np.float32)
    return numbers.astype(np.float16) if kind == "f16" else (numbers.view(np.uint32) >> 16).astype(np.uint16)


@st.composite
def layers(draw):
    """Draw a layer, its weights, one token of a batch, and the machine to run it on.

    What need not shrink comes from a seed: Hypothesis repeats its choices, which then meet in few combinations.
    """
    block = draw(st.booleans())
    shape = LayerShape(
        neurons=draw(st.integers(1, 40)),
        width=draw(st.integers(1, 150)),
        activation=draw(st.sampled_from(["relu", "silu", "gelu"])) if block else None,
        gated=draw(st.booleans()) if block else False,
        type=draw(st.sampled_from(["f16", "bf16"] if block else ["f16", "bf16", "i8"])),
    )
    batch, dimms = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 1 << 32))
    rng = np.random.default_rng(seed)

    def pick(*choices):
        return choices[rng.integers(0, len(choices))]

    active = np.flatnonzero(rng.random(shape.neurons) < pick(0.1, 0.5, 1.0))
    active = pick(active, active, active, active, np.array([rng.integers(0, shape.neurons)]), np.array([], int))
    # Sometimes a buffer that holds the vectors and a few neurons only, so that tiles have to be cut.
    size = 1 if shape.type == "i8" else 2
    vectors = batch * shape.width * (size + (8 if block else 0)) + 8
    neurons = rng.integers(1, 7) * batch * (8 + size if block else 4)
    owner = rng.integers(0, dimms, shape.neurons).astype(np.int32)
    wild = pick(True, *[False] * 9)
    return SimpleNamespace(
        shape=shape, batch=batch, dimms=dimms, seed=seed,
        weights={name: stored(rng, shape.type, (shape.neurons, shape.width), wild) for name in shape.matrices},
        x=stored(rng, shape.type, (batch, shape.width), wild),
        active=rng.permutation(active),
        machine=machine(dimms, pick(*MAPS), pick(262144, int(-(-(vectors + neurons) // 4) * 4)),
                        pick(4096, 400, 132)),
        balance=pick("round_robin", "by_frequency", lambda neurons, dimms, frequencies: owner),
        frequencies=rng.random(shape.neurons),
    )  # fmt: skip


def compiled(case):
    compiler = layer_compiler(case.shape, case.machine, balance=case.balance, frequencies=case.frequencies)
    return compiler, compiler.compile(case.active, case.batch)


def executed(case, compiler, program):
    states = new_states(program, case.machine.buffer_bytes)
    host_input = compiler.host_input(case.x, case.active)
    images = memory_image(compiler.placement, case.weights)
    for state, regions, data in zip(states, images, host_input, strict=True):
        state.regions, state.host_in = regions, data
        state.buffer[:] = 0x5A  # as a token before may have left it
    trap = execute(program, states)
    assert trap is None, str(trap)
    assert [state.host_read for state in states] == [len(data) for data in host_input]
    return compiler.result([bytes(state.host_out) for state in states], case.active, case.batch)


def expected(case, placement):
    shape = case.shape
    if shape.activation is None:
        return oracle.matrix(case.weights["up"], case.x, case.active, shape.type)
    shares = merge.shares_of(placement, case.active)
    cols = FeedForward(case.machine, placement).plan(shares, case.batch, False).cols
    neurons = [np.sort(case.active[placement.owner[case.active] == dimm]) for dimm in range(case.dimms)]
    return decode_step.block(case.weights, case.x, neurons, None, cols,
                             kind=shape.type, activation=shape.activation, gated=shape.gated)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(layers())
def test_a_compiled_layer_gives_what_the_oracle_gives_bit_for_bit(case):
    compiler, program = compiled(case)
    result, wanted = executed(case, compiler, program), expected(case, compiler.placement)
    assert result.dtype == wanted.dtype and result.shape == wanted.shape
    assert np.array_equal(result.view(np.uint32), wanted.view(np.uint32))


@settings(max_examples=150, deadline=None)
@given(layers())
def test_a_layer_reads_its_active_neurons_once_and_no_rank_exceeds_its_peak(case):
    _, program = compiled(case)
    run = time_program(program, case.machine, log=True)
    assert run.dram_bytes == len(case.active) * case.shape.neuron_bytes
    assert not run.counters[:, :, N_WR].any()
    timing, tck = case.machine.standard.timing, case.machine.standard.tck_ps
    took = run.spans[:, 1] - run.spans[:, 0]
    streams = np.isin(run.resolved.ops[:, OP], [isa().instructions[name].opcode for name in ("dot", "axpy")])
    for dimm in range(case.dimms):
        first, last = run.resolved.starts[dimm : dimm + 2]
        stream_ps = took[first:last][streams[first:last]].sum()
        for rank in range(case.machine.standard.organization.ranks):
            bursts = run.log.cycle[
                (run.log.dimm == dimm) & (run.log.rank == rank) & (run.log.command == COMMANDS.index("RD"))
            ]
            assert len(bursts) == run.counters[dimm, rank, N_RD]
            assert len(bursts) < 2 or np.diff(bursts).min() >= timing["nCCD_S"]
            assert len(bursts) * timing["nCCD_S"] * tck <= stream_ps


@settings(max_examples=150, deadline=None)
@given(layers())
def test_the_checker_finds_the_log_of_a_layer_legal(case):
    _, program = compiled(case)
    run = time_program(program, case.machine, log=True)
    report = check(run.log, case.machine.standard)
    assert report.legal, report.first


@settings(max_examples=25, deadline=None)
@given(layers())
def test_program_time_and_log_do_not_depend_on_the_weights(case):
    compiler, program = compiled(case)
    before, bytes_before = time_program(program, case.machine, log=True), to_bytes(program)
    executed(case, compiler, program)
    case.weights = {name: np.zeros_like(w) for name, w in case.weights.items()}
    again_compiler, again = compiled(case)
    executed(case, again_compiler, again)
    assert to_bytes(program) == to_bytes(again) == bytes_before
    assert to_bytes(from_bytes(bytes_before, "layer.ndp")) == bytes_before
    after = time_program(again, case.machine, log=True)
    assert np.array_equal(before.spans, after.spans)
    assert before.total_ps == after.total_ps
    for mine, other in zip(before.log, after.log, strict=True):
        assert np.array_equal(mine, other)
