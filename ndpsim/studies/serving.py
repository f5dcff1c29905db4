"""A measured serving run beside the GPU model: continuous batching of the same requests, step by step.

The engine is modelled as vLLM's first-come-first-served scheduler with chunked prefills: every step gives one token to
each running sequence, and what is left of its token budget to prompts. KV blocks are given out as tokens come; when
none is left, the sequence that was admitted last is put back to the head of the queue. Free blocks keep their content
until they are given out again, the longest free first, so that such a sequence computes anew only what was overwritten.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.gpu.kernels import Floats
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.graph import graph
from ndpsim.llm.shape import ModelShape
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.studies.definition import read_definition
from ndpsim.tables import Table

Count = Annotated[int, Field(gt=0)]


class Serving(Table):
    """A measured run: its engine's parameters, and the file of its requests."""

    source: str
    model: str
    card: str
    requests: str
    token_budget: Count
    sequences: Count
    kv_tokens: Count
    block_tokens: Count
    engine_us: Annotated[float, Field(ge=0)]
    measured_s: Annotated[float, Field(gt=0)]


class Request(NamedTuple):
    """A request: seconds of its arrival, tokens in and out, and the measured milliseconds per output token."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    measured_ms: float


class Replay(NamedTuple):
    """Milliseconds per output token [requests], simulated and measured; steps, seconds of the run, the card."""

    simulated_ms: Floats
    measured_ms: Floats
    steps: int
    seconds: float
    measured_s: float
    origin: str

    def record(self) -> dict[str, Any]:
        """Return the figures that a report prints."""
        figures: dict[str, Any] = {"card": self.origin, "steps": self.steps}
        figures |= {"simulated_s": self.seconds, "measured_s": self.measured_s}
        for name in ("simulated_ms", "measured_ms"):
            times = getattr(self, name)
            figures[name] = {
                "mean": float(times.mean()),
                "median": float(np.median(times)),
                "95th percentile": float(np.quantile(times, 0.95)),
            }
        return {**figures, "mean_error": self.error}

    @property
    def error(self) -> float:
        """Relative error of the mean time per output token."""
        return float(self.simulated_ms.mean() / self.measured_ms.mean() - 1)


def serving() -> Serving:
    """Return the run that ships."""
    return read_definition("serving", Serving)


def requests_of(definition: Serving) -> list[Request]:
    """Return the requests of a run, in order of arrival."""
    path = workloads_dir() / "studies" / definition.requests
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        return [Request(float(a), int(i), int(o), float(ms)) for a, i, o, ms in table]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected lines of four numbers, found: {str(error).splitlines()[0]}") from None


@dataclass(eq=False, slots=True)
class _Sequence:
    """A request in the engine: `total` tokens exist, `computed` of them are in the KV cache.

    Of one that was put back, `computed` were when it was.
    """

    request: Request
    total: int
    computed: int = 0
    blocks: int = 0
    first_us: float = 0.0
    last_us: float = 0.0

    @property
    def produced(self) -> int:
        return self.total - self.request.input_tokens


class _Blocks:
    """Free KV blocks, in the order in which they are given out again, as runs of one former owner."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._runs: deque[tuple[_Sequence | None, int]] = deque([(None, count)])

    def take(self, count: int) -> None:
        """Give out blocks; the tail of a former owner's tokens goes first."""
        self.free -= count
        while count:
            owner, run = self._runs.popleft()
            if run > count:
                self._runs.appendleft((owner, run - count))
            count -= min(run, count)

    def give_back(self, owner: _Sequence | None, count: int) -> None:
        """Take blocks back, with what they hold of `owner`."""
        self.free += count
        self._runs.append((owner, count))

    def kept(self, owner: _Sequence) -> int:
        """Return how many free blocks still hold the first tokens of `owner`."""
        return sum(run for former, run in self._runs if former is owner)

    def claim(self, owner: _Sequence) -> None:
        """Take those blocks out of the free ones."""
        self.free -= self.kept(owner)
        self._runs = deque((former, run) for former, run in self._runs if former is not owner)


