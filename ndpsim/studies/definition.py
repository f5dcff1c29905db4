"""What a study runs, read from `workloads/studies/NAME.toml`."""

from typing import TypeVar

from pydantic import ValidationError

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.tables import Table, faults_of_form, read_toml

Definition = TypeVar("Definition", bound=Table)


def read_definition(name: str, form: type[Definition]) -> Definition:
    """Return the definition of a study in its form; an InputError lists every fault of the file, one on a line."""
    path = workloads_dir() / "studies" / f"{name}.toml"
    try:
        return form.model_validate(read_toml(path))
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults_of_form(error))) from None
