"""The serving engine: it lets requests arrive, schedules steps, and asks a system how long each one takes.

A system whose steps follow from tables (`System.step_times`) is served in one kernel; any other is asked step by step.
docs/SERVING.md says what happens in which order.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import borrowing
from ndpsim.llm.step import Step
from ndpsim.machine.dense_times import DenseTimes, dense_picoseconds
from ndpsim.serving import served as rec
from ndpsim.serving import state as at
from ndpsim.serving.kv_blocks import KvBlocks, new_blocks
from ndpsim.serving.profile import EngineProfile
from ndpsim.serving.scheduler import arrive, complete, schedule
from ndpsim.serving.served import Records, Served, new_records, note_intervals, note_load
from ndpsim.serving.state import Limits, Rules, State, new_state, rules_of
from ndpsim.serving.workload import Workload
from ndpsim.systems.sequences import Sequences
from ndpsim.systems.system import System

Ints = NDArray[np.int64]
CHUNK = 4096
NOW, STEPS, BUSY, SWAPPED, SEEN, CLOCK = range(6)
"""SEEN: until when requests have been heard that a step may schedule."""


class StepTimer(Protocol):
    """Says when a step ends. In `engine.serve` a system does; tests have their own."""

    def forward(self, step: Step, now: int) -> int:
        """Run a step from `now` on, and return when it has ended, in picoseconds."""


def serve(
    system: System,
    workload: Workload,
    limits: Limits,
    profile: EngineProfile,
    tell: Callable[[int], None] = lambda done: None,
) -> Served:
    """Serve requests on a system; `tell` hears how many are done.

    Raises InputError if a request can never be served, or the limits ask for more than the system is ready for.
    """
    limits.require(workload, system.job.shape.context)
    room = system.kv_room()
    tokens = next(iter(room.values()))
    if limits.kv_blocks * limits.block_tokens > tokens:
        tier = next(iter(room))
        raise InputError(f"kv_blocks: expected at most {tokens // limits.block_tokens}, what the {tier} holds, found "
                         f"{limits.kv_blocks}")  # fmt: skip
    if limits.max_num_seqs > system.job.batch or workload.longest > system.job.capacity:
        raise InputError(
            f"max_num_seqs: expected at most {system.job.batch} sequences of {system.job.capacity} tokens, "
            f"found {limits.max_num_seqs} of {workload.longest}"
        )
    times = system.step_times(limits.max_num_batched_tokens, limits.max_num_seqs)
    cards = system.devices.config.gpu.count.value if system.several_cards else 1
    engine = Engine(workload, limits, profile, _copies(system, limits), cards)
    if times is None:
        sequences = Sequences(system)
        engine.run(sequences, tell, sequences)
    else:
        engine.run_tables(times, tell)
    return engine.served()


def _copies(system: System, limits: Limits) -> Ints:
    """Return the picoseconds of copying 0, 1, ... blocks between the two tiers."""
    most = limits.swap_blocks if limits.swapping else 0
    size = limits.block_tokens * system.job.shape.kv_bytes_per_token()
    pcie = system.devices.pcie
    return np.array([0, *(pcie.picoseconds(count * size) for count in range(1, most + 1))])


class Engine:
    """Serves requests under limits; copies: see `_copies`, for as many blocks as can be swapped; cards: of a system."""

    def __init__(
        self, workload: Workload, limits: Limits, profile: EngineProfile, copies: Ints | None = None, cards: int = 1
    ) -> None:
        self.workload, self.limits = workload, limits
        self.rules = rules_of(workload, limits, profile.front_end_ps)
        self.state = new_state(self.rules, limits.swap_blocks)
        self.kv = new_blocks(limits.kv_blocks)
        self.records = new_records()
        self.between = np.array([profile.step_ps(cards), profile.step_sequence_ps])
        self.copies = np.zeros(limits.swap_blocks + 1, np.int64) if copies is None else copies
        self.clock = np.zeros(CLOCK, np.int64)
        self.ahead = profile.async_scheduling.value

    @property
    def done(self) -> int:
        """How many requests have their last token."""
        return int(self.state.counts[at.DONE])

    def run_tables(self, times: DenseTimes, tell: Callable[[int], None] = lambda done: None) -> None:
        """Serve all requests with steps whose times are tables."""
        while self.done < len(self.workload):
            _steps(
                self.rules, self.state, self.kv, self.records, self.between, self.copies, self.clock, self.ahead,
                times, CHUNK,
            )  # fmt: skip
            tell(self.done)

    def run(
        self, timer: StepTimer, tell: Callable[[int], None] = lambda done: None, places: Sequences | None = None
    ) -> None:
        """Serve all requests with steps that a timer is asked for; places: hears who comes and goes."""
        while self.done < len(self.workload):
            self.step(timer, places)
            tell(self.done)

    def step(self, timer: StepTimer, places: Sequences | None = None) -> Step:
        """Run one step, and return what it was."""
        state, counts = self.state, self.state.counts
        before = set(state.running[: counts[at.RUNNING]].tolist())
        _begin(self.rules, state, self.kv, self.records, self.clock, self.ahead)
        running = state.running[: counts[at.SCHEDULED]].copy()
        if places is not None:
            for place in state.left[: counts[at.LEFT]].tolist():
                places.leave(place)
            for r in running.tolist():
                if r not in before:
                    places.enter(int(state.place[r]), int(state.computed[r]))
        new, computed = state.new[: len(running)], state.computed[running]
        logits = int((computed + new == self.rules.prompt[running] + state.produced[running]).sum())
        step = Step(tuple(new.tolist()), tuple(computed.tolist()), logits, tuple(state.place[running].tolist()))
        begin = int(self.clock[NOW]) + int(self.copies[counts[at.SWAPPED_OUT]] + self.copies[counts[at.SWAPPED_IN]])
        end = timer.forward(step, begin)
        _end(self.rules, state, self.kv, self.records, self.between, self.clock, end)
        if places is not None:
            for place in state.left[: counts[at.LEFT]].tolist():
                places.leave(place)
        return step

    def served(self) -> Served:
        """Return what came of it."""
        state, work, clock = self.state, self.workload, self.clock
        fields: dict[str, Any] = {
            name: getattr(state, name)
            for name in ("first_scheduled", "first_token", "last_token", "preemptions", "cached")
        }
        return Served(
            arrival=work.arrivals,
            prompts=work.prompts,
            outputs=work.outputs,
            intervals=self.records.intervals,
            load=self.records.points[: self.records.place[rec.KEPT]].copy(),
            steps=int(clock[STEPS]),
            kv_blocks=self.limits.kv_blocks,
            swapped=int(clock[SWAPPED]),
            end=int(clock[NOW]),
            busy=int(clock[BUSY]),
            **fields,
        )


@borrowing
def _begin(rules: Rules, state: State, kv: KvBlocks, records: Records, clock: Ints, ahead: bool) -> None:
    """Let requests arrive, and schedule a step; ahead: while the step before runs."""
    counts = state.counts
    arrive(rules, state, clock[SEEN] if ahead else clock[NOW])
    if counts[at.RUNNING] == 0 and counts[at.WAITING] == 0:
        clock[NOW] = max(clock[NOW], rules.ready[counts[at.ARRIVED]])
        arrive(rules, state, clock[NOW])
    clock[SEEN] = clock[NOW]
    schedule(rules, state, kv, clock[NOW])
    note_load(records, state, kv, clock[NOW])
    clock[SWAPPED] += counts[at.SWAPPED_OUT]


@borrowing
def _end(rules: Rules, state: State, kv: KvBlocks, records: Records, between: Ints, clock: Ints, end: int) -> None:
    """End a step whose last kernel has ended."""
    clock[BUSY] += end - clock[NOW]
    end += between[0] + between[1] * state.counts[at.SCHEDULED]
    note_intervals(records, state, rules.prompt, end)
    complete(rules, state, kv, end)
    clock[NOW] = end
    clock[STEPS] += 1


@borrowing
def _steps(
    rules: Rules, state: State, kv: KvBlocks, records: Records, between: Ints, copies: Ints, clock: Ints,
    ahead: bool, times: DenseTimes, most: int,
) -> None:  # fmt: skip
    """Run up to so many steps."""
    counts = state.counts
    for _ in range(most):
        if counts[at.DONE] == len(rules.ready):
            break
        _begin(rules, state, kv, records, clock, ahead)
        scheduled = counts[at.SCHEDULED]
        logits = 0
        for i in range(scheduled):
            r = state.running[i]
            state.left[i] = state.computed[r]
            logits += state.computed[r] + state.new[i] == rules.prompt[r] + state.produced[r]
        forward = dense_picoseconds(times, state.new[:scheduled], state.left[:scheduled], logits)
        swap = copies[counts[at.SWAPPED_OUT]] + copies[counts[at.SWAPPED_IN]]
        _end(rules, state, kv, records, between, clock, clock[NOW] + swap + forward)
