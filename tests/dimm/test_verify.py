"""Programs timed both ways agree; where they would not, the first difference is named."""

import dataclasses

import numpy as np
import pytest

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.placement import LayerShape, place
from ndpsim.dimm.accounts import Accounts
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import Timer
from ndpsim.dimm.verify import JUDGED, Verifier
from ndpsim.dram.checker.checker import StreamChecker
from ndpsim.dram.standard.standard import with_overrides
from ndpsim.errors import DisagreementError
from ndpsim.kernels.held import Held

MACHINE = load_machine("hermes-alternating", placement="hashed", dimms=2)
BLOCK = FeedForward(MACHINE, place(LayerShape(600, 8192, "silu", gated=True), MACHINE))


def programs(count=3):
    rng = np.random.default_rng(4)
    for _ in range(count):
        yield BLOCK.compile([np.flatnonzero(rng.random(300) < 0.2).astype(np.uint32) for _ in range(2)], gpu=True)


def verifying():
    accounts = Accounts(MACHINE)
    accounts.verifier = Verifier(accounts.timer)
    return accounts, accounts.verifier


def changed(timer, **fields):
    """Have another constant of long trains in what is timed fast and command by command, which does not read it."""
    timing = timer.model.timing
    timer._held = Held(timer.model._replace(timing=timing._replace(reads=timing.reads._replace(**fields))))


def test_programs_take_the_same_time_both_ways_and_the_checker_judges_their_commands():
    accounts, verifier = verifying()
    alone = Accounts(MACHINE)
    for program in programs():
        assert accounts.run(program) == alone.run(program)
    assert verifier.programs == 3
    assert verifier.commands == accounts.timer.counters[:, :, :-1].sum()
    verifier.finish()
    verifier.finish()  # once is enough


def test_commands_beyond_those_that_are_judged_are_compared_all_the_same(monkeypatch):
    monkeypatch.setattr("ndpsim.dimm.verify.JUDGED", 1000)
    accounts, verifier = verifying()
    for program in programs():
        accounts.run(program)
    assert 1000 <= verifier.commands < accounts.timer.counters[:, :, :-1].sum() and verifier.programs == 3
    assert JUDGED > 1000


@pytest.mark.parametrize("constant", ["again", "opened"])
def test_a_constant_of_long_trains_that_is_wrong_by_a_clock_is_found_with_its_instruction(constant):
    accounts, _ = verifying()
    right = getattr(accounts.timer.model.timing.reads, constant)
    changed(accounts.timer, **{constant: tuple(clocks + 40 for clocks in right)})
    with pytest.raises(DisagreementError, match=r"^DIMM [01], instruction \d+ \((dot|axpy) .*\): runs from \d+ to"):
        for program in programs():
            accounts.run(program)


def test_a_train_that_is_taken_for_a_long_one_too_soon_is_found_in_a_run_with_a_log_too():
    timer = Timer(MACHINE)
    changed(timer, again=(0, 0), opened=(0, 0))
    program = next(programs())
    with pytest.raises(DisagreementError, match="command by command"):
        timer.run(program, resolve(program, MACHINE.buffer_bytes), log=True)


def test_counts_of_commands_are_compared_as_well():
    accounts, verifier = verifying()
    verifier._ranks.counters[3, 0] += 1
    with pytest.raises(DisagreementError, match=r"^rank 3 of all: {'ACT': "):
        accounts.run(next(programs()))


def test_a_command_that_breaks_a_rule_is_named():
    accounts, verifier = verifying()
    verifier._checker = StreamChecker(with_overrides(MACHINE.standard, {"nRCD": 25}), "rank")
    accounts.run(next(programs()))
    with pytest.raises(DisagreementError, match=r"a command of the first 1 programs is too early: .*tRCD"):
        verifier.finish()


def test_a_timer_that_has_run_programs_before_is_compared_without_the_checker():
    accounts = Accounts(MACHINE)
    first, second, third = programs()
    accounts.run(first)
    accounts.verifier = Verifier(accounts.timer)
    accounts.run(second)
    accounts.run(third)
    assert (accounts.verifier.programs, accounts.verifier.commands) == (2, 0)
    assert dataclasses.is_dataclass(MACHINE)
