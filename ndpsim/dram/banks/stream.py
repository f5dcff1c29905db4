"""Bank-level near-data processing: streams of a rank whose banks all work at once, each with a small unit of its own.

`engine.py` does the work; this is its front. STREAM_CONTROLLER.md, "Bank-level streams", says what is modelled, and
what is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ndpsim.dram.banks import engine
from ndpsim.dram.banks.engine import COUNTERS, BanksState, new_banks, power_of, run_banks
from ndpsim.dram.energy.counts import RankActivity
from ndpsim.dram.energy.energy import DramEnergy, dram_energy
from ndpsim.dram.log.log import FIELDS, CommandLog
from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.rank_state import LOG_COLUMNS, Log, new_log
from ndpsim.dram.ndp.timing import timing_of
from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

_MAX_CLOCKS = 1 << 40


@dataclass(frozen=True)
class BankRun:
    """One stream: clocks from start to end, its end in picoseconds (both rounded up), counts of commands, the log."""

    standard: Standard
    cycles: int
    end_ps: int
    counters: dict[str, int]
    log: CommandLog | None

    def energy(self, scale: str = "maximum") -> DramEnergy:
        """Return the energy of the rank; rows count as open all the time but for refreshes, an upper bound."""
        organization, timing, count = self.standard.organization, self.standard.timing, self.counters
        banks = organization.bank_groups * organization.banks
        activity = RankActivity(
            activates=count["ACT"],
            reads=0,
            writes=0,
            refreshes=count["REF"],
            bank_refreshes=0,
            open_clocks=max(self.cycles - count["REF"] * (timing["nRP"] + timing["nRFC"]), 0),
            clocks=self.cycles,
            bank_reads=count["RDab"] * banks,
            bank_writes=count["WRab"] * banks,
        )
        return dram_energy(self.standard, activity, scale)


class LockstepBanks:
    """The banks of one rank, which go on from stream to stream: open rows, refreshes and all.

    activates: how many ACTs may fall into a tFAW window; None as in the standard (4), 0 for as many as the command bus
    carries; a larger number than the standard's also shortens tRRD, in proportion. queue: bursts that a bank's unit can
    hold. first_due: clock of the first refresh (after one interval if None). `now` is the clock from which the next
    stream may start. Raises InputError on a number that cannot be, or a standard whose rules are not kept.
    """

    def __init__(
        self, standard: Standard, *, activates: int | None = None, queue: int = 16, first_due: int | None = None
    ) -> None:
        _require("activates", activates, 0, 4096)
        _require("queue", queue, 2, 4096)
        _require("first_due", first_due, 0, _MAX_CLOCKS)
        self.standard = standard
        self.now = 0
        self._timing = timing_of(standard, 1, queue)
        self._power = power_of(self._timing, activates)
        self._state = new_banks(self._timing, self._power, self._timing.interval if first_due is None else first_due)

    def run(
        self,
        rows: Sequence[int] | NDArray[np.integer],
        columns: int | npt.ArrayLike,
        *,
        write: bool = False,
        service_ps: int = 0,
        start: int | None = None,
        log: bool = False,
    ) -> BankRun:
        """Run a stream that visits these rows, in order, in every bank.

        rows: int[trains], rows of a bank; columns: bursts in each visit, one number or int[trains], from column 0 on;
        service_ps: picoseconds that a bank's unit needs for a burst that it reads, 0 if it always keeps up; start: in
        clocks, `now` or later. Raises InputError if one of these is out of range.
        """
        trains = self._trains(rows, columns)
        start = self.now if start is None else start
        _require("service_ps", service_ps, 0, 1 << 30)
        _require("start", start, self.now, _MAX_CLOCKS)
        before = self._state.counters.copy()
        records = None
        if log:  # once to count the commands, once to write them
            trial = BanksState(*(array.copy() for array in self._state))
            self._advance(trial, trains, write, start, service_ps, records)
            commands = int((trial.counters - before)[: engine.N_TRAINS].sum())
            records = new_log(commands)
        ticks = self._advance(self._state, trains, write, start, service_ps, records)
        t = self._timing
        self.now = max(-(-ticks // t.tck), int(self._state.scalars[rank_state.FREE]))
        counters = dict(zip(COUNTERS, (self._state.counters - before).tolist(), strict=True))
        commands_log = _command_log(records, self.standard) if records is not None else None
        return BankRun(self.standard, -(-ticks // t.tck) - start, -(-ticks // t.ticks), counters, commands_log)

    def _trains(self, rows: Sequence[int] | NDArray[np.integer], columns: int | npt.ArrayLike) -> NDArray[np.int64]:
        """Return int64[trains, 2]: row, and number of columns."""
        organization = self.standard.organization
        row, column = (values if values.size else values.astype(int) for values in map(np.asarray, (rows, columns)))
        for name, values, least, most in (
            ("rows", row, 0, organization.rows - 1),
            ("columns", column, 1, organization.columns),
        ):
            if values.dtype.kind not in "iu" or (values.size and not least <= values.min() <= values.max() <= most):
                raise InputError(f"{name}: expected integers from {least} to {most}, found others")
        if row.ndim != 1 or column.shape not in ((), row.shape):
            raise InputError(f"rows, columns: expected lists of one length, found {row.shape} and {column.shape}")
        trains = np.empty((len(row), 2), np.int64)
        trains[:, 0], trains[:, 1] = row, column
        return trains

    def _advance(
        self, state: BanksState, trains: NDArray[np.int64], write: bool, start: int, service_ps: int, log: Log | None
    ) -> int:
        t = self._timing
        service = 0 if write else service_ps * t.ticks
        return int(run_banks(t, self._power, state, trains, t.writes if write else t.reads, start, service, log))


def bank_stream(
    standard: Standard,
    rows: Sequence[int] | NDArray[np.integer],
    columns: int | npt.ArrayLike,
    *,
    write: bool = False,
    service_ps: int = 0,
    activates: int | None = None,
    queue: int = 16,
    first_due: int | None = None,
    log: bool = False,
) -> BankRun:
    """Time one stream in all banks of an idle rank; the arguments are those of `LockstepBanks` and of its `run`.

    `bank_stream(load_standard("HBM3-6400"), range(64), 32, service_ps=2500).cycles` is how long all banks of a
    pseudo-channel take to read 64 whole rows each, one burst in 2.5 ns at every bank.
    """
    banks = LockstepBanks(standard, activates=activates, queue=queue, first_due=first_due)
    return banks.run(rows, columns, write=write, service_ps=service_ps, log=log)


def _require(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise InputError(f"{name}: expected an integer from {least} to {most}, found {value!r}")


def _command_log(log: Log, standard: Standard) -> CommandLog:
    fields = dict(zip(LOG_COLUMNS, log.records[: log.used[0]].T, strict=True))
    columns = {name: values.astype(FIELDS[name]) for name, values in fields.items()}
    return CommandLog.of(standard.name, "rank", **columns)
