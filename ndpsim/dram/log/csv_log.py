"""The CSV form of a command log, parsed block by block with array operations: five million lines take seconds.

Fields may stand in quotation marks or between blanks, empty lines are passed over, lines may end in CR LF and the last
one in nothing, as any reader of CSV takes them.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ndpsim.errors import InputError

COLUMNS = ("cycle", "command", "rank", "bank_group", "bank", "row", "column")
MAY_BE_ADDED = ("dimm", "channel", "pseudo_channel")
ALIASES = {"REFab": "REF", "REFA": "REF", "PREab": "PREA", "PREpb": "PRE"}
_BLOCK = 1 << 23
_MAX_LINE = 1 << 10
_MAX_DIGITS = 18
_BLANKS = re.compile(rb"[ \t]*([,\n])[ \t]*")


class _Block(NamedTuple):
    """Some whole lines of the file, where each of their fields begins and ends, and the number of each line."""

    data: npt.NDArray[np.uint8]
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    numbers: range | npt.NDArray[np.int64]


def read_csv(path: Path, commands: Sequence[str], fields: Mapping[str, np.dtype[Any]]) -> Iterator[dict[str, Any]]:
    """Yield an array for each column of the file, block by block of lines; an empty field reads as -1."""
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            stream = cast(BinaryIO, file)
            header = _header(stream.readline(_MAX_LINE), path)
            for text, first_line in _whole_lines(stream, path):
                block = _split(text, len(header), first_line, path)
                arrays = {}
                for column, name in enumerate(header):
                    values = _commands(block, column, commands, path) if name == "command" else None
                    if values is None:
                        values = _integers(block, column, name, fields[name], path)
                    arrays[name] = values.astype(fields[name])
                yield arrays
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: expected a readable CSV file, found: {reason}") from error


def _header(line: bytes, path: Path) -> tuple[str, ...]:
    text = line.removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace").strip()
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if len(set(names)) < len(names) or not set(COLUMNS) <= set(names) <= {*COLUMNS, *MAY_BE_ADDED}:
        raise InputError(
            f"{path}: line 1: expected a header with {','.join(COLUMNS)} and, where the log has them, "
            f"{','.join(MAY_BE_ADDED)}, found {','.join(names)[:80]!r}"
        )
    return names


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, int]]:
    rest, line = b"", 2
    while piece := file.read(_BLOCK):
        text = rest + piece
        cut = text.rfind(b"\n") + 1
        text, rest = text[:cut], text[cut:]
        if text:
            yield text, line
            line += text.count(b"\n")
        if len(rest) > _MAX_LINE:
            raise InputError(f"{path}: line {line}: expected a record, found a line without end")
    if rest:
        yield rest + b"\n", line


def _plain(text: bytes, path: Path, first_line: int) -> tuple[bytes, range | npt.NDArray[np.int64]]:
    """Return lines without quotation marks, blanks around fields, CR and empty lines, and the number of each line."""
    text = text.replace(b"\r\n", b"\n")
    count = text.count(b"\n")
    if b'"' in text:
        text = _unquoted(text, path, first_line)
    if b" " in text or b"\t" in text:
        text = _BLANKS.sub(rb"\1", text.lstrip(b" \t"))
    if b"\n\n" not in text and not text.startswith(b"\n"):
        return text, range(first_line, first_line + count)
    lines = text.split(b"\n")[:-1]
    kept = [number for number, line in enumerate(lines, first_line) if line]
    return b"".join(line + b"\n" for line in lines if line), np.array(kept, np.int64)


def _unquoted(text: bytes, path: Path, first_line: int) -> bytes:
    """Return lines whose fields stand in no quotation marks; no field of ours holds what would need them."""
    plain = []
    reader = csv.reader(io.StringIO(text.decode("latin-1"), newline=""), skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            odd = next((field for field in fields if "," in field or "\n" in field or '"' in field), None)
            if odd is not None:
                where = first_line + reader.line_num - 1
                raise InputError(f"{path}: line {where}: expected integers and a command, found {odd[:40]!r}")
            plain.append(",".join(fields))
    except csv.Error as error:
        where = first_line + max(reader.line_num - 1, 0)
        raise InputError(f"{path}: line {where}: expected a record, found one with: {error}") from None
    return ("\n".join(plain) + "\n").encode("latin-1")


def _split(text: bytes, columns: int, first_line: int, path: Path) -> _Block:
    text, numbers = _plain(text, path, first_line)
    data = np.frombuffer(text, np.uint8)
    end = np.flatnonzero((data == ord(",")) | (data == ord("\n")))
    newline = data[end] == ord("\n")
    lines = int(newline.sum())
    if len(end) != lines * columns or not newline[columns - 1 :: columns].all():
        found = np.diff(np.flatnonzero(newline), prepend=-1)
        bad = int(np.flatnonzero(found != columns)[0])
        raise InputError(f"{path}: line {numbers[bad]}: expected {columns} fields, found {found[bad]}")
    begin = np.concatenate([np.zeros(1, np.int64), end + 1])[:-1]
    return _Block(data, begin.reshape(lines, columns), end.reshape(lines, columns), numbers)


def _commands(block: _Block, column: int, commands: Sequence[str], path: Path) -> npt.NDArray[Any]:
    begin, length = block.begin[:, column], block.end[:, column] - block.begin[:, column]
    codes = {name: code for code, name in enumerate(commands)}
    codes |= {alias: codes[name] for alias, name in ALIASES.items()}
    word: npt.NDArray[Any] = np.zeros(len(begin), np.uint64)  # the name, with zeros behind it
    for index in range(8):
        letter = np.where(index < length, block.data[np.minimum(begin + index, len(block.data) - 1)], np.uint8(0))
        word = (word << np.uint64(8)) | letter.astype(np.uint64)
    values = np.full(len(begin), -1, np.int8)
    for name, code in codes.items():
        spelt = np.uint64(int.from_bytes(name.encode().ljust(8, b"\0"), "big"))
        values[(word == spelt) & (length == len(name))] = code
    bad = np.flatnonzero(values < 0)
    if len(bad):
        _refuse(block, column, int(bad[0]), "command", f"one of {', '.join(codes)}", path)
    return values


def _integers(block: _Block, column: int, name: str, dtype: np.dtype[Any], path: Path) -> npt.NDArray[np.int64]:
    begin, end = block.begin[:, column], block.end[:, column]
    negative = (block.data[begin] == ord("-")) & (end > begin)
    first = begin + negative
    digits = end - first
    value = np.zeros(len(begin), np.int64)
    bad = (digits > _MAX_DIGITS) | (negative & (digits == 0))
    for index in range(min(int(digits.max(initial=0)), _MAX_DIGITS)):
        present = index < digits
        digit = block.data[np.minimum(first + index, len(block.data) - 1)] - np.uint8(ord("0"))
        bad |= present & (digit > 9)
        value = np.where(present, value * 10 + digit, value)
    value = np.where(negative, -value, value)
    value[end == begin] = -1
    low, high = (0 if name == "cycle" else -1), int(np.iinfo(dtype).max)
    bad |= (value < low) | (value > high)
    if bad.any():
        _refuse(block, column, int(np.flatnonzero(bad)[0]), name, f"an integer from {low} to {high}", path)
    return value


def _refuse(block: _Block, column: int, record: int, name: str, expected: str, path: Path) -> None:
    text = bytes(block.data[block.begin[record, column] : block.end[record, column]][:40]).decode("utf-8", "replace")
    raise InputError(f"{path}: line {block.numbers[record]}: {name}: expected {expected}, found {text!r}")
