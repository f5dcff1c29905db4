"""The kernel that reads the lines of a request trace; `text.py` has the notation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.requests.request import MAX_ADDRESS, MAX_AFTER, MAX_CYCLE, Requests
from ndpsim.jit import njit

FINE, SHAPE, ADDRESS, CYCLE, ORDER, AFTER, BEYOND = range(7)
MAX_FIELDS = 4
_TAB, _NEWLINE, _RETURN, _BLANK, _HASH, _AT = (ord(c) for c in "\t\n\r #@")
_ZERO, _NINE, _A, _F, _X = (ord(c) for c in "09AFX")
_UPPER = 0xDF
SHORT_READS, SHORT_WRITES = (b"R", b"LD"), (b"W", b"ST")
LONG_READS, LONG_WRITES = (b"READ", b"P_MEM_RD", b"P_FETCH", b"IFETCH"), (b"WRITE", b"P_MEM_WR", b"BOFF")
_SHORT, _SHORT_WRITES, _LONG, _LONG_WRITES = (
    tuple(int.from_bytes(word, "big") for word in words)
    for words in (SHORT_READS, SHORT_WRITES, LONG_READS, LONG_WRITES)
)
_LONGEST_WORD = 8
ANY_WORD, SHORT_WORD, LONG_WORD = range(3)
_NOT_READ = -1


class Shape(NamedTuple):
    """Which field of a line is what; -1 for what it does not have.

    hexadecimal: 1 if addresses are hexadecimal with 0x or without, 0 if only with. dependent: 1 if a last field @k may
    follow. words: which of the words for reads and writes stand in it.
    """

    fields: int
    cycle: int
    operation: int
    address: int
    hexadecimal: int
    dependent: int
    words: int = ANY_WORD


class Progress(NamedTuple):
    """How far reading is: byte of the text, lines ended in it, requests in the block, and the fault of the next line.

    `latest` is the arrival of the last request.
    """

    at: int
    lines: int
    filled: int
    latest: int
    fault: int


@njit
def parse_lines(
    text: NDArray[np.uint8], at: int, shape: Shape, block: Requests, filled: int, first: int, latest: int
) -> Progress:
    """Read whole lines into the block behind the `filled` requests in it, until the text or the block is at its end.

    `first` is the number of the block's first request in the trace. At a fault, `at` is where the line begins.
    """
    begin, end = np.zeros(MAX_FIELDS, np.int64), np.zeros(MAX_FIELDS, np.int64)
    lines = 0
    while at < len(text) and filled < len(block.address):
        line = at
        fields, at = _split(text, at, begin, end)
        lines += 1
        if fields == 0:
            continue
        after = 0
        if fields == shape.fields + 1 and shape.dependent and text[begin[fields - 1]] == _AT:
            after = _decimal(text, begin[fields - 1] + 1, end[fields - 1], MAX_AFTER)
        elif fields != shape.fields:
            return Progress(line, lines - 1, filled, latest, SHAPE)
        write = _operation(text, begin[shape.operation], end[shape.operation], shape.words)
        start, stop = begin[shape.address], end[shape.address]
        if stop - start > 2 and text[start] == _ZERO and text[start + 1] & _UPPER == _X:
            address = _hexadecimal(text, start + 2, stop)
        else:
            address = _hexadecimal(text, start, stop) if shape.hexadecimal else _decimal(text, start, stop, MAX_ADDRESS)
        arrival = latest if shape.cycle < 0 else _decimal(text, begin[shape.cycle], end[shape.cycle], MAX_CYCLE)
        fault = FINE
        if write == _NOT_READ:
            fault = SHAPE
        elif address == _NOT_READ:
            fault = ADDRESS
        elif arrival == _NOT_READ:
            fault = CYCLE
        elif arrival < latest:
            fault = ORDER
        elif after == _NOT_READ:
            fault = AFTER
        elif after > first + filled:
            fault = BEYOND
        if fault != FINE:
            return Progress(line, lines - 1, filled, latest, fault)
        block.address[filled], block.write[filled] = address, write
        block.arrival[filled], block.after[filled] = arrival, after
        latest = arrival
        filled += 1
    return Progress(at, lines, filled, latest, FINE)


@njit
def _split(text: NDArray[np.uint8], at: int, begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[int, int]:
    """Find the fields of the line at a byte: fill in where they begin and end; return their number and the next line.

    A line with more than MAX_FIELDS counts as having one more than that.
    """
    fields = 0
    inside = comment = False
    while text[at] != _NEWLINE:
        byte = text[at]
        comment = comment or byte == _HASH
        if comment or byte in (_BLANK, _TAB, _RETURN):
            if inside:
                end[fields - 1] = at
            inside = False
        elif not inside:
            if fields == MAX_FIELDS:
                comment, fields = True, MAX_FIELDS + 1
            else:
                begin[fields] = at
                inside, fields = True, fields + 1
        at += 1
    if inside:
        end[fields - 1] = at
    return fields, at + 1


@njit
def _operation(text: NDArray[np.uint8], start: int, stop: int, words: int) -> int:
    """Return 1 for a write, 0 for a read, and _NOT_READ for any other word."""
    if stop - start > _LONGEST_WORD:
        return _NOT_READ
    word = 0
    for place in range(start, stop):
        word = word << 8 | int(text[place]) & _UPPER
    if words != LONG_WORD:
        if word in _SHORT:
            return 0
        if word in _SHORT_WRITES:
            return 1
    if words != SHORT_WORD:
        if word in _LONG:
            return 0
        if word in _LONG_WRITES:
            return 1
    return _NOT_READ


@njit
def _decimal(text: NDArray[np.uint8], start: int, stop: int, high: int) -> int:
    """Return a number up to `high`, or _NOT_READ."""
    value = 0
    for place in range(start, stop):
        digit = int(text[place]) - _ZERO
        if not 0 <= digit <= 9 or value > high // 10 or value * 10 > high - digit:
            return _NOT_READ
        value = value * 10 + digit
    return value if stop > start else _NOT_READ


@njit
def _hexadecimal(text: NDArray[np.uint8], start: int, stop: int) -> int:
    """Return a number up to MAX_ADDRESS, or _NOT_READ."""
    if stop == start:
        return _NOT_READ
    value = 0
    for place in range(start, stop):
        byte = int(text[place])
        if _ZERO <= byte <= _NINE:
            digit = byte - _ZERO
        elif _A <= byte & _UPPER <= _F:
            digit = (byte & _UPPER) - _A + 10
        else:
            return _NOT_READ
        if value > MAX_ADDRESS >> 4:
            return _NOT_READ
        value = value << 4 | digit
    return value