class _Engine:
    def __init__(self, definition: Serving) -> None:
        self.definition = definition
        self.blocks = _Blocks(definition.kv_tokens // definition.block_tokens)
        self.running: list[_Sequence] = []
        self.waiting: deque[_Sequence] = deque()

    def schedule(self) -> list[tuple[_Sequence, int]]:
        """Return the sequences of the next step with their new tokens."""
        budget, chosen, preempted = self.definition.token_budget, [], False
        index = 0
        while index < len(self.running) and budget:
            one = self.running[index]
            new = min(one.total - one.computed, budget)
            while not self._allocate(one, new):
                preempted = True
                last = self.running.pop()
                self._put_back(last)
                if last is one:
                    new = 0
                    break
            if new:
                chosen.append((one, new))
                budget -= new
            index += 1
        while self.waiting and budget and not preempted and len(self.running) < self.definition.sequences:
            one = self.waiting[0]
            kept = self.blocks.kept(one)
            computed = min(kept * self.definition.block_tokens, one.computed)
            new = min(one.total - computed, budget)
            if -(-(computed + new) // self.definition.block_tokens) > self.blocks.free:
                break
            self.blocks.claim(one)
            one.blocks, one.computed = kept, computed
            self._allocate(one, new)
            self.running.append(self.waiting.popleft())
            chosen.append((one, new))
            budget -= new
        return chosen

    def finish(self, one: _Sequence) -> None:
        """Let a sequence go."""
        self.blocks.give_back(None, one.blocks)
        self.running.remove(one)

    def _allocate(self, one: _Sequence, new: int) -> bool:
        needed = -(-(one.computed + new) // self.definition.block_tokens) - one.blocks
        if needed > self.blocks.free:
            return False
        self.blocks.take(needed)
        one.blocks += needed
        return True

    def _put_back(self, one: _Sequence) -> None:
        self.blocks.give_back(one, one.blocks)
        one.blocks = 0
        self.waiting.appendleft(one)


def replay(
    definition: Serving, model: GpuModel | None = None, tell: Callable[[int], None] = lambda done: None
) -> Replay:
    """Serve the requests of a run on the GPU model; `tell` hears how many are done."""
    requests = requests_of(definition)
    largest = max(one.input_tokens + one.output_tokens for one in requests)
    if largest > definition.kv_tokens // definition.block_tokens * definition.block_tokens:
        raise InputError(f"kv_tokens: expected room for the longest request, {largest}, found {definition.kv_tokens}")
    model = model or GpuModel.load(definition.card)
    shape = load_shape(definition.model)
    engine = _Engine(definition)
    coming = deque(_Sequence(one, one.input_tokens) for one in requests)
    everything = list(coming)
    now, steps, done = 0.0, 0, 0
    while done < len(everything):
        if not engine.running and not engine.waiting:
            now = max(now, coming[0].request.arrival_s * 1e6)
        while coming and coming[0].request.arrival_s * 1e6 <= now:
            engine.waiting.append(coming.popleft())
        batch = engine.schedule()
        now += _step(model, shape, batch) + definition.engine_us
        steps += 1
        for one, new in batch:
            one.computed += new
            if one.computed == one.total:  # a step that completes a sequence's tokens yields its next one
                one.total += 1
                one.last_us = now
                if one.produced == 1:
                    one.first_us = now
                if one.produced == one.request.output_tokens:
                    engine.finish(one)
                    done += 1
        tell(done)
    simulated = [(one.last_us - one.first_us) / max(one.request.output_tokens - 1, 1) / 1e3 for one in everything]
    return Replay(
        np.array(simulated),
        np.array([one.measured_ms for one in requests]),
        steps,
        now / 1e6,
        definition.measured_s,
        model.origin,
    )


def _step(model: GpuModel, shape: ModelShape, batch: list[tuple[_Sequence, int]]) -> float:
    step = Step(tuple(new for _, new in batch), tuple(one.computed for one, _ in batch))
    return step_microseconds(model, shape, graph(shape, step))
