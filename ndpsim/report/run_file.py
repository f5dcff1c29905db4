"""Result files of runs, whole or partial: what was run, all figures, the timeline, and where a partial run stands.

Layout (HDF5 with checksums of metadata and of all data; a file of the same run has the same bytes):

============================ ==========================================================================================
attribute ``format``         the text ``ndpsim-run``
attribute ``version``        2
attribute ``complete``       1 if all tokens are done, else 0
attribute ``prompt_ps``      length of the prompt in picoseconds
``setup``                    uint8[n], JSON: `ndpsim.runs.setup.Setup`
``figures``                  uint8[n], JSON: `ndpsim.report.figures.figures_of`
``token_ps``                 int64[passes], length of the pass of each output token but the first, in picoseconds
``timeline.device``          uint16[spans], place of the device in ``names``; likewise ``timeline.operation``
``timeline.layer``           int32[spans], -1 for none
``timeline.start``, ``.end`` int64[spans], picoseconds
``names``                    uint8[n], JSON: names of devices and operations; sums of the meter in their order
``state``                    uint8[n], JSON: name, type and shape of each array of the state; only in partial runs
``state.000``, ``001``, ...  those arrays, flat
============================ ==========================================================================================
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.files import has_checksums, unreadable
from ndpsim.hdf5_fields import column_of, integer_of, text_of
from ndpsim.hdf5_files import appearing_hdf5
from ndpsim.machine.meter import Meter
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.sparsity.trace import FAILURES
from ndpsim.sparsity.trace_format import one_line
from ndpsim.wall import WRITING

FORMAT: Final = "ndpsim-run"
VERSION: Final = 2
_CHUNK: Final = 1 << 16
_COLUMNS: Final = {"device": "uint16", "operation": "uint16", "layer": "int32", "start": "int64", "end": "int64"}
_SUMS: Final = ("operation", "link", "events")


@dataclass(frozen=True)
class RunFile:
    """A result file as it was read; figures: `ndpsim.report.figures`; state: of a partial run, arrays by name."""

    path: Path
    setup: Setup
    complete: bool
    prompt_ps: int
    token_ps: list[int]
    figures: dict[str, Any]
    meter: Meter
    state: dict[str, NDArray[Any]]

    def restored(self) -> Run:
        """Return the run, ready to go on.

        Raises InputError if it is complete, or if its state is not that of such a run.
        """
        if self.complete:
            raise InputError(f"{self.path}: expected a partial run, found a complete one")
        run = Run(self.setup)
        try:
            run.restore(self.prompt_ps, self.token_ps, self.meter, self.state)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        return run


@WRITING
def write_run(path: Path, run: Run) -> None:
    """Write the result of a run with at least one token; the file appears whole or not at all.

    Raises InputError if it cannot be written.
    """
    meter, state = run.system.meter, {} if run.complete else run.state()
    devices, operations = meter.spans.names
    names = {
        "devices": list(devices),
        "operations": list(operations),
        "busy": [[devices[device], operations[operation], time] for (device, operation), time in meter.busy.items()],
        **{name: list(getattr(meter, name).items()) for name in _SUMS},
    }
    with appearing_hdf5(path) as file:
        file.attrs["format"] = np.array(FORMAT.encode(), h5py.string_dtype("utf-8", len(FORMAT)))
        file.attrs["version"], file.attrs["complete"], file.attrs["prompt_ps"] = (
            VERSION,
            int(run.complete),
            run.prompt_ps,
        )
        _store(file, "setup", _bytes(run.setup.to_json()))
        _store(file, "figures", _bytes(json.dumps(figures_of(run), allow_nan=True)))
        _store(file, "token_ps", np.array(run.token_ps, np.int64))
        for (name, dtype), column in zip(_COLUMNS.items(), meter.spans.columns, strict=True):
            _store(file, f"timeline.{name}", np.array(column, dtype))
        _store(file, "names", _bytes(json.dumps(names)))
        if not run.complete:
            table = [[name, value.dtype.str, list(value.shape)] for name, value in state.items()]
            _store(file, "state", _bytes(json.dumps(table)))
            for i, value in enumerate(state.values()):
                _store(file, f"state.{i:03d}", np.ascontiguousarray(value).reshape(-1))


def read_run(path: Path) -> RunFile:
    """Read a result file. Raises InputError if it is missing, cut short, damaged, or no result file."""
    if found := unreadable(path):
        raise InputError(f"{path}: expected a result file of ndpsim run (HDF5), found {found}")
    try:
        if not has_checksums(path):
            raise InputError("expected a result file of ndpsim run (HDF5 with checksums), found no such content")
        with h5py.File(path, "r") as file:
            return _read(path, file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (*FAILURES, IndexError) as error:
        raise InputError(f"{path}: expected a whole result file of ndpsim run, found {one_line(error)}") from None


def _read(path: Path, file: h5py.File) -> RunFile:
    found = text_of(file, "format")
    if found != FORMAT:
        raise InputError(f"format: expected the attribute {FORMAT!r}, found {found!r}")
    if integer_of(file, "version") != VERSION:
        raise InputError(f"version: expected {VERSION}, found {file.attrs['version']}")
    complete = bool(integer_of(file, "complete"))
    setup = Setup.from_json(_text(file, "setup"))
    state = {}
    if not complete:
        for i, (name, dtype, shape) in enumerate(json.loads(_text(file, "state"))):
            state[name] = column_of(file, f"state.{i:03d}", dtype).reshape(shape)
    token_ps = column_of(file, "token_ps", "int64").tolist()
    passes = setup.output - 1
    if len(token_ps) > passes or complete != (len(token_ps) == passes):
        raise InputError(f"token_ps: expected {passes} passes, or fewer of a partial run, found {len(token_ps)}")
    figures = json.loads(_text(file, "figures"))
    return RunFile(path, setup, complete, integer_of(file, "prompt_ps"), token_ps, figures, _meter(file), state)


def _meter(file: h5py.File) -> Meter:
    names, meter = json.loads(_text(file, "names")), Meter()
    devices, operations = names["devices"], names["operations"]
    for device, operation, time in names["busy"]:
        meter.busy[devices[device], operations[operation]] = time
    for name in _SUMS:
        getattr(meter, name).update(dict(names[name]))
    for names_of, found in zip(meter.spans.names, (devices, operations), strict=True):
        names_of.update({name: i for i, name in enumerate(found)})
    columns = [column_of(file, f"timeline.{name}", dtype) for name, dtype in _COLUMNS.items()]
    for column, own in zip(columns, meter.spans.columns, strict=True):
        own.frombytes(column.tobytes())
    if len({len(column) for column in columns}) > 1 or any(
        column.max(initial=0) >= max(len(found), 1)
        for column, found in zip(columns, (devices, operations), strict=False)
    ):
        raise ValueError("columns of the timeline that do not go together")
    return meter


def _store(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    chunk = (max(min(len(values), _CHUNK), 1),)
    packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
    file.create_dataset(name, data=values, chunks=chunk, maxshape=(None,), track_times=False, **packing)


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _text(file: h5py.File, name: str) -> str:
    return bytes(column_of(file, name, "uint8")).decode()
