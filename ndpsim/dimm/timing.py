"""When every instruction of a program runs: DRAM streams by the stream engine, the rest by the classes of ndp.toml.

`timing_kernel` does the work; this is its front, and what a run tells about itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm import decode, timing_kernel
from ndpsim.dimm.config import Machine
from ndpsim.dimm.energy import energy_figures, ndp_work
from ndpsim.dimm.resolve import Resolved, resolve
from ndpsim.dimm.timing_kernel import Clocks, Ints, Model, holds, room_to_run, run_all
from ndpsim.dram.log.log import FIELDS, CommandLog
from ndpsim.dram.ndp import rank_state
from ndpsim.dram.ndp.rank_state import COUNTERS, LOG_COLUMNS, Log, RankState, new_log, new_state
from ndpsim.dram.ndp.timing import timing_of
from ndpsim.errors import DisagreementError, InputError, ProgramError
from ndpsim.isa import codes, facts
from ndpsim.isa.assembly import disassemble_word
from ndpsim.isa.encoding import array_to_words
from ndpsim.isa.facts import instruction_facts
from ndpsim.isa.program import Program
from ndpsim.isa.spec import isa
from ndpsim.kernels.held import Held

Timed = tuple[Ints, Ints]
"""Spans int64[n, 2] of instructions, and times int64[3, DIMMs] of `timing_kernel`."""


@dataclass(frozen=True)
class RunTime:
    """When a program ran.

    start_ps: when the host began to send it; total_ps: from there to the end of the last DIMM; finish_ps,
    upload_ps: int64[DIMMs], when each DIMM ended, and when it had received its program; spans: int64[instructions,
    2], start and end of each instruction (-1 if it never ran); counters: int64[DIMMs, ranks, 7] (`COUNTERS`); log:
    the DRAM commands, if asked for.
    """

    machine: Machine
    resolved: Resolved
    start_ps: int
    total_ps: int
    finish_ps: NDArray[np.int64]
    upload_ps: NDArray[np.int64]
    spans: NDArray[np.int64]
    counters: NDArray[np.int64]
    log: CommandLog | None

    @property
    def dram_bytes(self) -> int:
        """Bytes moved between DRAM and units, whole bursts."""
        return int(self.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum()) * codes.ATOM_BYTES

    @property
    def row_hit_rate(self) -> float:
        """Share of bursts that needed no activate."""
        bursts = int(self.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum())
        return 1.0 - int(self.counters[:, :, COUNTERS.index("ACT")].sum()) / bursts if bursts else 0.0

    def class_ps(self) -> dict[str, int]:
        """Return the busy time by timing class, summed over all DIMMs."""
        by_opcode = isa().by_opcode
        ran = self.spans[:, 0] >= 0
        took = self.spans[:, 1] - self.spans[:, 0]
        totals = {"upload": int((self.upload_ps - self.start_ps).sum())}
        for code in np.unique(self.resolved.ops[ran, decode.OP]):
            name = by_opcode[int(code)].timing
            totals[name] = totals.get(name, 0) + int(took[ran & (self.resolved.ops[:, decode.OP] == code)].sum())
        return totals

    def _stream_spans(self) -> NDArray[np.bool_]:
        streams = instruction_facts()[self.resolved.ops[:, decode.OP], facts.CLASS] == facts.STREAM
        return np.asarray(streams & (self.spans[:, 0] >= 0))

    def stream_ps(self) -> int:
        """Return the time in which at least one DIMM moved matrix rows (the union of all stream instructions)."""
        spans = self.spans[self._stream_spans()]
        if not len(spans):
            return 0
        spans = spans[np.argsort(spans[:, 0], kind="stable")]
        reach = np.maximum.accumulate(spans[:, 1])
        gaps = np.maximum(spans[1:, 0] - reach[:-1], 0).sum()
        return int(reach[-1] - spans[0, 0] - gaps)

    def stream_ps_by_dimm(self) -> NDArray[np.int64]:
        """Return for each DIMM the time in its stream instructions, int64[DIMMs]."""
        took = np.where(self._stream_spans(), self.spans[:, 1] - self.spans[:, 0], 0)
        return np.array([part.sum() for part in np.split(took, self.resolved.starts[1:-1])], np.int64)

    def summary(self) -> dict[str, object]:
        """Return the figures that a report prints: times in seconds, bytes, command counts, joules."""
        seconds = self.total_ps * 1e-12
        stream = self.stream_ps() * 1e-12
        return {
            "simulated_s": seconds,
            "dram_bytes": self.dram_bytes,
            "stream_s": stream,
            "stream_gb_per_s": self.dram_bytes / stream / 1e9 if stream else 0.0,
            "row_hit_rate": self.row_hit_rate,
            "commands": {
                name: int(self.counters[:, :, i].sum()) for i, name in enumerate(COUNTERS) if name != "trains"
            },
            "dimm_bytes": [
                int(b) for b in self.counters[:, :, [rank_state.N_RD, rank_state.N_WR]].sum((1, 2)) * codes.ATOM_BYTES
            ],
            **energy_figures(self.machine, self.counters, ndp_work(self.resolved), self.total_ps),
        }


def time_program(program: Program, machine: Machine, *, log: bool = False) -> RunTime:
    """Time a program on an idle machine, without its data.

    Raises ProgramError if the program traps.
    """
    resolved = resolve(program, machine.buffer_bytes).require_clean()
    return Timer(machine).run(program, resolved, log=log)


def require_fit(program: Program, machine: Machine) -> None:
    """Raise InputError if a region reaches beyond the DIMM."""
    last = program.regions.last
    if last is not None and last.end > machine.atoms:
        raise InputError(
            f"region {last.name}: expected an end within the {machine.atoms} atoms of a DIMM, found {last.end}"
        )


class Timer:
    """The clocks of a machine's DIMMs, which go on from program to program: open rows, refreshes and all.

    `now_ps` is when the next program starts to be sent; it may be moved forward between programs.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.now_ps = 0
        self.model = _model(machine)
        self._held = Held(self.model)
        interval, ranks = self.model.timing.interval, self.model.clocks.ranks
        staggered = [interval * (rank + 1) // ranks for rank in range(ranks)]  # for the current that a REF draws
        self.ranks = new_state(self.model.timing, staggered * machine.dimms)
        self._held_ranks = Held(self.ranks)

    def run(self, program: Program, resolved: Resolved, *, log: bool = False) -> RunTime:
        """Time a program that has been checked, and advance to its end.

        With `log` it is timed twice: as it is without, which counts its commands, and then command by command, with
        none left out. Both must agree, so that a log is that of what is timed fast. Raises InputError if the program
        is for another number of DIMMs, or for larger ones.
        """
        before, commands = self.ranks.counters.copy(), None
        self.require_own(program)
        fast = None
        if log:
            trial = self.ranks._replace(records=self.ranks.records.copy(), counters=before.copy())
            fast = self.advance(resolved.ops, program, Held(trial))
            commands = new_log(int((trial.counters - before)[:, : COUNTERS.index("trains")].sum()))
        start = self.now_ps
        spans, times = self.advance(resolved.ops, program, log=commands)
        if fast is not None:
            require_same(program, fast, (spans, times), (trial.counters, self.ranks.counters))
        self.now_ps = int(times[timing_kernel.FINISH].max())
        counters = (self.ranks.counters - before).reshape(self.machine.dimms, self.model.clocks.ranks, -1)
        commands_log = command_log(commands, self.machine) if commands else None
        total = self.now_ps - start
        return RunTime(
            self.machine,
            resolved,
            start,
            total,
            times[timing_kernel.FINISH],
            times[timing_kernel.UPLOAD],
            spans,
            counters,
            commands_log,
        )

    def advance(
        self, ops: Ints, program: Program, ranks: Held[RankState] | None = None, *, fast: bool = True,
        log: Log | None = None,
    ) -> Timed:  # fmt: skip
        """Time a program that has been checked from `now_ps` on; `ranks`, its own if None, and the log change.

        ops: those of `Resolved`; fast: whether what is proved not to matter is left out, see `run_stream`. Returns
        spans int64[n, 2] as in `RunTime`, and times int64[3, DIMMs] of `timing_kernel`. `now_ps` stays.
        """
        starts, (lists, list_starts) = program.words.starts, program.lists
        spans, times = np.empty((len(ops), 2), np.int64), np.empty((3, len(starts) - 1), np.int64)
        held = self._held_ranks if ranks is None else ranks
        room = np.empty(room_to_run(len(ops), len(starts) - 1), np.int64)
        unknown = run_all(self._held, held, ops, starts, lists, list_starts, self.now_ps, times, spans, room, fast, log)
        if unknown >= 0:
            raise no_time(unknown, ops)
        return spans, times

    def require_own(self, program: Program) -> None:
        """Raise InputError if a program is for another number of DIMMs, or for larger ones."""
        found = len(program.regions)
        if found != self.machine.dimms:
            raise InputError(f"program: expected {self.machine.dimms} DIMMs as in its machine, found {found}")
        require_fit(program, self.machine)

    @property
    def held(self) -> tuple[Held[Model], Held[RankState]]:
        """The machine and its ranks, as kernels take them."""
        return self._held, self._held_ranks

    @property
    def counters(self) -> NDArray[np.int64]:
        """Commands of all programs so far, int64[DIMMs, ranks, 7] (`COUNTERS`)."""
        return self.ranks.counters.reshape(self.machine.dimms, self.model.clocks.ranks, -1)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the clocks of all ranks as arrays; with `restore` another such timer goes on from them."""
        ranks = self.ranks
        return {
            "now_ps": np.array([self.now_ps]), "records": ranks.records.copy(), "counters": ranks.counters.copy()
        }  # fmt: skip

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        self.now_ps = int(state["now_ps"][0])
        for name in state.keys() - {"now_ps"}:
            getattr(self.ranks, name)[:] = state[name]


def no_time(instruction: int, ops: Ints) -> ProgramError:
    """Return the error of an instruction, by its index, of a class that the clock does not know."""
    return ProgramError(f"instruction {instruction}: opcode {int(ops[instruction, decode.OP]):#04x} has no time")


def require_same(program: Program, fast: Timed, general: Timed, counters: tuple[Ints, Ints]) -> None:
    """Raise DisagreementError unless a program took the same time, and commands, both ways.

    counters: of all programs so far, timed fast and command by command.
    """
    starts = program.words.starts
    differ = (fast[0] != general[0]).any(axis=1)
    if differ.any():
        at = int(np.flatnonzero(differ)[0])
        dimm = int(np.searchsorted(starts, at, side="right")) - 1
        word = array_to_words(program.words.values[at : at + 1])[0]
        raise DisagreementError(
            f"DIMM {dimm}, instruction {at - int(starts[dimm])} ({disassemble_word(word)}): runs from "
            f"{general[0][at, 0]} to {general[0][at, 1]} ps command by command, "
            f"from {fast[0][at, 0]} to {fast[0][at, 1]} ps timed fast"
        )
    ranks = np.flatnonzero((counters[0] != counters[1]).any(axis=1))
    if len(ranks):
        one, other = (dict(zip(COUNTERS, count[ranks[0]].tolist(), strict=True)) for count in counters)
        raise DisagreementError(f"rank {ranks[0]} of all: {other} command by command, {one} timed fast")


def _model(machine: Machine) -> Model:
    config = machine.config
    unit = config.unit
    standard = machine.standard
    clocks = Clocks(
        ranks=machine.ranks,
        subchannels=standard.organization.channels,
        burst=standard.timing["nBL"],
        read_latency=standard.read_latency,
        write_latency=standard.write_latency,
        core=machine.core_ps,
        array_latency=unit.array_latency.value * machine.core_ps,
        macs_16bit=unit.macs_per_cycle_16bit.value,
        macs_8bit=unit.macs_per_cycle_8bit.value,
        pass_bursts=unit.return_queue.value if unit.loading.value == "alternating" else 0,
        reduction=unit.reduction_cycles.value,
        lanes=config.vector.lanes.value,
        dividers=config.vector.dividers.value,
        vector_latency=config.vector.latency.value * machine.core_ps,
        dimms_per_channel=config.channel.dimms_per_channel.value,
        link_byte=config.link.picoseconds_per_byte.value,
        link_latency=config.link.latency_ps.value,
        barrier_latency=config.barrier.latency_ps.value,
    )
    timing = timing_of(standard, unit.activate_ahead.value, unit.return_queue.value)
    return Model(clocks, timing, machine.address_map.arrays(), holds(clocks, timing), instruction_facts())


def command_log(log: Log, machine: Machine) -> CommandLog:
    """Sort the records by cycle, DIMM and rank, and number the ranks within their sub-channels."""
    fields = dict(zip(LOG_COLUMNS, log.records[: log.used[0]].T, strict=True))
    order = np.lexsort((fields["rank"], fields["dimm"], fields["cycle"]))
    ranks = machine.standard.organization.ranks
    fields["channel"], fields["rank"] = np.divmod(fields["rank"], ranks)
    columns = {name: values[order].astype(FIELDS[name]) for name, values in fields.items()}
    return CommandLog.of(machine.standard.name, "rank", **columns)
