"""Accounts of programs are what the steps say one by one: check, time, count."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.placement import LayerShape, place
from ndpsim.dimm.accounts import Accounts
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.energy import ndp_work
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import Timer
from ndpsim.errors import InputError, ProgramError
from ndpsim.isa.assembly import assemble, disassemble_word
from ndpsim.isa.encoding import array_to_words, words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region

MACHINE = load_machine(dimms=4)
BLOCK = FeedForward(MACHINE, place(LayerShape(64, 3000, "silu", gated=True), MACHINE, first_atom=77))


def blocks(masked):
    """Programs of a block for some rows of each DIMM, and in the end of none but one."""
    rng = np.random.default_rng(3)
    for counts in [(16, 3, 0, 9), (5, 5, 5, 5), (0, 0, 1, 0)]:
        rows = [np.sort(rng.choice(16, count, replace=False)).astype(np.uint32) for count in counts]
        masks = [rng.integers(1, 8, count).astype(np.uint32) for count in counts] if masked else None
        yield BLOCK.compile(rows, 3, gpu=True, masks=masks)


@pytest.mark.parametrize("masked", [False, True])
def test_accounts_are_those_of_the_steps(masked):
    accounts, timer = Accounts(MACHINE), Timer(MACHINE)
    work, stream_ps = np.zeros(6, np.int64), np.zeros(4, np.int64)
    for program in blocks(masked):
        partial = accounts.run(program)
        resolved = resolve(program, MACHINE.buffer_bytes).require_clean()
        run = timer.run(program, resolved)
        work += astuple(ndp_work(resolved))
        stream_ps += run.stream_ps_by_dimm()
        assert partial in run.spans[: resolved.starts[1], 0]
        assert accounts.timer.now_ps == timer.now_ps
        assert (accounts.timer.counters == timer.counters).all()
        assert (accounts.work == work).all() and (accounts.stream_ps == stream_ps).all()
    assert (work > 0).tolist() == [True, False, False, True, True, True] and (stream_ps > 0).all()


def _program(*texts, atoms=8, mark=-1):
    regions = (Region("r", 0, atoms),)
    nothing = np.empty(0, np.uint32)
    parts = [DimmProgram(words_to_array(assemble(text.replace(";", "\n"))), nothing, regions) for text in texts]
    return replace(Program.of("{}", parts), mark=mark)


@pytest.mark.parametrize("mark", [0, 1, 2, 3, 4, -1])
def test_a_marked_instruction_is_reported_with_its_start_and_without_a_mark_the_end(mark):
    accounts = Accounts(load_machine(dimms=2))
    own = "recv [0], 4096, 1; relu [0], [0], 1024; hin [4096], 4096; add.f32 [0], [4096], [0], 1024; end"
    program = _program(own, "relu [0], [0], 1024; send [0], 4096, 0; end", mark=mark)
    run = Timer(accounts.timer.machine).run(program, resolve(program, 1 << 18))
    assert accounts.run(program) == (run.spans[mark, 0] if mark >= 0 else run.total_ps)


@pytest.mark.parametrize("width", [64, 40_000])
def test_the_gpu_s_partial_result_is_marked_behind_rows_and_other_dimms(width):
    # By its text: the last instructions of DIMM 0 are hin and add for each piece, then hout and end.
    block = FeedForward(MACHINE, place(LayerShape(64, width, "silu", gated=True), MACHINE))
    program = block.compile([np.array([3], np.uint32)] * 4, 3, gpu=True)
    names = [disassemble_word(word).split()[0] for word in array_to_words(program.dimms[0].words)]
    assert names[program.mark - 1] in ("add.f32", "axpy") and names[program.mark] == "hin"
    assert set(names[program.mark :: 2]) - {"end"} <= {"hin", "hout"} and names[-2:] == ["hout", "end"]
    assert not {"dot", "axpy", "recv"} & set(names[program.mark :])
    assert "recv" in names[: program.mark]
    assert block.compile([np.array([3], np.uint32)] * 4, 3).mark == -1


def test_a_program_that_traps_leaves_everything_as_it_was():
    accounts = Accounts(MACHINE)
    accounts.run(next(blocks(False)))
    before = [accounts.timer.now_ps, *(a.copy() for a in (accounts.timer.counters, accounts.work, accounts.stream_ps))]
    with pytest.raises(ProgramError, match=r"^DIMM 2, instruction 1 \(relu .*\): buffer: "):
        accounts.run(_program("end", "end", "fill [0], 0, 8; relu [0], [0], 1000000; end", "end"))
    after = [accounts.timer.now_ps, accounts.timer.counters, accounts.work, accounts.stream_ps]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_programs_for_other_machines_are_refused():
    with pytest.raises(InputError, match="program: expected 4 DIMMs as in its machine, found 2"):
        Accounts(MACHINE).run(_program("end", "end"))
    with pytest.raises(InputError, match="region r: expected an end within"):
        Accounts(MACHINE).run(_program("end", "end", "end", "end", atoms=MACHINE.atoms + 1))
