"""Programs that leave nothing behind but their accounts: checked, timed and counted.

A run of a model has hundreds of programs a token, most of them short, so that all of it is one call of a kernel for
each, in arrays that are there already.
"""

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import Machine
from ndpsim.dimm.decode import encodings, new_ops
from ndpsim.dimm.energy import LINK, add_work
from ndpsim.dimm.resolve import UNLIMITED, check_program, resolve, room_to_check
from ndpsim.dimm.timing import Timer, no_time
from ndpsim.dimm.timing_kernel import FINISH, STREAM, Model, room_to_run, run_all
from ndpsim.dimm.verify import Verifier
from ndpsim.dram.ndp.rank_state import RankState
from ndpsim.held import Held
from ndpsim.isa.facts import instruction_facts
from ndpsim.isa.program import Program
from ndpsim.jit import borrowing

Ints = NDArray[np.int64]
_TRAP, _UNKNOWN, _BEGIN, _END = 1, 4, 5, 6
"""Of what is found: the code of a trap (see `check_ops`), else an instruction without a time, or -1; when the marked
instruction starts, and when all DIMMs have ended."""


@borrowing
def _account(
    model: Held[Model], ranks: Held[RankState], words: NDArray[np.uint64], columns: Ints, masks: NDArray[np.uint64],
    types: Ints, starts: Ints, lists: NDArray[np.uint32], list_starts: Ints, region_starts: Ints, regions: Ints,
    instructions: Ints, buffer_bytes: int, now: int, mark: int, host: Ints, all_ops: Ints, order: Ints, all_spans: Ints,
    times: Ints, room: Ints, work: Ints, stream_ps: Ints, found: Ints,
) -> None:  # fmt: skip
    """Check a program, and if it is clean run it from `now` on, and count its work.

    The first arguments are those of `check_program` and `run_all`; host, all_ops, order, all_spans, times, room: room
    for programs of at least so many instructions; work, stream_ps: see `Accounts`; found: int64[7], see _TRAP.
    """
    ops, spans = all_ops[: words.shape[0]], all_spans[: words.shape[0]]
    for i in range(words.shape[0]):
        spans[i, 0] = spans[i, 1] = -1
        for j in range(ops.shape[1]):
            ops[i, j] = 0
    for d in range(host.shape[0]):
        host[d] = UNLIMITED
        times[0, d] = times[1, d] = times[2, d] = 0
    found[_TRAP] = 0
    check_program(
        words, columns, masks, types, starts, lists, list_starts, region_starts, regions, host, instructions,
        buffer_bytes, ops, order, found, room,
    )  # fmt: skip
    if found[_TRAP] != 0:
        return
    found[_UNKNOWN] = run_all(model, ranks, ops, starts, lists, list_starts, now, times, spans, room, True, None)
    add_work(ops, order, found[0], lists, instructions, work)
    found[_END] = 0
    for d in range(host.shape[0]):
        stream_ps[d] += times[STREAM, d]
        found[_END] = max(found[_END], times[FINISH, d])
    found[_BEGIN] = spans[mark, 0] if mark >= 0 else found[_END]


class _Room:
    """Arrays that programs of up to some instructions are accounted in."""

    def __init__(self, instructions: int, dimms: int) -> None:
        self.ops, self.spans = new_ops(instructions), np.empty((instructions, 2), np.int64)
        self.times = np.empty((3, dimms), np.int64)
        size = max(room_to_check(instructions, dimms), room_to_run(instructions, dimms))
        self.arrays = (
            np.empty(dimms, np.int64), self.ops, np.empty(instructions, np.int64), self.spans, self.times,
            np.empty(size, np.int64),
        )  # fmt: skip


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
        self._found = np.zeros(_END + 1, np.int64)
        self.verifier: Verifier | None = None
        """If set, programs are timed both ways, and compared."""

    def run(self, program: Program) -> int:
        """Time a program, advance to its end, and return when its marked instruction starts, or else its end.

        Raises ProgramError if the program traps, InputError as `Timer.run`, and DisagreementError as `Verifier`.
        """
        timer, found, count = self.timer, self._found, len(program.words.values)
        timer.require_own(program)
        if count > len(self._room.ops):
            self._room = _Room(2 * count, timer.machine.dimms)
        room, buffer_bytes = self._room, timer.machine.buffer_bytes
        (words, starts), (lists, list_starts) = program.words, program.lists
        _account(
            *timer.held, words, *encodings(), starts, lists, list_starts, *program.regions.table,
            instruction_facts(), buffer_bytes, timer.now_ps, program.mark, *room.arrays, self.work, self.stream_ps,
            found,
        )  # fmt: skip
        _, trap, _, _, unknown, begin, end = found.tolist()
        if trap:
            resolve(program, buffer_bytes).require_clean()
        if unknown >= 0:
            raise no_time(unknown, room.ops)
        if self.verifier is not None:
            self.verifier.compare(room.ops[:count], program, (room.spans[:count], room.times))
        timer.now_ps = end
        return begin
