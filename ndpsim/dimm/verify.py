"""Programs timed a second time, command by command, and compared with what was timed fast.

The second way goes on from program to program in ranks of its own, and leaves out nothing. Every span of every
instruction, the end of every DIMM and the counts of commands of every rank must be the same. The commands of the first
programs, up to `JUDGED` of them, go to the independent checker, which has to know the ranks' history from the start.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.timing import Timed, Timer, command_log, require_same
from ndpsim.dram.checker.checker import StreamChecker
from ndpsim.dram.ndp.rank_state import COUNTERS, RankState, new_log
from ndpsim.errors import DisagreementError
from ndpsim.isa.program import Program
from ndpsim.kernels.held import Held

JUDGED: Final = 1_000_000


class Verifier:
    """The second way of a timer's programs. programs, commands: how many it has compared, and judged."""

    def __init__(self, timer: Timer) -> None:
        """Begin with the ranks as they are. What the checker judges begins with idle ones, or there is nothing."""
        self._timer = timer
        self._ranks: RankState = timer.ranks._replace(
            records=timer.ranks.records.copy(), counters=timer.ranks.counters.copy()
        )
        self._held = Held(self._ranks)
        self._checker = None if timer.now_ps else StreamChecker(timer.machine.standard, "rank")
        self.programs = self.commands = 0

    def compare(self, ops: NDArray[np.int64], program: Program, fast: Timed) -> None:
        """Time a program that has been timed fast, while the timer's clock is still where it began.

        Raises DisagreementError, naming the first instruction that differs, or the first command that breaks a rule.
        """
        timer, counters = self._timer, self._ranks.counters
        commands = int((timer.ranks.counters - counters)[:, : COUNTERS.index("trains")].sum())
        log = new_log(commands) if self._checker is not None else None
        general = timer.advance(ops, program, self._held, fast=False, log=log)
        require_same(program, fast, general, (timer.ranks.counters, counters))
        self.programs += 1
        if self._checker is not None and log is not None:
            self._checker.receive(command_log(log, timer.machine))
            self.commands += commands
            if self.commands >= JUDGED:
                self.finish()

    def finish(self) -> None:
        """Have the checker's last word. Raises DisagreementError if a command breaks a rule."""
        if self._checker is None:
            return
        report, self._checker = self._checker.finish(), None
        if not report.legal:
            raise DisagreementError(f"a command of the first {self.programs} programs is too early: {report.first[0]}")
