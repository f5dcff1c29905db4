"""Named parameters of the trace generator: `workloads/sparsity/*.toml`, every value with its source."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.kinds import Words
from ndpsim.sparsity.generation.parameters import ALTERNATIVES, GroupParameters
from ndpsim.sparsity.groups import KINDS
from ndpsim.tables import Table, read_toml, shown, table_from

_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Depths = Annotated[tuple[_Share, ...], Field(min_length=1, max_length=4096)]
_Text = Annotated[str, Field(strict=True, min_length=1)]

VALUE = "a share of 0 to 1, a list of them, or a profile"
_NEEDED = (*ALTERNATIVES, ("density",), ("layer_correlation",), ("hot_changed",))


class Value(Table):
    """A parameter: one number for all layers, some over the depth of a model, or the name of a profile that has them.

    Several numbers are those of layers evenly spread from the first to the last, with straight lines between.
    """

    value: Annotated[_Share | _Depths | _Text, Words(VALUE)]
    source: _Text


class RunTokens(Table):
    """Tokens of a run."""

    value: Annotated[int, Field(strict=True, ge=1, le=1 << 24)]
    source: _Text


class KindValues(Table):
    """Parameters of one kind of group, by the names of `GroupParameters`; what is left out is given elsewhere."""

    density: Value | None = None
    share_for_80: Value | None = None
    gini: Value | None = None
    similarity_1: Value | None = None
    persistence_1: Value | None = None
    similarity_25: Value | None = None
    persistence_25: Value | None = None
    layer_correlation: Value | None = None
    hot_changed: Value | None = None
    sequence_similarity: Value | None = None


class ModelValues(Table):
    """What a model, or a family of models, has of its own."""

    attention: KindValues = KindValues()
    ffn: KindValues = KindValues()


class TracePreset(Table):
    """One file of `workloads/sparsity/`.

    ``models``: own values by model or family; an entry counts for a model whose name it is or begins (up to a `-`), and
    the longer name goes before the shorter.
    ``profiles``: measured values over the depth of a model, which a parameter may name.
    """

    name: _Text
    summary: _Text
    run_tokens: RunTokens
    attention: KindValues
    ffn: KindValues
    models: dict[str, ModelValues] = Field(default_factory=dict)
    profiles: dict[str, dict[str, _Depths]] = Field(default_factory=dict)

    def parameters(
        self, layers: int, model: str = "", changes: Mapping[str, Any] | None = None
    ) -> dict[str, list[GroupParameters]]:
        """Return the parameters of each kind, layer by layer, for `ActivationGenerator`.

        Args:
            layers: layers of the model.
            model: its name, for what it has of its own; may be one that the preset does not know.
            changes: values by name, as ``{"ffn.density": 0.1}``: what a ``value`` of the file may be.

        Raises:
            InputError: a change that is not possible, or a parameter without a value; all of them.
        """
        asked, faults = _changes(changes or {})
        found: dict[str, list[GroupParameters]] = {}
        for kind in KINDS:
            values = self._values(kind, model)
            _replace(values, asked[kind])
            columns = {}
            for name, value in values.items():
                try:
                    columns[name] = self._over_depth(name, value, layers)
                except InputError as error:
                    faults.append(f"{kind}.{name}: {error}")
            missing = [" or ".join(names) for names in _NEEDED if not any(name in values for name in names)]
            faults += [f"{kind}.{names}: expected a value, found none" for names in missing]
            if not faults:
                found[kind] = [
                    GroupParameters(**{name: column[layer] for name, column in columns.items()})
                    for layer in range(layers)
                ]
        if faults:
            raise InputError("; ".join(faults), faults)
        return found

    def for_model(self, model: str) -> "TracePreset":
        """Return the preset with what it has for one model, by its name, in the place of what it has for all."""
        tables: dict[str, KindValues] = {kind: KindValues(**self._values(kind, model)) for kind in KINDS}
        return self.model_copy(update={**tables, "models": {}})

    def _values(self, kind: str, model: str) -> dict[str, Value]:
        own = sorted((name for name in self.models if f"{model}-".startswith(f"{name}-")), key=len)
        values: dict[str, Value] = {}
        for table in (getattr(self, kind), *(getattr(self.models[name], kind) for name in own)):
            _replace(values, table)
        return values

    def _over_depth(self, name: str, value: Value, layers: int) -> list[float]:
        numbers: float | Sequence[float]
        if isinstance(value.value, str):
            profile = self.profiles.get(value.value, {})
            if name not in profile:
                known = [p for p, columns in self.profiles.items() if name in columns]
                raise InputError(
                    f"expected numbers or a profile with {name} ({', '.join(known) or 'none'}), found {value.value!r}"
                )
            numbers = profile[name]
        else:
            numbers = value.value
        given = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
        at = np.linspace(0, given.size - 1, layers)
        return [float(x) for x in np.interp(at, np.arange(given.size), given)]


def preset_names() -> list[str]:
    """Return the names of the presets that ship with ndpsim."""
    return sorted(path.stem for path in (workloads_dir() / "sparsity").glob("*.toml"))


def load_preset(name: str) -> TracePreset:
    """Load a preset by name, or from a `.toml` file. Raises InputError naming the file and all its faults."""
    path = Path(name) if name.endswith(".toml") else workloads_dir() / "sparsity" / f"{name}.toml"
    if not name.endswith(".toml") and name not in preset_names():
        raise InputError(f"preset '{name}': expected one of {', '.join(preset_names())}, or a .toml file")
    return preset_from(read_toml(path), str(path))


def preset_from(content: Mapping[str, Any], where: str) -> TracePreset:
    """Return the preset that the content of a file describes. Raises InputError with all faults after `where`."""
    return table_from(TracePreset, content, where)


def read_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Read changes as they are typed, ``ffn.density=0.1``: a name and a value in TOML, or the name of a profile."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not name or not text:
            raise InputError(f"change: expected NAME=VALUE, found {pair!r}")
        try:
            changes[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name] = text
    return changes


def _changes(changes: Mapping[str, Any]) -> tuple[dict[str, KindValues], list[str]]:
    tables: dict[str, dict[str, Value]] = {kind: {} for kind in KINDS}
    faults = []
    for path, value in changes.items():
        kind, _, name = path.partition(".")
        if kind not in KINDS or name not in KindValues.model_fields:
            known = ", ".join(KindValues.model_fields)
            faults.append(f"{path}: expected {' or '.join(KINDS)}, a point and one of {known}")
            continue
        number = float(value) if type(value) is int else value
        try:
            tables[kind][name] = Value(value=number, source="asked for")
        except ValidationError:
            faults.append(f"{path}: expected {VALUE}, found {shown(value)}")
    return {kind: KindValues(**table) for kind, table in tables.items()}, faults


def _replace(values: dict[str, Value], table: KindValues) -> None:
    """Put the values of a table in the place of what they stand instead of."""
    given = {name: value for name in KindValues.model_fields if (value := getattr(table, name)) is not None}
    for names in ALTERNATIVES:
        if any(name in given for name in names):
            for name in names:
                values.pop(name, None)
    values.update(given)
