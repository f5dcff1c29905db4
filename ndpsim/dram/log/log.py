"""Command logs: what a controller sent, one record a command, in memory, as HDF5, or as CSV from other tools.

A log that does not fit memory is written by `LogWriter` and read by `read_pieces`, some millions of commands at a time.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

import h5py
import numpy as np
import numpy.typing as npt

from ndpsim.dram.log.csv_log import read_csv
from ndpsim.errors import InputError
from ndpsim.files import unreadable
from ndpsim.hdf5_files import appearing_hdf5

COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REF", "REFsb", "REFpb", "RDN", "WRN", "RDab", "WRab")
FIELDS: dict[str, np.dtype[Any]] = {
    "cycle": np.dtype(np.int64),
    "command": np.dtype(np.uint8),
    "channel": np.dtype(np.int16),
    "pseudo_channel": np.dtype(np.int16),
    "dimm": np.dtype(np.int16),
    "rank": np.dtype(np.int16),
    "bank_group": np.dtype(np.int16),
    "bank": np.dtype(np.int16),
    "row": np.dtype(np.int32),
    "column": np.dtype(np.int32),
}
FROM_ZERO = ("channel", "pseudo_channel", "dimm")  # all is in the first of them where a log does not say
MAX_CYCLE = (1 << 48) - 1
MAX_COMMANDS = (1 << 31) - 1
FORMAT = "ndpsim-dram-log"
VERSION = 2
PIECE = 1 << 20
_CHUNK = 1 << 16

Bus = Literal["rank", "channel", "shared"]


class CommandLog(NamedTuple):
    """DRAM commands in the order sent; -1 where a field does not apply (the bank of a REF) or is not known.

    `cycle` is the first clock of a command that takes two. RDN and WRN are reads and writes between a rank and its own
    NDP unit, whose data stay off the channel; RDab and WRab are those of all banks at once, each with a unit at it.
    `bus` says what shares one command and data bus: all ranks of a channel ("channel"), each rank alone ("rank", behind
    an NDP buffer chip), or both ("shared", where a host and NDP units use the ranks at once): then each rank has a
    command bus, as ACT and PRE may be of either, and the data of RD and WR are on the channel's. `standard` is a name
    for `load_standard`, empty where the file does not say.
    """

    cycle: npt.NDArray[np.int64]
    command: npt.NDArray[np.uint8]
    channel: npt.NDArray[np.int16]
    pseudo_channel: npt.NDArray[np.int16]
    dimm: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int16]
    bank_group: npt.NDArray[np.int16]
    bank: npt.NDArray[np.int16]
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    standard: str = ""
    bus: Bus = "channel"

    @classmethod
    def of(cls, standard: str = "", bus: Bus = "channel", **fields: Any) -> "CommandLog":
        """Return a log of these arrays, of which `cycle` and `command` must be two.

        Channel, pseudo-channel and DIMM are 0, and all other fields -1, where they are not given.
        """
        length = len(fields["cycle"])
        missing = {
            name: np.full(length, 0 if name in FROM_ZERO else -1, dtype)
            for name, dtype in FIELDS.items()
            if name not in fields
        }
        return cls(**fields, **missing, standard=standard, bus=bus)

    def part(self, which: slice | npt.NDArray[Any]) -> "CommandLog":
        """Return the log of some of the commands."""
        fields: dict[str, Any] = {name: getattr(self, name)[which] for name in FIELDS}
        return self._replace(**fields)


def empty_log(bus: Bus = "channel") -> CommandLog:
    """Return a log without commands."""
    fields: dict[str, Any] = {name: np.empty(0, dtype) for name, dtype in FIELDS.items()}
    return CommandLog(**fields, bus=bus)


def joined(logs: list[CommandLog]) -> CommandLog:
    """Return logs of the same standard and bus, one after the other, as one log."""
    if len(logs) == 1:
        return logs[0]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(log, name) for log in logs]) for name in FIELDS}
    return logs[0]._replace(**arrays)


class LogWriter:
    """Writes a log as HDF5, piece by piece: `with LogWriter(path, standard, bus) as writer: writer.append(log)`.

    The file appears, whole, when the block ends well, and not at all otherwise.
    """

    def __init__(self, path: str | os.PathLike[str], standard: str = "", bus: Bus = "channel") -> None:
        self.path = Path(path)
        self.standard, self.bus = standard, bus
        self._stack = ExitStack()
        self._lost: OSError | None = None

    def __enter__(self) -> "LogWriter":
        with ExitStack() as stack:  # closes what is open if a later step fails
            self._file = stack.enter_context(appearing_hdf5(self.path))
            self._file.attrs.update(
                format=np.bytes_(FORMAT),
                version=VERSION,
                standard=np.bytes_(self.standard.encode()),
                bus=np.bytes_(self.bus),
                commands=np.array(COMMANDS, "S"),
            )
            packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            for name, dtype in FIELDS.items():
                self._file.create_dataset(
                    name, (0,), dtype, chunks=(_CHUNK,), maxshape=(None,), fletcher32=True, **packing
                )
            self._stack = stack.pop_all()
        return self

    def append(self, log: CommandLog) -> None:
        """Write these commands behind those that are written; InputError if they are no log or for another bus."""
        validate(log, str(self.path))
        if log.bus != self.bus:
            raise InputError(f"{self.path}: bus: expected {self.bus!r} as in the pieces before, found {log.bus!r}")
        for name in FIELDS:
            dataset, values = self._file[name], getattr(log, name)
            written = dataset.shape[0]
            if written + len(values) > MAX_COMMANDS:
                raise InputError(f"{self.path}: expected a log of at most {MAX_COMMANDS} commands, found more")
            if self._lost is not None:
                continue
            try:
                dataset.resize((written + len(values),))
                dataset[written:] = values
            except OSError as error:  # told when the block ends: what is being logged need not stop for it
                self._lost = error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = self._lost if error is None else error
        self._stack.__exit__(type(lost) if lost else None, lost, lost.__traceback__ if lost else None)
        if lost is not error:
            raise InputError(f"{self.path}: expected a place that can be written, found: {lost}")


def write_log(path: str | os.PathLike[str], log: CommandLog) -> None:
    """Write the log as HDF5, whole or not at all."""
    validate(log, str(path))
    with LogWriter(path, log.standard, log.bus) as writer:
        writer.append(log)


def read_log(path: str | os.PathLike[str]) -> CommandLog:
    """Read a log: `.csv` and `.csv.gz` as CSV, anything else as HDF5."""
    return joined(list(read_pieces(path, MAX_COMMANDS)))


def read_pieces(path: str | os.PathLike[str], commands: int = PIECE) -> Iterator[CommandLog]:
    """Yield a log in order, in pieces of at least so many commands (the last may have fewer); at least one piece."""
    path = Path(path)
    if path.name.lower().endswith((".csv", ".csv.gz")):
        pieces = _csv_pieces(path, commands)
    else:
        pieces = _hdf5_pieces(path, commands)
    for piece in pieces:
        validate(piece, str(path))
        yield piece


def _csv_pieces(path: Path, commands: int) -> Iterator[CommandLog]:
    waiting: list[CommandLog] = []
    for arrays in read_csv(path, COMMANDS, FIELDS):
        if sum(len(piece.cycle) for piece in waiting) >= commands:
            yield joined(waiting)
            waiting = []
        waiting.append(CommandLog.of(**arrays))
    yield joined(waiting or [empty_log()])


def _hdf5_pieces(path: Path, commands: int) -> Iterator[CommandLog]:
    if found := unreadable(path):
        raise InputError(f"{path}: expected a command log in HDF5 or CSV, found: {found}")
    try:
        with h5py.File(path, "r") as file:
            text = _attributes(file, path)
            datasets = {name: _dataset(file, path, name) for name in FIELDS}
            length = max(dataset.shape[0] for dataset in datasets.values())
            for start in range(0, max(length, 1), commands):
                arrays: dict[str, Any] = {name: data[start : start + commands] for name, data in datasets.items()}
                yield CommandLog(**arrays, **text)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: expected a command log in HDF5 or CSV, found: {reason}") from error


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    expected = {"format": FORMAT, "version": VERSION, "commands": list(COMMANDS)}
    for name, wanted in expected.items():
        found = _attribute(file, name)
        if found != wanted:
            raise InputError(f"{path}: {name}: expected {wanted!r}, found {found!r}")
    text = {name: _attribute(file, name) for name in ("standard", "bus")}
    for name, value in text.items():
        if not isinstance(value, str):
            raise InputError(f"{path}: {name}: expected text, found {value!r}")
    return text


def _attribute(file: h5py.File, name: str) -> Any:
    """Return an attribute as plain Python; text may be stored with a fixed length, as `LogWriter` does, or without."""
    found: Any = file.attrs.get(name)
    found = found.tolist() if isinstance(found, np.ndarray | np.generic) else found
    if isinstance(found, list):
        return [one.decode() if isinstance(one, bytes) else one for one in found]
    return found.decode() if isinstance(found, bytes) else found


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    dataset = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise InputError(f"{path}: {name}: expected a dataset stored in the file, found none")
    if dataset.ndim != 1 or dataset.dtype != FIELDS[name] or dataset.shape[0] > MAX_COMMANDS:
        raise InputError(
            f"{path}: {name}: expected a list of {FIELDS[name]}, found {dataset.dtype} of shape {dataset.shape}"
        )
    return dataset


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
    if log.bus not in get_args(Bus):
        raise InputError(f"{where}: bus: expected 'rank', 'channel' or 'shared', found {log.bus!r}")
    if length:
        _in_range(log.command, 0, len(COMMANDS) - 1, where, "command")
        _in_range(log.cycle, 0, MAX_CYCLE, where, "cycle")


def _in_range(values: npt.NDArray[Any], low: int, high: int, where: str, name: str) -> None:
    for found in (int(values.min()), int(values.max())):
        if not low <= found <= high:
            raise InputError(f"{where}: {name}: expected an integer from {low} to {high}, found {found}")
