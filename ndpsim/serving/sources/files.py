"""Requests from a file: CSV, JSON lines, or a JSON list of objects. What is in it decides, not its name."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ndpsim.errors import InputError
from ndpsim.files import unreadable
from ndpsim.serving.sources.columns import (
    MAX_NUMBER,
    MAX_TOKENS,
    PREFIXES,
    PRIORITY,
    Place,
    arrivals,
    columns_of,
    counts,
    prefixes,
)
from ndpsim.serving.workload import Workload

MAX_BYTES: Final = 1 << 30
MOONCAKE_TOKENS: Final = 512
"""Tokens of a prompt that one of Mooncake's hash_ids stands for (its README)."""


class _Entries(NamedTuple):
    """What a file has. values: by column, one for each entry; place: how a message calls an entry; head: the names."""

    names: Sequence[str]
    values: Sequence[Sequence[Any]]
    place: Place
    head: str


def read_workload(path: str | Path, first: int | None = None) -> Workload:
    """Read the requests of a file, or its `first` ones.

    Times begin with the first request. All arrive at once where the file has no times.

    Raises:
        InputError: the file cannot be read, or one of its entries is wrong: file, line, column and value.
    """
    text = _text(path)
    start = text.lstrip()[:1]
    entries = _listed(path, text) if start == "[" else _lines(path, text) if start == "{" else _table(path, text)
    count = len(entries.values[0]) if entries.values else 0
    if not count:
        raise InputError(f"{path}: expected requests, found none")
    if first is not None:
        if not 1 <= first <= count:
            raise InputError(f"{path}: expected 1 to {count} of its requests, found {first}")
        entries = entries._replace(values=[column[:first] for column in entries.values])
    return _workload(entries)


def _workload(entries: _Entries) -> Workload:
    time, prompt, output = columns_of(entries.names, entries.head)
    columns, place = dict(zip(entries.names, entries.values, strict=True)), entries.place
    prompts = counts(columns[prompt], prompt, 1, MAX_TOKENS, place)
    outputs = counts(columns[output], output, 1, MAX_TOKENS, place)
    at = np.zeros(len(prompts), np.int64) if time is None else arrivals(columns[time], time, place)
    more: dict[str, Any] = {}
    if PRIORITY in columns:
        more["priorities"] = counts(columns[PRIORITY], PRIORITY, 0, MAX_NUMBER, place)
    if PREFIXES in columns:
        ids, starts = prefixes(columns[PREFIXES], prompts.tolist(), MOONCAKE_TOKENS, place)
        more |= {"prefix_tokens": MOONCAKE_TOKENS, "prefixes": ids, "prefix_starts": starts}
    return Workload(at, prompts, outputs, **more)


def _text(path: str | Path) -> str:
    reason = unreadable(path)
    if reason:
        raise InputError(f"{path}: expected a file of requests, found: {reason}")
    if Path(path).stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: expected at most {MAX_BYTES} bytes, found {Path(path).stat().st_size}")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected text in UTF-8, found: {error}") from None


def _table(path: str | Path, text: str) -> _Entries:
    try:
        rows = [(at, row) for at, row in enumerate(csv.reader(text.splitlines(), strict=True), 1) if row]
    except csv.Error as error:
        raise InputError(f"{path}: expected a table with commas, found: {error}") from None
    if not rows:
        raise InputError(f"{path}: expected requests, found none")
    head, names = rows[0][0], [name.strip() for name in rows[0][1]]
    for at, row in rows[1:]:
        if len(row) != len(names):
            raise InputError(f"{path}: line {at}: expected {len(names)} columns, found {len(row)}: {','.join(row)!r}")
    values = list(zip(*(row for _, row in rows[1:]), strict=True)) or [()] * len(names)
    return _Entries(names, values, lambda i: f"{path}: line {rows[i + 1][0]}", f"{path}: line {head}")


def _lines(path: str | Path, text: str) -> _Entries:
    numbered = [(at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    found = []
    for at, line in numbered:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: line {at}: expected a JSON object, found: {error}") from None
    return _objects(found, lambda i: f"{path}: line {numbered[i][0]}")


def _listed(path: str | Path, text: str) -> _Entries:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON list of objects, found: {error}") from None
    if not found:
        raise InputError(f"{path}: expected requests, found none")
    return _objects(found, lambda i: f"{path}: entry {i + 1}")


def _objects(found: list[Any], place: Place) -> _Entries:
    names = list(found[0]) if isinstance(found[0], dict) else []
    for i, one in enumerate(found):
        if not isinstance(one, dict) or one.keys() != set(names) or not names:
            shown = ", ".join(one) if isinstance(one, dict) else repr(one)[:60]
            raise InputError(f"{place(i)}: expected an object with {', '.join(names) or 'lengths'}, found {shown}")
    return _Entries(names, [[one[name] for one in found] for name in names], place, place(0))
