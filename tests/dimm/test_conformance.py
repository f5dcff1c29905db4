"""The fast executor ends in the state that isa/conformance asks for."""

from copy import deepcopy

import pytest
from dimm_support import assert_same_state, to_program
from oracles import conformance

from ndpsim.dimm.executor import execute
from ndpsim.isa.assembly import assemble


@pytest.mark.parametrize("case", conformance.load(), ids=str)
def test_the_executor_ends_in_the_stated_state(case):
    program, states = to_program(deepcopy(case.before))
    trap = execute(program, states)
    assert (trap and (trap.dimm, trap.index, trap.name)) == (
        case.trap and (case.trap.dimm, case.trap.index, case.trap.name)
    )
    assert_same_state(states, case.after)


@pytest.mark.parametrize("case", conformance.load(), ids=str)
def test_the_assembler_agrees_with_the_independent_one(case):
    for text, dimm in zip(case.programs, case.before, strict=True):
        if text is not None:
            assert assemble(text) == dimm.words
