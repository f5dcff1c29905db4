"""Hermes (HPCA 2025) reproduced: all systems on the machine that ships, one for all models and batches.

Tokens/s are those of the paper: tokens of all sequences by the time of prompt and output.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ndpsim.errors import InputError
from ndpsim.files import appearing
from ndpsim.studies.cases import Case, Lengths, Outcome, run_cases
from ndpsim.studies.hermes_comparison import (
    OURS,
    Alternative,
    ComparedPoint,
    Latency,
    ablation_points,
    alternatives,
    errors,
    rate_points,
    share_points,
    speedup_points,
)
from ndpsim.studies.hermes_points import Changes, Published, RateKey
from ndpsim.studies.hermes_shares import share
from ndpsim.systems.catalog import load_system
from ndpsim.systems.system import ignored_by, is_ignored

_STEADY_TOKENS: Final = 3


@dataclass(frozen=True)
class Reproduction:
    """The comparison; tokens, ablation_tokens: how many of each output were simulated."""

    source: str
    tokens: int
    ablation_tokens: int
    points: tuple[ComparedPoint, ...]
    readings: tuple[Alternative, ...]
    ablation: tuple[Latency, ...]

    def groups(self) -> dict[str, list[ComparedPoint]]:
        """Return the points by group."""
        found: dict[str, list[ComparedPoint]] = {}
        for point in self.points:
            found.setdefault(point.group, []).append(point)
        return found

    def record(self) -> dict[str, Any]:
        """Return everything as plain Python; the errors at the top are those of Hermes and Hermes-base."""
        groups = self.groups()
        return {
            "source": self.source,
            "tokens": self.tokens,
            "ablation_tokens": self.ablation_tokens,
            **errors(groups[OURS]),
            "groups": {name: {**errors(points), "points": len(points)} for name, points in groups.items()},
            "points": [point.record() for point in self.points],
            "readings": [one.record() for one in self.readings],
            "ablation": [asdict(one) for one in self.ablation],
        }


@dataclass(frozen=True)
class Reproducer:
    """What is to be run: tokens, ablation_tokens: simulated of each output; changes: as of `--set`, of all runs that
    depend on them."""

    definition: Published
    tokens: int
    ablation_tokens: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        """Return all runs, each once."""
        return list(dict.fromkeys(self._cases()))

    def run(self, jobs: int, tell: Callable[[int], None] = lambda done: None) -> Reproduction:
        """Run all and compare; `tell` hears how many runs are done. Raises InputError naming a run that cannot be."""
        definition = self.definition
        outcomes: dict[Case, Outcome] = {}
        for case, outcome in run_cases(self.cases(), jobs, tell).items():
            if isinstance(outcome, InputError):
                raise InputError(f"{case.system} on {case.model}, batch {case.batch}: {outcome}")
            outcomes[case] = outcome

        def rate(key: RateKey, changes: Changes | None = None) -> float:
            return outcomes[self._case(key, changes)].tokens_per_s

        ablation = [
            Latency(model, batch, variant, outcomes[case].figures["operation_s"]["ffn"] / len(outcomes[case].pass_s))
            for (model, batch, variant), case in self._variants()
        ]
        shares = {
            (one.system, model, one.measure): share(one.measure, outcomes[self._first(one.system, model)])
            for one in definition.shares
            for model in one.models
        }
        points = (
            *rate_points(definition, rate),
            *speedup_points(definition, rate),
            *ablation_points(definition, ablation),
            *share_points(definition, shares),
        )
        readings = alternatives(definition, rate, lambda key, reading: rate(key, reading.changes))
        return Reproduction(
            definition.source, self.tokens, self.ablation_tokens, points, tuple(readings), tuple(ablation)
        )

    def _cases(self) -> Iterator[Case]:
        definition = self.definition
        yield from (self._case(key) for key in definition.rates())
        yield from (self._case(key) for one in definition.speedups for pair in one.pairs() for key in pair)
        yield from (case for _, case in self._variants())
        yield from (self._first(one.system, model) for one in definition.shares for model in one.models)
        for one in definition.readings:
            yield from (self._case(key, one.changes) for key in one.places())

    def _case(self, key: RateKey, changes: Changes | None = None, tokens: int | None = None) -> Case:
        ignored = ignored_by(load_system(key.system))
        everywhere = {path: value for path, value in self.changes.items() if not is_ignored(path, ignored)}
        everything = {**self.definition.setups.get(key.system, {}), **(changes or {}), **everywhere}
        tokens = tokens or (_STEADY_TOKENS if key.system in self.definition.steady else self.tokens)
        lengths = Lengths(self.definition.prompt, self.definition.output, max(self.tokens, self.ablation_tokens))
        return Case.of(*key, lengths, min(tokens, lengths.traced), everything)

    def _first(self, system: str, model: str) -> Case:
        return self._case(RateKey(system, model, 1))

    def _variants(self) -> Iterator[tuple[tuple[str, int, str], Case]]:
        ablation = self.definition.ablation
        for model in ablation.models:
            for batch in ablation.batches:
                key = RateKey("hermes", model, batch)
                for name, changes in ablation.variants.items():
                    yield (model, batch, name), self._case(key, changes, self.ablation_tokens)


def write_csv(found: Reproduction, path: Path) -> None:
    """Write all points as a table with one header line."""
    rows = [point.record() for point in found.points]
    with appearing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
