"""The serving engine: it lets requests arrive, schedules steps, and asks a system how long each one takes.

A system whose steps follow from tables (`System.step_times`) is served in one kernel; any other is asked step by step.
docs/SERVING.md says what happens in which order.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import borrowing
from ndpsim.llm.step import Step
from ndpsim.machine.dense_times import DenseTimes, dense_picoseconds
from ndpsim.machine.meter import Timeline
from ndpsim.serving import scheduler as kernels
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


class Scheduler(Protocol):
    """Decides what steps compute, on the engine's arrays; a system may bring its own (`System.scheduler`)."""

    def schedule(self, rules: Rules, state: State, kv: KvBlocks, now: int) -> None:
        """Set `new` of the first SCHEDULED running requests, as `ndpsim.serving.scheduler` does."""

    def complete(self, rules: Rules, state: State, kv: KvBlocks, end: int) -> None:
        """Note that the step has ended."""


def serve(
    system: System,
    workload: Workload,
    limits: Limits,
    profile: EngineProfile,
    tell: Callable[[int], None] = lambda done: None,
    timeline: bool = False,
) -> Served:
    """Serve requests on a system.

    tell: hears how many are done; timeline: keep what ran when on which device, in the system's meter, which grows
    from step to step.

    Raises InputError if a request can never be served, or the limits ask for more than the system is ready for.
    """
    limits = _limits_on(system, workload, limits)
    own = system.scheduler()
    times = system.step_times(limits.max_num_batched_tokens, limits.max_num_seqs) if own is None else None
    cards = system.devices.config.gpu.count.value if system.several_cards else 1
    engine = Engine(workload, limits, profile, _copies(system, limits), cards, own)
    if times is None or timeline:
        places = Sequences(system)
        while engine.done < len(workload):
            engine.step(places, places)
            if not timeline:
                system.meter.spans = Timeline()
            tell(engine.done)
    else:
        while engine.done < len(workload):
            engine.run_tables(times, CHUNK)
            tell(engine.done)
        system.meter.busy["gpu", "steps"] += int(engine.clock[BUSY])
    return engine.served()


def _limits_on(system: System, workload: Workload, limits: Limits) -> Limits:
    """Return the limits as they are on a system. Raises InputError if they ask for too much."""
    limits.require(workload, system.job.shape.context)
    if not system.shares_cache:
        limits = replace(limits, prefix_caching=False)
    tiers = [(f"the {tier}", tokens) for tier, tokens in system.kv_room().items()]
    for name, blocks in (("kv_blocks", limits.kv_blocks), ("swap_blocks", limits.swap_blocks)):
        if not blocks:
            continue
        tier, tokens = tiers.pop(0) if tiers else ("a second tier", 0)
        if blocks * limits.block_tokens > tokens:
            most = tokens // limits.block_tokens
            raise InputError(f"{name}: expected at most {most}, what {tier} holds, found {blocks}")
    if limits.max_num_seqs > system.job.batch or workload.longest > system.job.capacity:
        raise InputError(
            f"max_num_seqs: expected at most {system.job.batch} sequences of {system.job.capacity} tokens, "
            f"found {limits.max_num_seqs} of {workload.longest}"
        )
    return limits


def _copies(system: System, limits: Limits) -> Ints:
    """Return the picoseconds of copying 0, 1, ... blocks between the two tiers."""
    most = limits.swap_blocks if limits.swapping else 0
    size = limits.block_tokens * system.kv_token_bytes
    pcie = system.devices.pcie
    return np.array([0, *(pcie.picoseconds(count * size) for count in range(1, most + 1))])


