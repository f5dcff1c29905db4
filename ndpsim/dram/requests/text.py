"""Request traces as text, one request a line; a file has one form, which its first request tells.

| form | line | told by |
| --- | --- | --- |
| ndpsim | `[cycle] R|W address [@back]` | the word comes first, or stands second as R, W, LD or ST |
| ramulator | `address R|W` | two fields, the word last |
| dramsim3 | `address READ|WRITE cycle` | the word stands second as READ or WRITE, or the first field begins with 0x |

Examples of ours are `R 0x1f40`, `120 W 8000` and `R 64 @1`. Addresses are decimal or with 0x; those of dramsim3 are
hexadecimal with 0x or without, as that tool reads them. Cycles are decimal and do not decrease, in all lines or in
none. `@back` tells how many requests back the one lies that must be done first. `#` begins a comment. READ and LD are
other words for R, WRITE and ST for W; dramsim3's have P_MEM_RD, P_FETCH, IFETCH, P_MEM_WR and BOFF as well.
`# requests: N` on the first line must hold, and the last line then end with a newline, so that a cut file is noticed.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from ndpsim.dram.requests import lines
from ndpsim.dram.requests.lines import LONG_READS, LONG_WRITES, SHORT_READS, SHORT_WRITES, Progress, Shape, parse_lines
from ndpsim.dram.requests.request import DTYPES, MAX_ADDRESS, MAX_AFTER, MAX_CYCLE, Requests, Trace
from ndpsim.errors import InputError
from ndpsim.files import appearing

_BLOCK = 1 << 22
_LINES_WRITTEN = 1 << 16
_COUNT = re.compile(rb"#\s*requests:\s*(\d{1,18})\s*", re.ASCII)
_BOM = b"\xef\xbb\xbf"
_SHORT = re.compile(b"|".join((*SHORT_READS, *SHORT_WRITES)), re.IGNORECASE)
_LONG = re.compile(b"|".join((*LONG_READS, *LONG_WRITES)), re.IGNORECASE)
FORMS = ("ndpsim", "ramulator", "dramsim3")
_NDPSIM, _RAMULATOR, _DRAMSIM3 = FORMS
_LINES = {
    "R|W address [@back]": (_NDPSIM, Shape(2, -1, 0, 1, hexadecimal=0, dependent=1)),
    "cycle R|W address [@back]": (_NDPSIM, Shape(3, 0, 1, 2, hexadecimal=0, dependent=1)),
    "address R|W": (_RAMULATOR, Shape(2, -1, 1, 0, hexadecimal=0, dependent=0)),
    "address READ|WRITE cycle": (_DRAMSIM3, Shape(3, 2, 1, 0, hexadecimal=1, dependent=0)),
}
_PLAIN, _TIMED, _SWAPPED, _SWAPPED_TIMED = _LINES
_USIMM = re.compile(rb"\d+ (R 0x[0-9a-f]+ 0x[0-9a-f]+|W 0x[0-9a-f]+)", re.IGNORECASE)


class _Start(NamedTuple):
    """What a file begins with: its number of requests, if it says so; the first request's kind of line, and its number.

    `kind` is a key of _LINES, `line` is 0 where there is no request. words: the words that stand for reads and writes.
    """

    requests: int | None
    kind: str
    line: int
    words: int

    @property
    def shape(self) -> Shape:
        """Return what the fields of a line are."""
        return _LINES[self.kind][1]._replace(words=self.words)


def open_text(path: Path, form: str | None = None) -> Trace:
    """Return the trace in a text file; its lines are checked as its blocks are read.

    form: one of FORMS; None: what the first request tells.
    """
    start = _start(path, form)
    shape = start.shape
    length = 0 if start.requests is None and start.line == 0 else start.requests
    found = f"{_LINES[start.kind][0]}: {start.kind}"
    return Trace(length, shape.cycle >= 0, bool(shape.dependent), lambda size: _blocks(path, start, size), found)


def write_text(path: Path, requests: Requests, timed: bool) -> None:
    """Write requests as text, compressed if the name ends in .gz, whole or not at all."""
    count = len(requests.address)
    with appearing(path) as part, _writing(part, path) as file:
        file.write(f"# requests: {count}\n".encode())
        for start in range(0, count, _LINES_WRITTEN):
            columns = (column[start : start + _LINES_WRITTEN].tolist() for column in requests)
            written = [
                f"{f'{arrival} ' if timed else ''}{'W' if write else 'R'} {address:#x}{f' @{after}' if after else ''}\n"
                for address, write, arrival, after in zip(*columns, strict=True)
            ]
            file.write("".join(written).encode())


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
            binary = cast(BinaryIO, file)
            if binary.read(len(_BOM)) != _BOM:
                binary.seek(0)
            yield binary
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: expected a whole request trace, found: {reason}") from error


def _start(path: Path, form: str | None) -> _Start:
    requests, ended = None, True
    with _reading(path) as file:
        number = 0
        while line := file.readline(_BLOCK):
            number += 1
            ended = line.endswith(b"\n")
            if number == 1 and (match := _COUNT.fullmatch(line)):
                requests = int(match[1])
            if fields := line.partition(b"#")[0].split():
                if form is None:
                    kind, words = _told(fields, f"{path}: line {number}: ")
                elif form == _NDPSIM:
                    kind, words = _PLAIN if _is_word(fields[0]) else _TIMED, lines.ANY_WORD
                else:
                    kind, words = _SWAPPED if form == _RAMULATOR else _SWAPPED_TIMED, lines.ANY_WORD
                return _Start(requests, kind, number, words)
    if not ended:
        raise _cut(path, number)
    return _Start(requests, _PLAIN, 0, lines.ANY_WORD)


def _cut(path: Path, line: int) -> InputError:
    return InputError(f"{path}: line {line}: expected a newline at its end, found a file that was cut short")


def _is_word(field: bytes) -> bool:
    return bool(_SHORT.fullmatch(field) or _LONG.fullmatch(field))


def _told(fields: list[bytes], where: str) -> tuple[str, int]:
    """Return the kind of line that a first request certainly is, and the words that it must keep to."""
    found = b" ".join(fields)
    if _USIMM.fullmatch(found) and len(fields) == 4:
        raise InputError(f"{where}expected a cycle or nothing before R|W, found USIMM's number of instructions")
    if _is_word(fields[0]):
        return _PLAIN, lines.ANY_WORD
    if len(fields) > 1 and _is_word(fields[1]):
        if len(fields) == 2:
            return _SWAPPED, lines.ANY_WORD
        if fields[0][:2].lower() == b"0x":
            return _SWAPPED_TIMED, lines.ANY_WORD
        return (_TIMED, lines.SHORT_WORD) if _SHORT.fullmatch(fields[1]) else (_SWAPPED_TIMED, lines.LONG_WORD)
    raise InputError(f"{where}expected [cycle] R|W address [@back], found {_shown(found)}")


def _blocks(path: Path, start: _Start, size: int) -> Iterator[Requests]:
    shape = start.shape
    block, filled, ahead, latest, line = _empty(size), 0, 0, 0, 1
    with _reading(path) as file:
        for text in _whole_lines(file, path, cut_is_told=start.requests is not None):
            data = np.frombuffer(text, np.uint8)
            at = 0
            while at < len(data):
                step = parse_lines(data, at, shape, block, filled, ahead, latest)
                line += step.lines
                if step.fault != lines.FINE:
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


def _whole_lines(file: BinaryIO, path: Path, *, cut_is_told: bool) -> Iterator[bytes]:
    """Yield pieces of the file that end with a newline; its last line need not, unless the file says how long it is."""
    rest, count = b"", 0
    while piece := file.read(_BLOCK):
        text, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            count += text.count(b"\n") + 1
            yield text + newline
        if len(rest) > _BLOCK:
            raise InputError(f"{path}: line {count + 1}: expected a request, found a line without end")
    if rest and not cut_is_told:
        yield rest + b"\n"
    elif rest:
        raise _cut(path, count + 1)


def _refusal(step: Progress, text: bytes, start: _Start, ahead: int, where: str) -> InputError:
    shape = start.shape
    line = text[step.at : text.index(b"\n", step.at)].partition(b"#")[0]
    if step.fault == lines.SHAPE:
        return InputError(f"{where}expected {start.kind}, as line {start.line} has it, found {_shown(line)}")
    place, expected = {
        lines.ADDRESS: (shape.address, f"address: expected a number from 0 to {MAX_ADDRESS}, {_notation(shape)}"),
        lines.CYCLE: (shape.cycle, f"cycle: expected a decimal number from 0 to {MAX_CYCLE}"),
        lines.ORDER: (shape.cycle, f"cycle: expected {step.latest} or later, as the request before has it"),
        lines.AFTER: (-1, f"@back: expected a decimal number from 0 to {MAX_AFTER}"),
        lines.BEYOND: (-1, f"@back: expected at most {ahead + step.filled}, as many requests as there are before"),
    }[step.fault]
    return InputError(f"{where}{expected}, found {_shown(line.split()[place])}")


def _notation(shape: Shape) -> str:
    return "hexadecimal" if shape.hexadecimal else "decimal or with 0x"


def _shown(text: bytes) -> str:
    return repr(text.strip()[:60].decode("ascii", "backslashreplace"))
