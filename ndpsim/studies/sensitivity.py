"""What each parameter of a machine is worth to a system: one is changed at a time, all others stay as they ship."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

from ndpsim.errors import InputError
from ndpsim.studies.cases import Case, Lengths, Outcome, run_cases
from ndpsim.studies.definition import read_definition
from ndpsim.tables import Table

Batches = Annotated[list[Annotated[int, Field(gt=0, le=255)]], Field(min_length=1)]
Tokens = Annotated[int, Field(gt=0)]


class Sweep(Table):
    """One parameter; points: a name for each value, and the changes that set it; batches: of its own, if given."""

    name: str
    about: str
    points: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    batches: Batches | None = None


class Sensitivity(Table):
    """A system, what it runs, and what is changed; tokens: simulated of each output."""

    system: str
    models: Annotated[list[str], Field(min_length=1)]
    batches: Batches
    tokens: Tokens
    prompt: Tokens
    output: Tokens
    sweeps: Annotated[list[Sweep], Field(min_length=1)]


@dataclass(frozen=True)
class Effect:
    """Tokens/s with one value of a parameter, and by those of the machine that ships; None if it cannot be run."""

    sweep: str
    point: str
    model: str
    batch: int
    tokens_per_s: float | None
    ratio: float | None
    why_not: str = ""

    def record(self) -> dict[str, Any]:
        """Return all fields as plain Python."""
        return asdict(self)


def sensitivity(name: str) -> Sensitivity:
    """Return a definition that ships."""
    return read_definition(name, Sensitivity)


def sensitivity_cases(definition: Sensitivity, changes: Mapping[str, Any] | None = None) -> list[Case]:
    """Return all runs, each once; changes: of all of them."""
    return list(dict.fromkeys(case for _, _, *both in _points(definition, changes or {}) for case in both))


def effects(
    definition: Sensitivity,
    jobs: int = 1,
    changes: Mapping[str, Any] | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Effect]:
    """Run all values of all parameters; `tell` hears how many runs are done.

    Raises InputError if a run without changes is not possible; with one, the effect tells why.
    """
    changes = changes or {}
    outcomes = run_cases(sensitivity_cases(definition, changes), jobs, tell)
    found = []
    for sweep, point, shipped, case in _points(definition, changes):
        base, outcome = outcomes[shipped], outcomes[case]
        where = (sweep.name, point, case.model, case.batch)
        if not isinstance(base, Outcome):
            raise InputError(f"{case.system} on {case.model}, batch {case.batch}: {base}")
        if not isinstance(outcome, Outcome):
            found.append(Effect(*where, None, None, str(outcome)))
            continue
        found.append(Effect(*where, outcome.tokens_per_s, outcome.tokens_per_s / base.tokens_per_s))
    return found


def _points(definition: Sensitivity, changes: Mapping[str, Any]) -> Iterator[tuple[Sweep, str, Case, Case]]:
    """Yield each point with its case, and that of the machine that ships."""

    lengths = Lengths(definition.prompt, definition.output, definition.tokens)

    def case(model: str, batch: int, own: Mapping[str, Any]) -> Case:
        return Case.of(definition.system, model, batch, lengths, definition.tokens, {**changes, **own})

    for sweep in definition.sweeps:
        for model in definition.models:
            for batch in sweep.batches or definition.batches:
                shipped = case(model, batch, {})
                for point, own in sweep.points.items():
                    yield sweep, point, shipped, case(model, batch, own)
