"""The models that ship with ndpsim, by name."""

from pathlib import Path

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.llm.model import LanguageModel


def model_names() -> list[str]:
    """Return the names of the models that ship with ndpsim."""
    return sorted(path.parent.name for path in (workloads_dir() / "models").glob("*/model.toml"))


def load_model(name: str) -> LanguageModel:
    """Load a model by name, or from a folder. Raises InputError that lists the known names."""
    shipped = workloads_dir() / "models" / name
    folder = shipped if name in model_names() else Path(name)
    if not (folder / "model.toml").is_file():
        raise InputError(f"model '{name}': expected one of {', '.join(model_names())}, or a folder with a model.toml")
    return LanguageModel.load(folder)
