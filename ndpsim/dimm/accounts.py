"""Programs that leave nothing behind but their accounts: checked, timed and counted.

A run of a model has hundreds of programs a token, most of them short, so that each takes three calls of kernels.
"""

import numpy as np

from ndpsim.dimm.config import Machine
from ndpsim.dimm.energy import LINK, add_work
from ndpsim.dimm.resolve import checked, resolve
from ndpsim.dimm.timing import Timer
from ndpsim.dimm.timing_kernel import FINISH, STREAM
from ndpsim.dimm.verify import Verifier
from ndpsim.isa.facts import instruction_facts
from ndpsim.isa.program import Program


class Accounts:
    """What the programs of a machine did.

    timer: its clocks; work: int64[6], the fields of `NdpWork`; stream_ps: int64[DIMMs], the time of each DIMM in its
    stream instructions.
    """

    def __init__(self, machine: Machine) -> None:
        self.timer = Timer(machine)
        self.work = np.zeros(LINK + 1, np.int64)
        self.stream_ps = np.zeros(machine.dimms, np.int64)
        self.verifier: Verifier | None = None
        """If set, programs are timed both ways, and compared."""

    def run(self, program: Program) -> int:
        """Time a program, advance to its end, and return when its marked instruction starts, or else its end.

        Raises ProgramError if the program traps, InputError as `Timer.run`, and DisagreementError as `Verifier`.
        """
        timer = self.timer
        timer.require_own(program)
        ops, order, found = checked(program, timer.machine.buffer_bytes)
        if found[1]:
            resolve(program, timer.machine.buffer_bytes).require_clean()
        spans, times = timer.advance(ops, program)
        if self.verifier is not None:
            self.verifier.compare(ops, program, (spans, times))
        add_work(ops, order, int(found[0]), program.lists.values, instruction_facts(), self.work)
        self.stream_ps += times[STREAM]
        timer.now_ps = int(times[FINISH].max())
        return int(spans[program.mark, 0]) if program.mark >= 0 else timer.now_ps
