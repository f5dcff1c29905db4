"""Runs of systems for studies: a case is what to run, an outcome what came of it; several processes share the work.

A case simulates the first tokens of an output: the prompt, of which the first one comes, and a pass for each other. The
mean of these passes stands for all of the output, with what attention in DIMMs takes longer over the contexts to come.
"""

import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from statistics import fmean
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape

if TYPE_CHECKING:
    from ndpsim.dimm.config import Machine
    from ndpsim.llm.shape import ModelShape

_POLL_S: Final = 0.1
_SAMPLE: Final = 8
_done: Any = None
"""In a worker: how many cases all workers have ended, a shared number."""


class Lengths(NamedTuple):
    """Tokens of each prompt and output, and of the output in the activation trace, which may be shorter."""

    prompt: int
    output: int
    traced: int


@dataclass(frozen=True)
class Case:
    """A run of a system. tokens: of the output, simulated: at least two, or all; changes: paths of `--set` with their
    values, sorted."""

    system: str
    model: str
    batch: int
    lengths: Lengths
    tokens: int
    changes: tuple[tuple[str, Any], ...] = ()
    preset: str = "paper"

    @staticmethod
    def of(system: str, model: str, batch: int, lengths: Lengths, tokens: int, changes: Mapping[str, Any]) -> "Case":
        """Return the case with these changes, of which `preset` names the preset of the trace."""
        rest = {path: value for path, value in changes.items() if path != "preset"}
        return Case(system, model, batch, lengths, tokens, tuple(sorted(rest.items())), changes.get("preset", "paper"))

    @property
    def trace(self) -> tuple[Any, ...]:
        """What the activation trace depends on: cases that agree in it run in one process, one after the other."""
        changes = [one for one in self.changes if one[0].startswith(("model.", "preset."))]
        return (self.model, self.batch, self.lengths, self.preset, *changes)


@dataclass(frozen=True)
class Outcome:
    """What a case took, in seconds: the prompt, each simulated pass after it, and all figures of the run.

    growth_s: what attention takes longer in a pass, on average over the whole output, than in a simulated one.
    """

    case: Case
    prompt_s: float
    pass_s: tuple[float, ...]
    growth_s: float
    figures: Mapping[str, Any]

    @property
    def passes(self) -> int:
        """How many passes the whole output takes: its first token is the prompt's."""
        return self.case.lengths.output - 1

    @property
    def seconds(self) -> float:
        """Return the time of the prompt and of all passes of the output."""
        return self.prompt_s + (self.passes * (fmean(self.pass_s) + self.growth_s) if self.passes else 0.0)

    @property
    def tokens_per_s(self) -> float:
        """Return the tokens of all sequences by the time of prompt and output."""
        return self.case.batch * self.case.lengths.output / self.seconds

    def whole(self, seconds: float) -> float:
        """Return what an account of the simulated passes would be over the whole output."""
        return seconds * self.passes / len(self.pass_s) if self.pass_s else 0.0


Found = Mapping[Case, Outcome | InputError]


def run_case(case: Case) -> Outcome | InputError:
    """Run a case, and return what came of it, or why it cannot be run."""
    from ndpsim.report.figures import figures_of
    from ndpsim.runs.run import Run
    from ndpsim.runs.setup import Setup

    prompt, output, traced = case.lengths
    try:
        setup = Setup.of(
            system=case.system, model=case.model, batch=case.batch, prompt=prompt, output=traced,
            preset=case.preset, changes=dict(case.changes),
        )  # fmt: skip
        run = Run(setup)
        run.advance(case.tokens)
        figures = figures_of(run)
        growth, passes = 0.0, len(run.token_ps)
        if passes < min(1, output - 1):
            return InputError(f"tokens: expected at least 2 (the first is the prompt's), found {case.tokens}")
        if run.system.ndp is not None and passes < output - 1:
            growth = attention_growth(run.devices.dimms, run.job.shape, case.batch, prompt, passes, output - 1)
    except InputError as error:
        return error
    return Outcome(case, figures["time_to_first_token_s"], tuple(ps * 1e-12 for ps in run.token_ps), growth, figures)


def attention_growth(dimms: "Machine", shape: "ModelShape", batch: int, prompt: int, first: int, passes: int) -> float:
    """Return how many seconds longer attention takes in one of all `passes` of an output than in one of the `first`.

    Both are means of samples: one layer's programs, timed by the engine, at every eighth context.
    """
    from ndpsim.machine.ndp_model import NdpModel

    layer = NdpModel(dimms, shape.with_overrides(layers=1), batch, prompt + passes)

    def mean_ps(last: int) -> float:
        spans = [
            layer.attend(0, np.full(batch, prompt + number + 1, np.int64), layer.timer.now_ps)
            for number in range(min(_SAMPLE // 2, last - 1), last, _SAMPLE)
        ]
        return fmean(span.end - span.start for span in spans)

    return shape.layers * (mean_ps(passes) - mean_ps(first)) * 1e-12


def run_cases(cases: Iterable[Case], jobs: int, tell: Callable[[int], None] = lambda done: None) -> Found:
    """Run cases, each once, and return their outcomes in the order of the cases; `tell` hears how many are done.

    jobs: processes; the outcomes do not depend on their number. When interrupted, all of them end.
    """
    groups: defaultdict[tuple[Any, ...], list[Case]] = defaultdict(list)
    order = list(dict.fromkeys(cases))
    for case in order:
        groups[case.trace].append(case)
    heaviest = sorted(groups.values(), key=_weight, reverse=True)
    found: dict[Case, Outcome | InputError] = {}
    if jobs == 1 or len(heaviest) == 1:
        for case in (case for group in heaviest for case in group):
            found[case] = run_case(case)
            tell(len(found))
    else:
        found = _in_processes(heaviest, min(jobs, len(heaviest)), tell)
    return {case: found[case] for case in order}


def _weight(group: Sequence[Case]) -> float:
    """Return about how long a group takes: its trace, and its runs."""
    first = group[0]
    try:
        return load_shape(first.model).weight_bytes() * first.batch * (len(group) + 2)
    except InputError:
        return 0.0  # the run will tell


def _in_processes(
    groups: Sequence[Sequence[Case]], jobs: int, tell: Callable[[int], None]
) -> dict[Case, Outcome | InputError]:
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(done,))
    try:
        waiting = {pool.submit(_run_group, group) for group in groups}
        found: dict[Case, Outcome | InputError] = {}
        while waiting:
            ended, waiting = wait(waiting, _POLL_S)
            for future in ended:
                found |= future.result()
            tell(done.value)
        return found
    except BrokenProcessPool:
        raise InputError("jobs: a process was ended from outside, probably for memory; try fewer jobs") from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(done: Any) -> None:
    """Leave interrupts to the parent, and end when it does."""
    global _done
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _run_group(group: Sequence[Case]) -> dict[Case, Outcome | InputError]:
    found = {}
    for case in group:
        found[case] = run_case(case)
        with _done.get_lock():
            _done.value += 1
    return found
