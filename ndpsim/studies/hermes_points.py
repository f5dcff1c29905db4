"""What Hermes (HPCA 2025) publishes: the form of `workloads/studies/hermes.toml`, and what is wrong with one."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field

from ndpsim.errors import InputError
from ndpsim.llm.catalog import shape_names
from ndpsim.studies.definition import read_definition
from ndpsim.systems.catalog import SYSTEMS
from ndpsim.tables import Table

NAME: Final = "hermes"
Bound = Literal["equal", "above", "below"]
Measure = Literal["prompt", "dimms", "communication", "predictor", "migration", "accuracy"]


def _one_of(names: Callable[[], Any]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in names():
            raise ValueError(f"one of {', '.join(names())}")
        return name

    return check


System = Annotated[str, AfterValidator(_one_of(lambda: SYSTEMS))]
Model = Annotated[str, AfterValidator(_one_of(shape_names))]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Batch = Annotated[int, Field(gt=0, le=255)]
Models = Annotated[list[Model], Field(min_length=1)]
Batches = Annotated[list[Batch], Field(min_length=1)]
Said = Annotated[str, Field(min_length=1)]
Changes = dict[str, Any]


class RateKey(NamedTuple):
    """Whose tokens/s."""

    system: str
    model: str
    batch: int


class Rate(NamedTuple):
    """Tokens/s, where they are printed, and whether they are printed otherwise elsewhere."""

    figure: str
    value: float
    note: str


class Bars(Table):
    """Numbers printed on the bars of a figure: tokens/s of each system at each batch."""

    figure: Said
    model: Model
    batches: Batches
    tokens_per_s: dict[System, list[Positive]]


class SpeedUp(Table):
    """A stated ratio of the tokens/s of two systems, over models and batches."""

    section: Said
    over: tuple[System, System]
    models: Models
    batches: Batches
    statistic: Literal["mean", "least", "greatest"] = "mean"
    value: Positive
    note: str = ""

    def pairs(self) -> list[tuple[RateKey, RateKey]]:
        """Return whose tokens/s are divided by whose."""
        places = [(model, batch) for model in self.models for batch in self.batches]
        return [(RateKey(self.over[0], *place), RateKey(self.over[1], *place)) for place in places]


class AblationStep(Table):
    """A stated gain of one variant over another: how many times less time the feed-forward blocks take."""

    of: Annotated[str, Field(alias="from")]
    to: str
    gain: Positive
    note: str = ""


class Ablation(Table):
    """Hermes with some of its mechanisms; variants: the changes that make each."""

    figure: Said
    models: Models
    batches: Batches
    variants: dict[str, Changes]
    steps: list[AblationStep]


class StatedShare(Table):
    """A stated share, of the mean over models at batch 1; `measure` says of what (`hermes_shares`)."""

    section: Said
    system: System
    measure: Measure
    models: Models
    value: Annotated[float, Field(gt=0, lt=1)]
    bound: Bound = "equal"
    note: str = ""


class Reading(Table):
    """Another way to read the paper: changes to a system."""

    name: Said
    about: Said
    system: System = "hermes"
    models: Models
    batches: Batches = Field(default=[1])
    changes: Changes

    def places(self) -> list[RateKey]:
        """Return whose tokens/s it changes."""
        return [RateKey(self.system, model, batch) for model in self.models for batch in self.batches]


class Published(Table):
    """All that is published.

    setups: what a system needs beside the machine that ships; steady: systems whose tokens differ in their context
    alone, so that two of them tell all.
    """

    source: Said
    prompt: Annotated[int, Field(gt=0)]
    output: Annotated[int, Field(gt=0)]
    setups: dict[System, Changes]
    steady: list[System]
    bars: list[Bars]
    speedups: list[SpeedUp]
    ablation: Ablation
    shares: list[StatedShare]
    readings: list[Reading]

    def rates(self) -> dict[RateKey, Rate]:
        """Return the tokens/s by system, model and batch; of a number that is printed twice the first."""
        found: dict[RateKey, Rate] = {}
        for bars in self.bars:
            for system, values in bars.tokens_per_s.items():
                for batch, value in zip(bars.batches, values, strict=True):
                    key = RateKey(system, bars.model, batch)
                    first = found.get(key)
                    if first is None:
                        found[key] = Rate(bars.figure, value, "")
                    else:
                        again = "" if value == first.value else f"contradiction: {value:g} in {bars.figure}"
                        found[key] = Rate(f"{first.figure}; {bars.figure}", first.value, again)
        return found


def published() -> Published:
    """Return what ships. Raises InputError with every fault of the file, one on a line."""
    found = read_definition(NAME, Published)
    if faults := list(_faults(found)):
        raise InputError("\n".join(f"workloads/studies/{NAME}.toml: {fault}" for fault in faults))
    return found


def _faults(found: Published) -> Iterator[str]:
    """Return what is wrong between the tables of a file whose form is right."""
    for number, bars in enumerate(found.bars):
        for system, values in bars.tokens_per_s.items():
            if len(values) != len(bars.batches):
                field = f"bars.{number}.tokens_per_s.{system}"
                yield f"{field}: expected {len(bars.batches)} values, one for each batch, found {len(values)}"
    known = found.ablation.variants
    for number, step in enumerate(found.ablation.steps):
        for field, name in (("from", step.of), ("to", step.to)):
            if name not in known:
                yield f"ablation.steps.{number}.{field}: expected one of {', '.join(known)}, found {name!r}"
    printed = {
        RateKey(system, bars.model, batch)
        for bars in found.bars
        for system in bars.tokens_per_s
        for batch in bars.batches
    }
    for number, reading in enumerate(found.readings):
        for key in reading.places():
            if key not in printed:
                whose = ", ".join(map(str, key))
                yield f"readings.{number}: expected published tokens/s to compare with, found none of {whose}"
