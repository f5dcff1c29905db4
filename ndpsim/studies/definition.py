"""What a study runs, read from `workloads/studies/NAME.toml`."""

import tomllib
from typing import TypeVar

from pydantic import ValidationError

from ndpsim.data import workloads_dir
from ndpsim.dram.standard_file import Table, faults_of_form
from ndpsim.errors import InputError

Definition = TypeVar("Definition", bound=Table)


def read_definition(name: str, form: type[Definition]) -> Definition:
    """Return the definition of a study in its form; an InputError lists every fault of the file, one on a line."""
    path = workloads_dir() / "studies" / f"{name}.toml"
    try:
        return form.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InputError(f"{path}: expected the definition of a study, found: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file, found: {error}") from None
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults_of_form(error))) from None
