"""Published figures of Hermes (HPCA 2025) beside simulated ones: the arithmetic, from what was simulated alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Final

from ndpsim.studies.hermes_points import Bound, Measure, Published, Rate, RateKey, Reading

OURS: Final = "Hermes and Hermes-base"
BASELINES: Final = "baselines"
SPEEDUPS: Final = "speed-ups"
ABLATION: Final = "ablation"
BREAKDOWN: Final = "breakdown"
_STATISTICS: Final[dict[str, Callable[[Sequence[float]], float]]] = {"mean": fmean, "least": min, "greatest": max}


@dataclass(frozen=True)
class ComparedPoint:
    """A published value and ours.

    where: figure or section; kind: a number of a `figure`, or a `statement` of the text; printed: what follows from
    the bars of the paper where that is known; key: whose tokens/s they are, if of one run.
    """

    group: str
    name: str
    where: str
    kind: str
    unit: str
    published: float
    simulated: float
    bound: Bound = "equal"
    printed: float | None = None
    note: str = ""
    key: RateKey | None = None

    @property
    def error(self) -> float:
        """Return how much more ours is than theirs, by theirs; 0 if a stated bound holds."""
        held = {"equal": False, "above": self.simulated >= self.published, "below": self.simulated <= self.published}
        return 0.0 if held[self.bound] else self.simulated / self.published - 1

    def record(self) -> dict[str, Any]:
        """Return the point as plain Python; it has no system, model and batch if it is of several runs."""
        figures = {name: value for name, value in asdict(self).items() if name != "key"}
        whose = self.key._asdict() if self.key else dict.fromkeys(RateKey._fields)
        return {**figures, **whose, "error": self.error}


@dataclass(frozen=True)
class Alternative:
    """Another reading of the paper: tokens/s as published, by default, and as it is read here."""

    name: str
    about: str
    system: str
    model: str
    batch: int
    published: float
    default: float
    simulated: float

    def record(self) -> dict[str, Any]:
        """Return all figures, with the error of each reading."""
        errors = {f"{name}_error": getattr(self, name) / self.published - 1 for name in ("default", "simulated")}
        return {**asdict(self), **errors}


@dataclass(frozen=True)
class Latency:
    """Time of the feed-forward blocks of a token with some of Hermes' mechanisms, in seconds."""

    model: str
    batch: int
    variant: str
    seconds: float


def errors(points: Sequence[ComparedPoint]) -> dict[str, float]:
    """Return the mean and the greatest absolute error of points."""
    found = [abs(point.error) for point in points]
    return {"mean_abs_error": fmean(found), "max_abs_error": max(found)}


def rate_points(definition: Published, simulated: Callable[[RateKey], float]) -> Iterator[ComparedPoint]:
    """Compare tokens/s, first those of Hermes and Hermes-base."""
    rates = definition.rates()
    for group in (OURS, BASELINES):
        for key, rate in rates.items():
            if (key.system in ("hermes", "hermes-base")) == (group == OURS):
                name = f"{key.system}, {key.model}, batch {key.batch}"
                figures = (rate.figure, "figure", "tokens/s", rate.value, simulated(key))
                yield ComparedPoint(group, name, *figures, note=rate.note, key=key)


def speedup_points(definition: Published, simulated: Callable[[RateKey], float]) -> Iterator[ComparedPoint]:
    """Compare the stated ratios of tokens/s; beside each what follows from the bars, if all are printed."""
    rates = definition.rates()
    for one in definition.speedups:
        pairs = one.pairs()
        statistic = _STATISTICS[one.statistic]
        printed = None
        if all(key in rates for pair in pairs for key in pair):
            printed = statistic([rates[a].value / rates[b].value for a, b in pairs])
        batches = f"batch {one.batches[0]}" + (f" to {one.batches[-1]}" if len(one.batches) > 1 else "")
        models = one.models[0] if len(one.models) == 1 else f"{len(one.models)} models"
        name = f"{one.over[0]} over {one.over[1]}, {one.statistic} of {models}, {batches}"
        ours = statistic([simulated(a) / simulated(b) for a, b in pairs])
        figures = (one.section, "statement", "times", one.value, ours)
        yield ComparedPoint(SPEEDUPS, name, *figures, printed=printed, note=one.note)


def ablation_points(definition: Published, latencies: Sequence[Latency]) -> Iterator[ComparedPoint]:
    """Compare the gain of each step: the mean over models and batches of how many times less time the blocks take."""
    seconds = {(one.model, one.batch, one.variant): one.seconds for one in latencies}
    places = [(model, batch) for model in definition.ablation.models for batch in definition.ablation.batches]
    for step in definition.ablation.steps:
        gain = fmean(seconds[(*place, step.of)] / seconds[(*place, step.to)] for place in places)
        figures = (definition.ablation.figure, "statement", "times", step.gain, gain)
        yield ComparedPoint(ABLATION, f"{step.of} to {step.to}", *figures, note=step.note)


def share_points(definition: Published, simulated: Mapping[tuple[str, str, Measure], float]) -> Iterator[ComparedPoint]:
    """Compare shares: means over models of what was found, by system, model and measure."""
    for one in definition.shares:
        found = fmean(simulated[one.system, model, one.measure] for model in one.models)
        figures = (one.section, "statement", "share", one.value, found)
        yield ComparedPoint(BREAKDOWN, f"{one.system}: {one.measure}", *figures, bound=one.bound, note=one.note)


def alternatives(
    definition: Published, simulated: Callable[[RateKey], float], otherwise: Callable[[RateKey, Reading], float]
) -> Iterator[Alternative]:
    """Return the readings beside the default one."""
    rates: Mapping[RateKey, Rate] = definition.rates()
    for one in definition.readings:
        for key in one.places():
            figures = (rates[key].value, simulated(key), otherwise(key, one))
            yield Alternative(one.name, one.about, *key, *figures)