class Engine:
    """Serves requests under limits; copies: see `_copies`, for as many blocks as can be swapped; cards: of a
    system; scheduler: another one than that of docs/SERVING.md."""

    def __init__(
        self,
        workload: Workload,
        limits: Limits,
        profile: EngineProfile,
        copies: Ints | None = None,
        cards: int = 1,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.workload, self.limits = workload, limits
        self.rules = rules_of(workload, limits, profile.front_end_ps)
        self.state = new_state(self.rules, limits.swap_blocks)
        self.kv = new_blocks(limits.kv_blocks)
        self.records = new_records()
        self.scheduler = scheduler or kernels
        self.between = np.array([profile.step_ps(cards), profile.step_sequence_ps])
        self.copies = np.zeros(limits.swap_blocks + 1, np.int64) if copies is None else copies
        self.clock = np.zeros(CLOCK, np.int64)
        self.ahead = profile.async_scheduling.value

    @property
    def done(self) -> int:
        """How many requests have their last token."""
        return int(self.state.counts[at.DONE])

    def run_tables(self, times: DenseTimes, most: int) -> None:
        """Run up to so many steps, whose times are tables."""
        _steps(
            self.rules, self.state, self.kv, self.records, self.between, self.copies, self.clock, self.ahead, times,
            most,
        )  # fmt: skip

    def step(self, timer: StepTimer, places: Sequences | None = None) -> Step | None:
        """Run one step, and return what it was, None if it computes nothing; places: hears who comes and goes."""
        state, counts = self.state, self.state.counts
        before = set(state.running[: counts[at.RUNNING]].tolist())
        _begin(self.rules, state, self.clock, self.ahead)
        now = int(self.clock[NOW])
        self.scheduler.schedule(self.rules, state, self.kv, now)
        note_load(self.records, state, self.kv, now)
        self.clock[SWAPPED] += counts[at.SWAPPED_OUT]
        running = state.running[: counts[at.SCHEDULED]].copy()
        if places is not None:
            for place in state.left[: counts[at.LEFT]].tolist():
                places.leave(place)
            for r in running.tolist():
                if r not in before:
                    places.enter(int(state.place[r]), int(state.computed[r]))
        new, computed = state.new[: len(running)], state.computed[running]
        logits = int((computed + new == self.rules.prompt[running] + state.produced[running]).sum())
        end = now + int(self.copies[counts[at.SWAPPED_OUT]] + self.copies[counts[at.SWAPPED_IN]])
        step = None
        if len(running):  # else the first of those that run gave way to others
            step = Step(tuple(new.tolist()), tuple(computed.tolist()), logits, tuple(state.place[running].tolist()))
            end = timer.forward(step, end)
        end = int(_end(self.rules, state, self.records, self.between, self.clock, end))
        self.scheduler.complete(self.rules, state, self.kv, end)
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
def _begin(rules: Rules, state: State, clock: Ints, ahead: bool) -> None:
    """Let requests arrive that a step may schedule; ahead: those that came before the step before."""
    counts = state.counts
    arrive(rules, state, clock[SEEN] if ahead else clock[NOW])
    if counts[at.RUNNING] == 0 and counts[at.WAITING] == 0:
        clock[NOW] = max(clock[NOW], rules.ready[counts[at.ARRIVED]])
        arrive(rules, state, clock[NOW])
    clock[SEEN] = clock[NOW]


@borrowing
def _end(rules: Rules, state: State, records: Records, between: Ints, clock: Ints, end: int) -> int:
    """Return the end of a step whose last kernel has ended."""
    clock[BUSY] += end - clock[NOW]
    end += between[0] + between[1] * state.counts[at.SCHEDULED]
    note_intervals(records, state, rules.prompt, end)
    clock[NOW] = end
    clock[STEPS] += 1
    return int(end)


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
        _begin(rules, state, clock, ahead)
        schedule(rules, state, kv, clock[NOW])
        note_load(records, state, kv, clock[NOW])
        clock[SWAPPED] += counts[at.SWAPPED_OUT]
        scheduled = counts[at.SCHEDULED]
        logits = 0
        for i in range(scheduled):
            r = state.running[i]
            state.left[i] = state.computed[r]
            logits += state.computed[r] + state.new[i] == rules.prompt[r] + state.produced[r]
        end = clock[NOW] + copies[counts[at.SWAPPED_OUT]] + copies[counts[at.SWAPPED_IN]]
        if scheduled > 0:
            end += dense_picoseconds(times, state.new[:scheduled], state.left[:scheduled], logits)
        end = _end(rules, state, records, between, clock, end)
        complete(rules, state, kv, end)
