"""Between the oracle's DIMMs and ours."""

import numpy as np

from ndpsim.dimm.executor import DimmState
from ndpsim.isa.encoding import words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region


def to_program(dimms):
    """Turn the oracle's DIMMs into a program and memory of ours."""
    programs, states = [], []
    for dimm in dimms:
        regions = tuple(
            Region(f"r{i}", base, atoms, writable) for i, (base, atoms, writable) in enumerate(dimm.regions)
        )
        programs.append(DimmProgram(words_to_array(dimm.words), np.array(dimm.lists, np.uint32), regions))
        memory = [np.frombuffer(bytes(m), np.uint8).copy() for m in dimm.memory]
        states.append(DimmState(memory, np.frombuffer(bytes(dimm.buffer), np.uint8).copy(), bytes(dimm.host_in)))
    return Program.of("{}", tuple(programs)), states


def assert_same_state(states, dimms):
    for state, dimm in zip(states, dimms, strict=True):
        assert state.buffer.tobytes().hex(" ", 4) == bytes(dimm.buffer).hex(" ", 4)
        assert [m.tobytes() for m in state.regions] == [bytes(m) for m in dimm.memory]
        assert bytes(state.host_out) == bytes(dimm.host_out)
