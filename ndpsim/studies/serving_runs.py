"""Measured serving runs beside the engine: a run's requests and limits, and its metrics, measured and simulated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.gpu.card import load_card
from ndpsim.gpu.kernels import Floats
from ndpsim.llm.catalog import shape_names
from ndpsim.machine.config import machine_content
from ndpsim.runs.setup import Setup
from ndpsim.serving.engine import serve
from ndpsim.serving.profile import EngineProfile, load_profile
from ndpsim.serving.ready import kv_blocks, ready_system
from ndpsim.serving.served import Served
from ndpsim.serving.state import Limits
from ndpsim.serving.workload import PS_PER_S, Workload
from ndpsim.studies.definition import read_definition
from ndpsim.tables import Table

Count = Annotated[int, Field(gt=0)]
Aim = Annotated[float, Field(gt=0)]
MACHINE: Final = "hermes"
"""Of which only the graphics cards count here."""
STATISTICS: Final = ("mean", "p50", "p90", "p99")
COLUMNS: Final = ("arrival_s", "input_tokens", "output_tokens", "first_token_s", "last_token_s")


class LoggedRun(Table):
    """A run of which each request is known. aim: by metric, the mean absolute error over its statistics."""

    name: str
    source: str
    model: str
    card: str
    engine: str
    requests: str
    max_num_seqs: Count
    max_num_batched_tokens: Count
    kv_blocks: Count | None = None
    tp: Count = 1
    aim: dict[str, Aim] = Field(default_factory=dict)


class StagesOfRuns(Table):
    """Runs of which each stage of a constant rate is a line of a table; see `serving_stages`."""

    source: str
    table: str
    card: str
    engine: str
    seed: int
    aim: dict[str, Aim]


class MeasuredServing(Table):
    """The definition of the study."""

    run: tuple[LoggedRun, ...]
    stages: StagesOfRuns


def measured_serving() -> MeasuredServing:
    """Return the runs that ship."""
    return read_definition("serving", MeasuredServing)


@dataclass(frozen=True)
class ServingCase:
    """A run to be served. skip: requests at the beginning that only fill the cache; measured: by metric (ttft, tpot,
    e2e) and statistic, in ms; statistics that were not measured are absent; of a log also whole, in seconds."""

    name: str
    model: str
    card: str
    engine: str
    tp: int
    max_num_seqs: int
    max_num_batched_tokens: int
    workload: Workload
    measured: Mapping[str, Mapping[str, float]]
    skip: int = 0
    kv_blocks: int | None = None
    aim: Mapping[str, float] = field(default_factory=dict)

    def serve(self, profile: EngineProfile | None = None) -> "ServedCase":
        """Serve it. Raises InputError if something does not fit."""
        profile = profile or load_profile(self.engine)
        work = self.workload
        changes: dict[str, Any] = {"gpu.count": self.tp} if self.tp > 1 else {}
        if load_card(self.card) != load_card(machine_content(MACHINE)[1]["gpu"]["card"]["value"]):
            changes["gpu.card"] = self.card  # to set what is there anyway is refused
        setup = Setup.of(
            "tensor-parallel" if self.tp > 1 else "gpu-only", self.model, MACHINE, prompt=work.longest - 1, output=1,
            changes=changes,
        )  # fmt: skip
        system = ready_system(setup, self.max_num_seqs, work.longest)
        blocks = self.kv_blocks or kv_blocks(system, profile)
        limits = Limits(blocks, self.max_num_seqs, self.max_num_batched_tokens, profile.block_tokens.value)
        return ServedCase(self, serve(system, work, limits, profile), system.devices.gpu.origin)


@dataclass(frozen=True)
class ServedCase:
    """A run that was served. origin: of the card's efficiencies."""

    case: ServingCase
    served: Served
    origin: str

    def errors(self) -> dict[str, float]:
        """Return the mean absolute error of each metric over what was measured of it, and that of the mean TTFT."""
        found = {}
        for metric, cells in self.metrics().items():
            errors = [abs(cell["error"]) for cell in cells.values() if cell["error"] is not None]
            if errors:
                found[metric] = float(np.mean(errors))
        mean = self.metrics()["ttft"]["mean"]["error"]
        return found if mean is None else {**found, "ttft_mean": abs(mean)}

    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return by metric and statistic, in ms: measured (None: not known), simulated, and the relative error."""
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        for metric, times in self.times().items():
            found[metric] = {}
            for name, simulated in statistics(times).items():
                measured = self.case.measured.get(metric, {}).get(name)
                error = None if measured is None else simulated / measured - 1
                found[metric][name] = {"measured": measured, "simulated": simulated, "error": error}
        return found

    def times(self) -> dict[str, Floats]:
        """Return the ms of each request that counts: to its first token, for each other one, and altogether."""
        one, kept = self.served, slice(self.case.skip, None)
        arrival, first, last = (times[kept] / PS_PER_S for times in (one.arrival, one.first_token, one.last_token))
        return request_times(arrival, first, last, one.outputs[kept])

    def record(self) -> dict[str, Any]:
        """Return what a report prints."""
        case, one, kept = self.case, self.served, slice(self.case.skip, None)
        return {
            "run": case.name,
            "model": case.model,
            "card": self.origin,
            "tp": case.tp,
            "engine": case.engine,
            "requests": len(one.arrival) - case.skip,
            "steps": one.steps,
            "simulated_s": one.end / PS_PER_S,
            "preemptions": int(one.preemptions[kept].sum()),
            "prefix_hit_rate": float(one.cached[kept].sum() / one.prompts[kept].sum()),
            "metrics": {f"{metric}_ms": cells for metric, cells in self.metrics().items()},
            "mean_abs_error": self.errors(),
            "aim": dict(case.aim),
        }


def request_times(arrival: Floats, first: Floats, last: Floats, outputs: NDArray[np.int64]) -> dict[str, Floats]:
    """Return ms from seconds; the time per output token is of requests with several."""
    more = outputs > 1
    return {
        "ttft": (first - arrival) * 1e3,
        "tpot": (last - first)[more] / (outputs[more] - 1) * 1e3,
        "e2e": (last - arrival) * 1e3,
    }


def statistics(times: Floats) -> dict[str, float]:
    """Return mean and percentiles; none of no times."""
    if not len(times):
        return {}
    values = [times.mean(), *np.percentile(times, [50, 90, 99])]
    return dict(zip(STATISTICS, map(float, values), strict=True))


def logged_case(run: LoggedRun) -> ServingCase:
    """Return a logged run that ships."""
    path = workloads_dir() / "studies" / run.requests
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        arrival, prompts, outputs, first, last = (table[:, k] for k in range(len(COLUMNS)))
    except (OSError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise InputError(f"{path}: expected lines of {len(COLUMNS)} numbers, found: {text}") from None
    return case_of(run, arrival, prompts.astype(np.int64), outputs.astype(np.int64), first, last)


def case_of(
    run: LoggedRun, arrival: Floats, prompts: NDArray[np.int64], outputs: NDArray[np.int64], first: Floats, last: Floats
) -> ServingCase:
    """Return the case of a log: seconds of arrivals (in order), of first and last tokens; numbers of tokens."""
    work = Workload(np.round(arrival * PS_PER_S).astype(np.int64), prompts, outputs)
    times = request_times(arrival, first, last, outputs)
    return ServingCase(
        name=run.name,
        model=run.model,
        card=run.card,
        engine=run.engine,
        tp=run.tp,
        max_num_seqs=run.max_num_seqs,
        max_num_batched_tokens=run.max_num_batched_tokens,
        workload=work,
        measured={metric: statistics(one) for metric, one in times.items()} | {"whole": {"seconds": float(last.max())}},
        kv_blocks=run.kv_blocks,
        aim=run.aim,
    )


def model_of(name: str, model_file: Path | None, where: str) -> str:
    """Return the model that ships under the name of a repository (`meta-llama/Llama-2-7b-hf`), else the file.

    Raises InputError if there is neither.
    """
    plain = _plain(name.rpartition("/")[2])
    known = {_plain(one): one for one in shape_names()}
    for wanted in (plain, plain.removesuffix("hf"), plain.removesuffix("instruct"), plain.removesuffix("chathf")):
        if wanted in known:
            return known[wanted]
    if model_file is None:
        raise InputError(f"{where}: model: expected one of {', '.join(shape_names())}, or a --model-file, found {name}")
    return str(model_file)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
