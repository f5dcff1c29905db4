"""Where the data folders `isa/` and `workloads/` lie: inside an installed package, or beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(installed: str, beside: str) -> Path:
    inside = _PACKAGE / installed
    return inside if inside.is_dir() else _PACKAGE.parent / beside


def isa_dir() -> Path:
    """Return the folder that holds `ndp.toml`, `MANUAL.md` and `conformance/`."""
    return _folder("isa/data", "isa")


def workloads_dir() -> Path:
    """Return the folder that holds `models/` and `hardware/`."""
    return _folder("workloads_data", "workloads")
