"""The parameters of Hermes, from `workloads/systems/hermes.toml`, each with its source."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.tables import Table, faults_of_form, read_toml


class Text(Table):
    """A name, and where it comes from."""

    value: Annotated[str, Field(min_length=1)]
    source: str


class Count(Table):
    """A positive whole number, and where it comes from."""

    value: Annotated[int, Field(strict=True, gt=0, le=1 << 20)]
    source: str


class Number(Table):
    """A positive number, and where it comes from."""

    value: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
    source: str


class MachineTable(Table):
    """The devices and links."""

    gpu: Text
    dimm: Text
    dimms: Count
    placement: Text
    pcie_gb_per_s: Number
    pcie_us: Number
    gpu_weights_gb: Number


class PolicyTable(Table):
    """The numbers of the policy that are not the predictor's own."""

    window: Count
    hot_above: Count


class HermesConfig(Table):
    """All parameters of a run but the model, the trace and the lengths."""

    machine: MachineTable
    policy: PolicyTable


def load_config(changes: dict[str, Any] | None = None) -> HermesConfig:
    """Return the shipped parameters, some replaced by path ("machine.dimms"). Raises InputError with all faults."""
    path = workloads_dir() / "systems" / "hermes.toml"
    content = read_toml(path)
    for name, value in (changes or {}).items():
        table, _, field = name.partition(".")
        if table not in content or field not in content[table]:
            known = ", ".join(f"{table}.{field}" for table in content for field in content[table])
            raise InputError(f"{name}: expected one of {known}")
        content[table][field] = {"value": value, "source": "asked for"}
    try:
        return HermesConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: " + "; ".join(faults_of_form(error))) from None
