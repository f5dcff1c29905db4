"""Command logs: what a controller sent, one record a command, in memory, as HDF5, or as CSV from other tools."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from ndpsim.dram.log_csv import read_csv
from ndpsim.errors import InputError
from ndpsim.files import CHECKSUMMED, appearing

COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REF")
FIELDS: dict[str, np.dtype[Any]] = {
    "cycle": np.dtype(np.int64),
    "command": np.dtype(np.uint8),
    "dimm": np.dtype(np.int16),
    "rank": np.dtype(np.int16),
    "bank_group": np.dtype(np.int16),
    "bank": np.dtype(np.int16),
    "row": np.dtype(np.int32),
    "column": np.dtype(np.int32),
}
MAX_CYCLE = (1 << 48) - 1
MAX_COMMANDS = (1 << 31) - 1
FORMAT = "ndpsim-dram-log"
VERSION = 1
_CHUNK = 1 << 16

Bus = Literal["rank", "channel"]


class CommandLog(NamedTuple):
    """DRAM commands in the order sent; -1 where a field does not apply (the bank of a REF) or is not known.

    `bus` says what shares one command and data bus: all ranks of a DIMM ("channel"), or each rank alone ("rank", behind
    an NDP buffer chip). `standard` is a name for `load_standard`, empty where the file does not say.
    """

    cycle: npt.NDArray[np.int64]
    command: npt.NDArray[np.uint8]
    dimm: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int16]
    bank_group: npt.NDArray[np.int16]
    bank: npt.NDArray[np.int16]
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    standard: str = ""
    bus: Bus = "channel"


def write_log(path: str | os.PathLike[str], log: CommandLog) -> None:
    """Write the log as HDF5, whole or not at all."""
    path = Path(path)
    validate(log, str(path))
    with appearing(path) as part, h5py.File(part, "w", **CHECKSUMMED) as file:
        file.attrs.update(
            format=np.bytes_(FORMAT),
            version=VERSION,
            standard=np.bytes_(log.standard.encode()),
            bus=np.bytes_(log.bus),
            commands=np.array(COMMANDS, "S"),
        )
        packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
        for name, dtype in FIELDS.items():
            values = np.asarray(getattr(log, name), dtype)
            chunks = (min(max(len(values), 1), _CHUNK),)
            file.create_dataset(name, data=values, chunks=chunks, maxshape=(None,), **packing)


def read_log(path: str | os.PathLike[str]) -> CommandLog:
    """Read a log: `.csv` and `.csv.gz` as CSV, anything else as HDF5."""
    path = Path(path)
    if path.name.lower().endswith((".csv", ".csv.gz")):
        arrays: dict[str, Any] = read_csv(path, COMMANDS, FIELDS)
        log = CommandLog(**arrays)
    else:
        if not path.is_file():
            raise InputError(f"{path}: expected a command log in HDF5 or CSV, found: No such file")
        try:
            with h5py.File(path, "r") as file:
                log = _read_hdf5(file, path)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"{path}: expected a command log in HDF5 or CSV, found: {reason}") from error
    validate(log, str(path))
    return log


def _read_hdf5(file: h5py.File, path: Path) -> CommandLog:
    expected = {"format": FORMAT, "version": VERSION, "commands": list(COMMANDS)}
    for name, wanted in expected.items():
        found = _attribute(file, name)
        if found != wanted:
            raise InputError(f"{path}: {name}: expected {wanted!r}, found {found!r}")
    text = {name: _attribute(file, name) for name in ("standard", "bus")}
    for name, value in text.items():
        if not isinstance(value, str):
            raise InputError(f"{path}: {name}: expected text, found {value!r}")
    content: dict[str, Any] = {name: _read_dataset(file, path, name) for name in FIELDS}
    return CommandLog(**content, **text)


def _attribute(file: h5py.File, name: str) -> Any:
    """Return an attribute as plain Python; text may be stored with a fixed length, as `write_log` does, or without."""
    found: Any = file.attrs.get(name)
    found = found.tolist() if isinstance(found, np.ndarray | np.generic) else found
    if isinstance(found, list):
        return [one.decode() if isinstance(one, bytes) else one for one in found]
    return found.decode() if isinstance(found, bytes) else found


def _read_dataset(file: h5py.File, path: Path, name: str) -> npt.NDArray[Any]:
    dataset = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise InputError(f"{path}: {name}: expected a dataset stored in the file, found none")
    if dataset.ndim != 1 or dataset.dtype != FIELDS[name] or dataset.shape[0] > MAX_COMMANDS:
        raise InputError(
            f"{path}: {name}: expected a list of {FIELDS[name]}, found {dataset.dtype} of shape {dataset.shape}"
        )
    values: npt.NDArray[Any] = dataset[:]
    return values


def validate(log: CommandLog, where: str) -> None:
    """Refuse arrays that are no log at all: lengths that differ, unknown commands, cycles out of range."""
    length = len(log.cycle)
    for name, dtype in FIELDS.items():
        values = getattr(log, name)
        if values.ndim != 1 or len(values) != length or values.dtype.kind not in "iu":
            raise InputError(
                f"{where}: {name}: expected {length} integers, found {values.dtype} of shape {values.shape}"
            )
        if values.dtype != dtype and length:
            _in_range(values, np.iinfo(dtype).min, np.iinfo(dtype).max, where, name)
    if log.bus not in ("rank", "channel"):
        raise InputError(f"{where}: bus: expected 'rank' or 'channel', found {log.bus!r}")
    if length:
        _in_range(log.command, 0, len(COMMANDS) - 1, where, "command")
        _in_range(log.cycle, 0, MAX_CYCLE, where, "cycle")


def _in_range(values: npt.NDArray[Any], low: int, high: int, where: str, name: str) -> None:
    for found in (int(values.min()), int(values.max())):
        if not low <= found <= high:
            raise InputError(f"{where}: {name}: expected an integer from {low} to {high}, found {found}")
