"""Runs of systems for studies: a case is what to run, an outcome what came of it; several processes share the work.

A case simulates the prompt and its first tokens; the mean of those stands for all tokens of the output.
"""

import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from threading import Thread
from typing import Any

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape

_POLL_S = 0.1
_done: Any = None
"""In a worker: how many cases all workers have ended, a shared number."""


@dataclass(frozen=True)
class Case:
    """A run of a system; `tokens` of the output are simulated. changes: paths of `--set` with their values, sorted."""

    system: str
    model: str
    batch: int
    tokens: int
    changes: tuple[tuple[str, Any], ...] = ()
    prompt: int = 128
    preset: str = "paper"

    @staticmethod
    def of(system: str, model: str, batch: int, tokens: int, prompt: int, changes: Mapping[str, Any]) -> "Case":
        """Return the case with these changes, of which `preset` names the preset of the trace."""
        rest = {path: value for path, value in changes.items() if path != "preset"}
        return Case(system, model, batch, tokens, tuple(sorted(rest.items())), prompt, changes.get("preset", "paper"))

    @property
    def trace(self) -> tuple[Any, ...]:
        """What the activation trace depends on: cases that agree in it run in one process, one after the other."""
        changes = [one for one in self.changes if one[0].startswith(("model.", "preset."))]
        return (self.model, self.batch, self.tokens, self.prompt, self.preset, *changes)


@dataclass(frozen=True)
class Outcome:
    """What a case took: seconds of the prompt and of each simulated token, and all figures of the run."""

    prompt_s: float
    token_s: tuple[float, ...]
    figures: Mapping[str, Any]

    @property
    def mean_token_s(self) -> float:
        """Return the mean of the simulated tokens."""
        return sum(self.token_s) / len(self.token_s)

    def seconds(self, output: int) -> float:
        """Return the time of the prompt and so many tokens of each sequence."""
        return self.prompt_s + output * self.mean_token_s

    def tokens_per_s(self, batch: int, output: int) -> float:
        """Return the tokens of all sequences by the time of prompt and output."""
        return batch * output / self.seconds(output)


Found = Mapping[Case, Outcome | InputError]


def run_case(case: Case) -> Outcome | InputError:
    """Run a case, and return what came of it, or why it cannot be run."""
    from ndpsim.systems.run import Run
    from ndpsim.systems.setup import Setup

    try:
        setup = Setup.of(
            system=case.system, model=case.model, batch=case.batch, prompt=case.prompt, output=case.tokens,
            preset=case.preset, changes=dict(case.changes),
        )  # fmt: skip
        run = Run(setup)
        run.advance()
        figures = run.record()
    except InputError as error:
        return error
    return Outcome(figures["prompt_s"], tuple(ps * 1e-12 for ps in run.token_ps), figures)


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


def _in_processes(groups: Sequence[Sequence[Case]], jobs: int, tell: Callable[[int], None]) -> dict[Case, Any]:
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(done,))
    try:
        waiting: set[Future[list[Outcome | InputError]]] = set()
        futures = [pool.submit(_run_group, group) for group in groups]
        waiting.update(futures)
        while waiting:
            waiting = wait(waiting, _POLL_S).not_done
            tell(done.value)
        pairs = zip(groups, futures, strict=True)
        return {case: one for group, future in pairs for case, one in zip(group, future.result(), strict=True)}
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


def _run_group(group: Sequence[Case]) -> list[Outcome | InputError]:
    found = []
    for case in group:
        found.append(run_case(case))
        with _done.get_lock():
            _done.value += 1
    return found
