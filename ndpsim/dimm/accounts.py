"""Programs that leave nothing behind but their accounts: checked, timed and counted.

A run of a model has hundreds of programs a token, most of them short, so that each takes three calls of kernels, which
work in arrays that are there already.
"""

import numpy as np

from ndpsim.dimm.config import Machine
from ndpsim.dimm.decode import encodings, new_ops
from ndpsim.dimm.energy import LINK, add_work
from ndpsim.dimm.resolve import UNLIMITED, check_program, resolve, room_to_check
from ndpsim.dimm.timing import Timer, no_time
from ndpsim.dimm.timing_kernel import FINISH, STREAM, room_to_run, run_all
from ndpsim.dimm.verify import Verifier
from ndpsim.isa.facts import instruction_facts
from ndpsim.isa.program import Program


class _Room:
    """Arrays for programs of up to so many instructions."""

    def __init__(self, instructions: int, dimms: int) -> None:
        self.ops, self.spans = new_ops(instructions), np.empty((instructions, 2), np.int64)
        self.order, self.times = np.empty(instructions, np.int64), np.empty((3, dimms), np.int64)
        self.host, self.found = np.empty(dimms, np.int64), np.empty(4, np.int64)
        self.rest = np.empty(max(room_to_check(instructions, dimms), room_to_run(instructions, dimms)), np.int64)


class Accounts:
    """What the programs of a machine did.

    timer: its clocks; work: int64[6], the fields of `NdpWork`; stream_ps: int64[DIMMs], the time of each DIMM in its
    stream instructions.
    """

    def __init__(self, machine: Machine) -> None:
        self.timer = Timer(machine)
        self.work = np.zeros(LINK + 1, np.int64)
        self.stream_ps = np.zeros(machine.dimms, np.int64)
        self._room = _Room(0, machine.dimms)
        self.verifier: Verifier | None = None
        """If set, programs are timed both ways, and compared."""

    def run(self, program: Program) -> int:
        """Time a program, advance to its end, and return when its marked instruction starts, or else its end.

        Raises ProgramError if the program traps, InputError as `Timer.run`, and DisagreementError as `Verifier`.
        """
        timer, facts, count = self.timer, instruction_facts(), len(program.words.values)
        timer.require_own(program)
        if count > len(self._room.ops):
            self._room = _Room(2 * count, timer.machine.dimms)
        room, buffer_bytes = self._room, timer.machine.buffer_bytes
        (words, starts), (lists, list_starts) = program.words, program.lists
        ops, spans, times, found = room.ops[:count], room.spans[:count], room.times, room.found
        room.host.fill(UNLIMITED)
        check_program(
            words, *encodings(), starts, lists, list_starts, *program.regions.table, room.host, facts, buffer_bytes,
            ops, room.order, found, room.rest,
        )  # fmt: skip
        if found[1]:
            resolve(program, buffer_bytes).require_clean()
        unknown = run_all(
            *timer.held, ops, starts, lists, list_starts, timer.now_ps, times, spans, room.rest, True, None
        )
        if unknown >= 0:
            raise no_time(unknown, ops)
        if self.verifier is not None:
            self.verifier.compare(ops, program, (spans, times))
        add_work(ops, room.order, found[0], lists, facts, self.work)
        self.stream_ps += times[STREAM]
        timer.now_ps = int(times[FINISH].max())
        return int(spans[program.mark, 0]) if program.mark >= 0 else timer.now_ps
