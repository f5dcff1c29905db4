"""Tables of kernels as CSV: shapes to predict, and shapes with measured times to fit or to judge.

The first line names the columns: `op`, `dtype`, those of `kernels.COLUMNS` that are used, and `us`, the microseconds.
An empty cell is an absent one. A file may be compressed with gzip.
"""

import csv
import gzip
import io
import re
import zlib
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.gpu.kernels import (
    COLUMNS,
    Floats,
    Kernels,
    dtype_index,
    empty_table,
    fault_of_names,
    faults_of_shapes,
    op_index,
)

MAX_FAULTS: Final = 20
MAX_US: Final = 1e9
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NAMES: Final = ("op", "dtype")


class _KernelTable(NamedTuple):
    """Cells by column, the line of the file that each row came from, and the first fault of each faulty row."""

    cells: dict[str, tuple[str, ...]]
    lines: list[int]
    faults: dict[int, str]


def read_measurements(path: Path) -> tuple[Kernels, Floats]:
    """Read kernels and their measured times in microseconds, float64 [n], from a CSV file or a gzipped one.

    Raises:
        InputError: an unreadable file, or lines that are no kernels or have no positive time: up to 20 are named.
    """
    table = _table(_text(path), str(path), (*_NAMES, "us"))
    us, given = _numbers(table, "us")
    for i in np.flatnonzero(~(given & (us > 0) & (us <= MAX_US))).tolist():
        found = f"{us[i]:g}" if given[i] else "nothing"
        table.faults.setdefault(i, f"us: expected a number above 0 and up to {MAX_US:g}, found {found}")
    return _kernels(table, str(path)), us


def read_kernels(source: Path | TextIO) -> Kernels:
    """Read kernels from a CSV file, a gzipped one, or a stream of text; a column `us` is passed over.

    Raises:
        InputError: an unreadable file, or lines that are no kernels: up to 20 are named.
    """
    if isinstance(source, Path):
        return _kernels(_table(_text(source), str(source), _NAMES), str(source))
    try:
        text = source.read()
    except UnicodeDecodeError:
        raise InputError("input: expected text in UTF-8, found other bytes") from None
    return _kernels(_table(text.removeprefix("\ufeff"), "input", _NAMES), "input")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}") from None
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error):
        raise InputError(f"{path}: expected a whole gzip file, found a damaged or truncated one") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text in UTF-8, found other bytes") from None


def _table(text: str, name: str, needed: tuple[str, ...]) -> _KernelTable:
    lines, rows = [], []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: expected comma-separated values, found: {error}") from None
    known = (*_NAMES, *COLUMNS, "us")
    faults = [f"expected a column {column}, found none" for column in needed if column not in columns]
    faults += [f"expected columns among {', '.join(known)}, found '{c}'" for c in columns if c not in known]
    faults += [f"expected the column {c} once, found it again" for c in set(columns) if columns.count(c) > 1]
    if faults:
        raise InputError(f"{name}: line 1: " + "; ".join(sorted(faults)[:MAX_FAULTS]))
    if not rows:
        raise InputError(f"{name}: expected kernels below the line of columns, found none")
    ragged = {
        i: f"expected {len(columns)} cells, found {len(row)}" for i, row in enumerate(rows) if len(row) != len(columns)
    }
    for i in ragged:
        rows[i] = [""] * len(columns)
    return _KernelTable(dict(zip(columns, zip(*rows, strict=True), strict=True)), lines, ragged)


def _numbers(table: _KernelTable, column: str) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the numbers of a column and which cells hold one; a cell with anything else is a fault of its row."""
    cells = table.cells[column]
    value = {text: float(text) if _NUMBER.fullmatch(text.strip()) else None for text in set(cells)}
    for text in [text for text, number in value.items() if number is None]:
        if text.strip():
            for i in (i for i, cell in enumerate(cells) if cell == text):
                table.faults.setdefault(i, f"{column}: expected a number, found {text.strip()[:40]!r}")
        value[text] = np.nan
    numbers = np.array([value[text] for text in cells], np.float64)
    given = ~np.isnan(numbers)
    return np.where(given, numbers, 0), given


def _kernels(table: _KernelTable, name: str) -> Kernels:
    ops, dtypes = ([cell.strip() for cell in table.cells[column]] for column in _NAMES)
    kernels = empty_table(len(table.lines))
    pairs = {
        pair: (op_index(pair[0]), dtype_index(pair[1]), fault_of_names(*pair))
        for pair in set(zip(ops, dtypes, strict=True))
    }
    for i, pair in enumerate(zip(ops, dtypes, strict=True)):
        kernels.op[i], kernels.dtype[i], fault = pairs[pair]
        if fault:
            table.faults.setdefault(i, fault)
    given = np.zeros(kernels.shape.shape, np.bool_)
    for j, column in enumerate(COLUMNS):
        if column in table.cells:
            kernels.shape[:, j], given[:, j] = _numbers(table, column)
    for i, fault in faults_of_shapes(kernels, given).items():
        table.faults.setdefault(i, fault)
    if table.faults:
        found = [f"line {table.lines[i]}: {fault}" for i, fault in sorted(table.faults.items())]
        more = f"; and {len(found) - MAX_FAULTS} more lines" if len(found) > MAX_FAULTS else ""
        raise InputError(f"{name}: " + "; ".join(found[:MAX_FAULTS]) + more)
    return kernels
