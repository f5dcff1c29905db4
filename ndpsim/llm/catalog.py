"""The models that ship with ndpsim, by name: shapes, and those that come with weights and can be run."""

from os.path import isfile
from pathlib import Path
from typing import Any

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel, read_card
from ndpsim.llm.shape import ModelShape, shape_from
from ndpsim.tables import read_toml


def model_names() -> list[str]:
    """Return the names of the models with weights that ship with ndpsim."""
    return sorted(path.parent.name for path in _folder().glob("*/model.toml"))


def shape_names() -> list[str]:
    """Return the names of all models that ship with ndpsim, with weights or without."""
    return sorted([*model_names(), *(path.stem for path in _folder().glob("*.toml"))])


def load_model(name: str) -> LanguageModel:
    """Load a model with its weights by name, or from a folder. Raises InputError that lists the known names."""
    shipped = _folder() / name
    folder = shipped if name in model_names() else Path(name)
    if not isfile(folder / "model.toml"):
        raise InputError(f"model '{name}': expected one of {', '.join(model_names())}, or a folder with a model.toml")
    return LanguageModel.load(folder)


def load_shape(name: str) -> ModelShape:
    """Load the shape of a model by name, from a model file (`.toml`), or from a folder with weights.

    Raises:
        InputError: there is no such model (the known names are listed), or its file is not as it must be (all faults).
    """
    where, content = shape_content(name)
    return shape_from(content, where)


def shape_content(name: str) -> tuple[str, dict[str, Any]]:
    """Return the file of a model's shape, and its content for `shape_from`. Raises InputError as `load_shape` does."""
    shipped = _folder() / name
    for folder in (shipped, Path(name)):
        if name and isfile(folder / "model.toml"):
            return str(folder / "model.toml"), read_card(folder / "model.toml").shape.model_dump(mode="json")
    path = Path(name) if name.endswith(".toml") else shipped.with_name(f"{shipped.name}.toml")
    if name.endswith(".toml") or name in shape_names():
        return str(path), read_toml(path)
    raise InputError(f"model '{name}': expected one of {', '.join(shape_names())}, or a model file (.toml)")


def _folder() -> Path:
    return workloads_dir() / "models"
