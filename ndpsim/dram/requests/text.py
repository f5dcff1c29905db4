"""Request traces as text, one request a line: `[cycle] R|W address [@back]`.

Examples are `R 0x1f40`, `120 W 8000` and `R 64 @1`. Addresses are decimal or 0x, cycles decimal and not decreasing, in
all lines or in none. `@back` tells how many requests back the one lies that must be done first. `#` begins a comment.
READ, LD, WRITE and ST are other words for R and W. Lines of other tools, `address R|W` and `0xaddress READ cycle`, are
read as well; a file has one kind of line. `# requests: N` on the first line must hold, so that a cut file is noticed.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from ndpsim.dram.requests.lines import ADDRESS, AFTER, BEYOND, CYCLE, FINE, ORDER, SHAPE, Progress, Shape, parse_lines
from ndpsim.dram.requests.request import DTYPES, MAX_ADDRESS, MAX_AFTER, MAX_CYCLE, Requests, Trace
from ndpsim.errors import InputError
from ndpsim.files import appearing

_BLOCK = 1 << 22
_LINES_WRITTEN = 1 << 16
_COUNT = re.compile(rb"#\s*requests:\s*(\d{1,18})\s*", re.ASCII)
_WORD = re.compile(rb"R|READ|LD|W|WRITE|ST", re.IGNORECASE)
_SHAPES = {
    "R|W address [@back]": Shape(2, -1, 0, 1, hexadecimal=0, dependent=1),
    "cycle R|W address [@back]": Shape(3, 0, 1, 2, hexadecimal=0, dependent=1),
    "address R|W": Shape(2, -1, 1, 0, hexadecimal=0, dependent=0),
    "0xaddress READ|WRITE cycle": Shape(3, 2, 1, 0, hexadecimal=1, dependent=0),
}
_PLAIN, _TIMED, _SWAPPED, _SWAPPED_TIMED = _SHAPES


class _Start(NamedTuple):
    """What a file begins with: its number of requests, if it says so; the first request's kind of line, and its number.

    `kind` is a key of _SHAPES, `line` is 0 where there is no request.
    """

    requests: int | None
    kind: str
    line: int


def open_text(path: Path) -> Trace:
    """Return the trace in a text file; its lines are checked as its blocks are read."""
    start = _start(path)
    shape = _SHAPES[start.kind]
    length = 0 if start.requests is None and start.line == 0 else start.requests
    return Trace(length, shape.cycle >= 0, bool(shape.dependent), lambda size: _blocks(path, start, size))


def write_text(path: Path, requests: Requests, timed: bool) -> None:
    """Write requests as text, compressed if the name ends in .gz, whole or not at all."""
    count = len(requests.address)
    with appearing(path) as part, _writing(part, path) as file:
        file.write(f"# requests: {count}\n".encode())
        for start in range(0, count, _LINES_WRITTEN):
            columns = (column[start : start + _LINES_WRITTEN].tolist() for column in requests)
            lines = [
                f"{f'{arrival} ' if timed else ''}{'W' if write else 'R'} {address:#x}{f' @{after}' if after else ''}\n"
                for address, write, arrival, after in zip(*columns, strict=True)
            ]
            file.write("".join(lines).encode())


@contextmanager
def _writing(part: Path, path: Path) -> Iterator[BinaryIO]:
    with part.open("wb") as file:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(
                "", "wb", fileobj=file, mtime=0
            ) as packed:  # no name and date: equal traces, equal files
                yield cast(BinaryIO, packed)
        else:
            yield file


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: expected a whole request trace, found: {reason}") from error


def _start(path: Path) -> _Start:
    requests = None
    with _reading(path) as file:
        number = 0
        while line := file.readline(_BLOCK):
            number += 1
            if number == 1 and (match := _COUNT.fullmatch(line)):
                requests = int(match[1])
            if fields := line.partition(b"#")[0].split():
                return _Start(requests, _kind(fields, f"{path}: line {number}: "), number)
    return _Start(requests, _PLAIN, 0)


def _kind(fields: list[bytes], where: str) -> str:
    if _WORD.fullmatch(fields[0]):
        return _PLAIN
    if len(fields) > 1 and _WORD.fullmatch(fields[1]):
        if len(fields) == 2:
            return _SWAPPED
        return _SWAPPED_TIMED if fields[0][:2].lower() == b"0x" else _TIMED
    raise InputError(f"{where}expected [cycle] R|W address [@back], found {_shown(b' '.join(fields))}")


def _blocks(path: Path, start: _Start, size: int) -> Iterator[Requests]:
    shape = _SHAPES[start.kind]
    block, filled, ahead, latest, line = _empty(size), 0, 0, 0, 1
    with _reading(path) as file:
        for text in _whole_lines(file, path):
            data = np.frombuffer(text, np.uint8)
            at = 0
            while at < len(data):
                step = parse_lines(data, at, shape, block, filled, ahead, latest)
                line += step.lines
                if step.fault != FINE:
                    raise _refusal(step, text, start, ahead, f"{path}: line {line}: ")
                at, filled, latest = step.at, step.filled, step.latest
                if filled == size:
                    yield block
                    block, filled, ahead = _empty(size), 0, ahead + size
    if start.requests not in (None, ahead + filled):
        raise InputError(f"{path}: expected {start.requests} requests, as line 1 says, found {ahead + filled}")
    if filled:
        yield block.part(0, filled)


def _empty(size: int) -> Requests:
    return Requests.of(*(np.empty(size, dtype) for dtype in DTYPES))


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    rest, lines = b"", 0
    while piece := file.read(_BLOCK):
        text, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            lines += text.count(b"\n") + 1
            yield text + newline
        if len(rest) > _BLOCK:
            raise InputError(f"{path}: line {lines + 1}: expected a request, found a line without end")
    if rest:
        raise InputError(f"{path}: line {lines + 1}: expected a newline at its end, found a file that was cut short")


def _refusal(step: Progress, text: bytes, start: _Start, ahead: int, where: str) -> InputError:
    shape = _SHAPES[start.kind]
    line = text[step.at : text.index(b"\n", step.at)].partition(b"#")[0]
    if step.fault == SHAPE:
        return InputError(f"{where}expected {start.kind}, as line {start.line} has it, found {_shown(line)}")
    place, expected = {
        ADDRESS: (shape.address, f"address: expected a number from 0 to {MAX_ADDRESS}, {_notation(shape)}"),
        CYCLE: (shape.cycle, f"cycle: expected a decimal number from 0 to {MAX_CYCLE}"),
        ORDER: (shape.cycle, f"cycle: expected {step.latest} or later, as the request before has it"),
        AFTER: (-1, f"@back: expected a decimal number from 0 to {MAX_AFTER}"),
        BEYOND: (-1, f"@back: expected at most {ahead + step.filled}, as many requests as there are before"),
    }[step.fault]
    return InputError(f"{where}{expected}, found {_shown(line.split()[place])}")


def _notation(shape: Shape) -> str:
    return "with 0x" if shape.hexadecimal else "decimal or with 0x"


def _shown(text: bytes) -> str:
    return repr(text.strip()[:60].decode("ascii", "backslashreplace"))
