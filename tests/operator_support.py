"""Compiled operators: machines, data and execution that their tests share."""

import numpy as np
from hypothesis import strategies as st

from ndpsim.dimm.config import load_machine
from ndpsim.dimm.executor import DimmState, execute_resolved
from ndpsim.dimm.resolve import resolve
from ndpsim.dram.ndp.rank_state import N_RD
from ndpsim.isa import codes
from ndpsim.isa.assembly import disassemble
from ndpsim.isa.encoding import array_to_words

PEAK_BYTES_PER_PS = 4 * 25.6e9 / 1e12
"""Of the Hermes DIMM: four ranks of 25.6 GB/s."""


def machine(dimms, buffer_bytes=262144, placement="interleaved", queue=16):
    """The Hermes DIMM with another buffer and return queue."""
    base = load_machine(placement=placement, dimms=dimms)
    values = {"buffer_bytes": buffer_bytes, "return_queue": queue}
    changed = {name: getattr(base.config.unit, name).model_copy(update={"value": new}) for name, new in values.items()}
    unit = base.config.unit.model_copy(update=changed)
    return type(base)(base.config.model_copy(update={"unit": unit}), base.standard, base.address_map, base.dimms)


def numbers(rng, kind, *shape):
    """Draw Gaussian numbers, float16 or the uint16 bits of BF16."""
    drawn = rng.standard_normal(shape).astype(np.float32)
    return drawn.astype(np.float16) if kind == "f16" else (drawn.view(np.uint32) >> 16).astype(np.uint16)


def masks_of(shares, batch):
    """Draw masks beside rows: of any sequences, of a single one each, or of all."""

    def masks(seed, kind):
        rng = np.random.default_rng(seed)
        if kind == "any":
            return [rng.integers(1, 1 << batch, len(rows)).astype(np.uint32) for rows in shares]
        if kind == "one":
            return [np.uint32(1) << rng.integers(0, batch, len(rows)).astype(np.uint32) for rows in shares]
        return [np.full(len(rows), (1 << batch) - 1, np.uint32) for rows in shares]

    return st.builds(masks, st.integers(0, 1 << 32), st.sampled_from(["any", "one", "all"]))


def streams(program):
    """The assembly of every DIMM, one list of lines each."""
    return [disassemble(array_to_words(dimm.words)).splitlines() for dimm in program.dimms]


def executed(program, machine, images, host_input):
    """Run a program that must not trap and must read all of its input; return what each DIMM sent to the host."""
    resolved = resolve(program, machine.buffer_bytes, [len(data) for data in host_input])
    assert resolved.trap is None, str(resolved.trap)
    left = [np.full(machine.buffer_bytes, 0xFF, np.uint8) for _ in images]  # NaNs, as a token before may leave them
    states = [DimmState(*parts) for parts in zip(images, left, host_input, strict=True)]
    execute_resolved(resolved, states)
    assert [state.host_read for state in states] == [len(data) for data in host_input]
    return [bytes(state.host_out) for state in states]


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype == np.float32 and np.array_equal(a.view("u4"), b.view("u4"))


def assert_reads(run, expected):
    """Each DIMM reads so many bytes, and not faster than its ranks could give them."""
    assert (run.counters[:, :, N_RD].sum(axis=1) * codes.ATOM_BYTES).tolist() == list(expected)
    assert (run.stream_ps_by_dimm() * PEAK_BYTES_PER_PS >= np.array(expected)).all()
