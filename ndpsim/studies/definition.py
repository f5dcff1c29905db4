"""What a study runs, read from `workloads/studies/NAME.toml`."""

from typing import TypeVar

from ndpsim.data import workloads_dir
from ndpsim.tables import Table, read_toml, table_from

Definition = TypeVar("Definition", bound=Table)


def read_definition(name: str, form: type[Definition]) -> Definition:
    """Return the definition of a study in its form; an InputError lists every fault of the file, one on a line."""
    path = workloads_dir() / "studies" / f"{name}.toml"
    return table_from(form, read_toml(path), str(path), lines=True)
