"""Stages of measured serving runs, a line each: requests at a constant rate with a few dozen prompts that repeat.

The load generator has `system_prompts` texts of `system_len` tokens, `users_each` prompts that begin with each of them,
and asks for all prompts in turn. It draws the gaps between requests from a uniform distribution and scales them to the
length of the stage. A stage behind another one of its run finds all prompts cached.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.serving.workload import PS_PER_S, Workload
from ndpsim.studies.serving_runs import STATISTICS, ServingCase, StagesOfRuns, model_of

STAGE_S: Final = 600
BLOCK: Final = 16
MOST_REQUESTS: Final = 10**6
WARM_UP_S, PAUSE_S = 1, 60
"""Between two prompts that fill the cache before a later stage, and behind them; all are done by then."""
NEEDED: Final = (
    "run", "stage", "model", "tp", "max_num_seqs", "max_num_batched_tokens", "rate", "prompt_min", "prompt_max",
    "output_asked", "system_prompts", "users_each", "system_len",
)  # fmt: skip
OPTIONAL: Final = ("requests", "card", "engine", "kv_blocks")
"""Columns that a line may leave out or empty; so are the measured ones, `ttft_mean_ms` to `e2e_p99_ms`."""


@dataclass(frozen=True)
class Line:
    """A line of a table; what it lacks or has wrong is an InputError that names it."""

    where: str
    cells: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a cell."""
        found = (self.cells.get(name) or "").strip()
        if not found and default is None:
            raise InputError(f"{self.where}: {name}: expected a value, found none")
        return found or str(default)

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float:
        """Return a number within bounds."""
        text = self.text(name, None if default is None else str(default))
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise InputError(f"{self.where}: {name}: expected {least:.10g} to {most:.10g}, found {text}")
        return value

    def count(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return an integer within bounds."""
        value = self.number(name, least, most, default)
        if value != int(value):
            raise InputError(f"{self.where}: {name}: expected an integer, found {self.text(name)}")
        return int(value)

    def measured(self) -> dict[str, dict[str, float]]:
        """Return the measured metrics; the mean time per output token follows from the others."""
        found: dict[str, dict[str, float]] = {"ttft": {}, "e2e": {}, "tpot": {}}
        for metric in ("ttft", "e2e"):
            for name in STATISTICS:
                if self.cells.get(f"{metric}_{name}_ms", "").strip():
                    found[metric][name] = self.number(f"{metric}_{name}_ms", 1e-6, 1e12)
        output = self.number("output_asked", 1, 1 << 20)
        if "mean" in found["ttft"] and "mean" in found["e2e"] and output > 1:
            found["tpot"]["mean"] = (found["e2e"]["mean"] - found["ttft"]["mean"]) / (output - 1)
        return found


def stage_cases(
    path: Path, stages: StagesOfRuns, model_file: Path | None = None, card: str | None = None
) -> list[ServingCase]:
    """Return the stages of a table (CSV); model_file: of models that do not ship; card: where a line names none.

    Raises InputError naming file, line and column.
    """
    return [_case(line, stages, model_file, card or stages.card) for line in _lines(path)]


def _lines(path: Path) -> list[Line]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: expected the columns {', '.join(NEEDED)}, found no {', '.join(missing)}")
            found = []
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where}: expected {len(reader.fieldnames or ())} cells, found another number")
                found.append(Line(where, row))
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV table, found: {error}") from None
    if not found:
        raise InputError(f"{path}: expected at least one line, found none")
    return found


def _case(line: Line, stages: StagesOfRuns, model_file: Path | None, card: str) -> ServingCase:
    stage = line.count("stage", 0, 1000)
    work, skip = _workload(line, stages.seed, stage > 0)
    blocks = line.count("kv_blocks", 0, 1 << 30, 0)
    return ServingCase(
        name=f"{line.text('run')}, stage {stage}",
        model=model_of(line.text("model"), model_file, line.where),
        card=line.text("card", card),
        engine=line.text("engine", stages.engine),
        tp=line.count("tp", 1, 64),
        max_num_seqs=line.count("max_num_seqs", 1, 1 << 20),
        max_num_batched_tokens=line.count("max_num_batched_tokens", 1, 1 << 20),
        workload=work,
        measured=line.measured(),
        skip=skip,
        kv_blocks=blocks or None,
        aim=stages.aim,
    )


def _workload(line: Line, seed: int, warm: bool) -> tuple[Workload, int]:
    """Return the requests of a stage, and how many of them, in front, only fill the cache."""
    systems, users = line.count("system_prompts", 1, 10**4), line.count("users_each", 1, 10**4)
    rate, prompts = line.number("rate", 1e-3, 1e5), systems * users
    count = line.count("requests", 1, MOST_REQUESTS, max(round(rate * STAGE_S), 1))
    least = line.count("prompt_min", 1, 1 << 20)
    lengths = np.round(np.linspace(least, line.count("prompt_max", least, 1 << 20), prompts)).astype(np.int64)
    before = prompts if warm else 0
    asked = np.concatenate([np.arange(before), np.arange(count) % prompts])
    arrivals = _arrivals(count, rate, seed) + (before * WARM_UP_S + PAUSE_S if warm else 0)
    seconds = np.concatenate([np.arange(before) * WARM_UP_S, arrivals])
    outputs = np.full(len(asked), line.count("output_asked", 1, 1 << 20))
    outputs[:before] = 1
    prefixes = _prefixes(lengths, users, line.count("system_len", 0, 1 << 20))
    work = Workload(
        arrivals=np.round(seconds * PS_PER_S).astype(np.int64),
        prompts=lengths[asked],
        outputs=outputs,
        prefix_tokens=BLOCK,
        prefixes=np.concatenate([prefixes(prompt) for prompt in asked.tolist()]),
        prefix_starts=np.concatenate([[0], np.cumsum(-(-lengths[asked] // BLOCK))]),
    )
    return work, before


def _arrivals(count: int, rate: float, seed: int) -> NDArray[np.float64]:
    """Return seconds: uniform gaps, scaled so that the last request comes when the stage ends."""
    ends = np.cumsum(np.random.default_rng(seed).random(count))
    return ends / ends[-1] * (count / rate)


def _prefixes(lengths: NDArray[np.int64], users: int, shared: int) -> Callable[[int], NDArray[np.int64]]:
    """Return a function from a prompt to the numbers of its prefixes, one for each block."""
    most, prompts = int(-(-lengths.max() // BLOCK)), len(lengths)

    def prefixes(prompt: int) -> NDArray[np.int64]:
        block = np.arange(-(-lengths[prompt] // BLOCK))
        common = (block + 1) * BLOCK <= shared
        return np.where(common, prompt // users, prompts + prompt) * most + block

    return prefixes
