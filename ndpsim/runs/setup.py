"""All that a run depends on, as plain data: the contents of its files after changes, lengths and seed.

`Setup.of` reads the files and changes their fields; a `Setup` written as JSON can be run again when the files are
others. Paths of fields begin with the table they are in: `gpu`, `dimm`, `pcie`, `cpu` (the machine file, and the files
of card and DIMM), `dram`, `model`, `preset` and `policy`.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ndpsim import __version__
from ndpsim.errors import InputError
from ndpsim.runs.setup_files import SetupFiles
from ndpsim.systems.catalog import SYSTEMS, load_system, plugin_place
from ndpsim.systems.system import ignored_by, is_ignored
from ndpsim.tables import Table, faults_of_form

MAX_BATCH: Final = 256
MAX_TOKENS: Final = 1 << 20
_LIBRARIES: Final = ("numpy", "numba", "h5py", "scipy")


class FileMark(Table):
    """A file that a run reads itself, and its SHA-256."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileMark":
        """Mark a file. Raises InputError if it cannot be read."""
        return cls(path=str(path.resolve()), sha256=_digest(path))

    def require_same(self) -> None:
        """Raise InputError if the file is not there any more, or another one now."""
        found = _digest(Path(self.path))
        if found != self.sha256:
            raise InputError(f"{self.path}: expected the file of the run, SHA-256 {self.sha256}, found {found}")


class Setup(Table):
    """A run: contents of files as they are used, and lengths.

    card: the graphics card, with its `efficiencies` by family and parameter; dram: the DIMM's standard alone
    (`standard_content`); plugin: the file of a system that does not ship; changes: what was set, for the record, and
    before: what was there, by path.
    """

    system: str
    plugin: FileMark | None
    batch: int
    prompt: int
    output: int
    seed: int
    trace: FileMark | None
    machine: dict[str, Any]
    dimm: dict[str, Any]
    dram: dict[str, Any]
    card: dict[str, Any]
    efficiencies: dict[str, dict[str, float]]
    model: dict[str, Any]
    preset: dict[str, Any]
    policy: dict[str, Any]
    changes: dict[str, Any]
    before: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        system: str = "hermes",
        model: str = "llama2-70b",
        machine: str = "hermes",
        batch: int = 1,
        prompt: int = 128,
        output: int = 128,
        preset: str = "paper",
        seed: int = 0,
        trace: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> "Setup":
        """Read all files by name or path, and change fields by path.

        system: see `load_system`; trace: a file in place of a generated trace.

        Raises:
            InputError: all faults, each with its file or path.
        """
        chosen = load_system(system)
        files = SetupFiles(dict(changes or {}))
        for name, value, least, most in (
            ("batch", batch, 1, MAX_BATCH), ("input", prompt, 1, MAX_TOKENS), ("output", output, 1, MAX_TOKENS),
            ("seed", seed, 0, (1 << 63) - 1),
        ):  # fmt: skip
            if not least <= value <= most:
                files.faults.append(f"{name}: expected {least} to {most}, found {value}")
        files.faults += [
            f"{path}: expected a path on which {chosen.name} depends, found one that it ignores"
            for path in changes or {}
            if is_ignored(path, ignored_by(chosen))
        ]
        parts = files.hardware(machine, chosen.several_cards) | files.software(chosen, model, preset, prompt + output)
        files.end()
        return cls(
            system=chosen.name if system in SYSTEMS else f"{plugin_place(system)[0].resolve()}:{chosen.__name__}",
            plugin=None if system in SYSTEMS else FileMark.of(plugin_place(system)[0]),
            batch=batch,
            prompt=prompt,
            output=output,
            seed=seed,
            trace=None if trace is None else FileMark.of(Path(trace)),
            changes=dict(changes or {}),
            before=files.before,
            versions=versions(),
            **parts,
        )

    def to_json(self) -> str:
        """Return one line of JSON, the same for equal setups."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Setup":
        """Read what `to_json` wrote. Raises InputError with all faults."""
        try:
            return cls.model_validate(json.loads(text))  # pydantic's own reader of JSON rounds some floats
        except ValidationError as error:
            faults = faults_of_form(error, cls)
            raise InputError("setup: " + "; ".join(faults), faults) from None
        except (ValueError, RecursionError):
            raise InputError("setup: expected JSON, found something else") from None


def versions() -> dict[str, str]:
    """Return the versions of all that a result can depend on."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"ndpsim": __version__, "python": platform.python_version(), **libraries}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
