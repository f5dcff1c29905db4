"""What columns of request traces are called, and what is in them, whoever published the trace.

| trace | arrival | tokens to read | tokens to generate |
| --- | --- | --- | --- |
| Mooncake, JSON lines | timestamp, ms | input_length | output_length |
| Azure LLM inference, CSV | TIMESTAMP, a date | ContextTokens | GeneratedTokens |
| BurstGPT, CSV | Timestamp, s | Request tokens | Response tokens |
| lengths of Vidur and vAttention, CSV | | num_prefill_tokens | num_decode_tokens |
| lengths of NEO, JSON | | prompt | max_tokens |
| logs of LLMServingSim, JSON lines | arrival_time, s | input_toks | output_toks |

Plain tables have `arrival_s`, `arrival_ms` or `arrival_ns`, `input_tokens`, `output_tokens` and `priority`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.serving.workload import PS_PER_S

Ints = NDArray[np.int64]
MAX_TOKENS: Final = 1 << 20
MAX_SPAN_S: Final = 9_000_000
"""The latest arrival behind the first one: int64 picoseconds end at 9.2 million seconds."""
MAX_NUMBER: Final = (1 << 63) - 1

ARRIVALS: Final[Mapping[str, str]] = {
    "timestamp": "ms", "TIMESTAMP": "date", "Timestamp": "s", "arrival_time": "s",
    "arrival_s": "s", "arrival_ms": "ms", "arrival_ns": "ns",
}  # fmt: skip
PROMPTS: Final = (
    "input_length", "ContextTokens", "Request tokens", "num_prefill_tokens", "prompt", "input_toks", "input_tokens"
)  # fmt: skip
OUTPUTS: Final = (
    "output_length", "GeneratedTokens", "Response tokens", "num_decode_tokens", "max_tokens", "output_toks",
    "output_tokens",
)  # fmt: skip
PRIORITY: Final = "priority"
PREFIXES: Final = "hash_ids"
OTHERS: Final = (
    "Model", "Total tokens", "Log Type", "Session ID", "Elapsed time", "num_total_tokens", "pd_ratio",
    "request_id", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts",
)  # fmt: skip
"""Columns of these traces on which nothing depends here."""
_UNITS: Final = {"s": PS_PER_S, "ms": 10**9, "ns": 10**3}

Place = Callable[[int], str]
"""What a message calls the place of an entry, by its index: `file: line 7`."""


def columns_of(names: Sequence[str], where: str) -> tuple[str | None, str, str]:
    """Return what the columns of arrivals, of prompts and of outputs are called in a trace.

    Raises InputError if one is not known, or there twice, or if there are no lengths.
    """
    known = {*ARRIVALS, *PROMPTS, *OUTPUTS, PRIORITY, PREFIXES, *OTHERS}
    for i, name in enumerate(names):
        if name not in known:
            raise InputError(f"{where}: column {i + 1}: expected one of {', '.join(sorted(known))}, found {name!r}")
    found = [[name for name in names if name in group] for group in (ARRIVALS, PROMPTS, OUTPUTS)]
    for group, own, least in zip((ARRIVALS, PROMPTS, OUTPUTS), found, (0, 1, 1), strict=True):
        if not least <= len(own) <= 1 or len(set(names)) != len(names):
            raise InputError(f"{where}: expected one column of {', '.join(group)}, found {', '.join(own) or 'none'}")
    return found[0][0] if found[0] else None, found[1][0], found[2][0]


def counts(values: Sequence[Any], name: str, least: int, most: int, place: Place) -> Ints:
    """Return whole numbers, int64[entries], of texts or of what JSON has. Raises InputError at the first other one."""
    if len(values) and all(type(value) is int for value in values):
        numbers = values
    else:
        numbers = [_whole(value) for value in values]
    for i, number in enumerate(numbers):
        if number is None or not least <= number <= most:
            raise InputError(f"{place(i)}: {name}: expected a whole number from {least} to {most}, found {values[i]!r}")
    return np.array(numbers, np.int64)


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def arrivals(values: Sequence[Any], name: str, place: Place) -> Ints:
    """Return picoseconds behind the first arrival, int64[entries].

    Raises InputError at the first that is not a time in the unit of this column, before the one ahead, or too late.
    """
    unit = ARRIVALS[name]
    if unit == "date":
        times = np.array([_date(value) for value in values], "datetime64[ns]")
        wrong, form = np.isnat(times), "a date such as 2023-11-16 18:17:03.9799600"
        behind = (times - times[:1]).astype(np.int64) * _UNITS["ns"]
        seconds = (times - times[:1]).astype(np.float64) / 1e9
    else:
        numbers = np.array([_number(value) for value in values], np.float64)
        wrong, form = ~((numbers >= 0) & np.isfinite(numbers)), f"{unit} from 0 on"
        safe = np.where(wrong, 0, numbers)
        seconds = (safe - safe[:1]) * (_UNITS[unit] / PS_PER_S)
        behind = np.rint(np.clip(safe - safe[:1], -1e15, MAX_SPAN_S * PS_PER_S // _UNITS[unit]) * _UNITS[unit])
    _refuse(wrong, lambda i: f"{place(i)}: {name}: expected {form}, found {values[i]!r}")
    back = np.zeros(len(values), np.bool_)
    back[1:] = np.diff(seconds) < 0
    _refuse(
        back, lambda i: f"{place(i)}: {name}: expected no time before the one ahead, {values[i - 1]}, found {values[i]}"
    )
    _refuse(
        seconds > MAX_SPAN_S,
        lambda i: f"{place(i)}: {name}: expected at most {MAX_SPAN_S} s behind the first, found {values[i]}",
    )
    return behind.astype(np.int64)


def _refuse(wrong: NDArray[np.bool_], text: Callable[[int], str]) -> None:
    if wrong.any():
        raise InputError(text(int(wrong.argmax())))


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else np.nan
    except (ValueError, OverflowError):
        return np.nan


def _date(value: Any) -> np.datetime64:
    text = value.strip().removesuffix("Z").removesuffix("+00:00") if isinstance(value, str) else ""
    try:
        return (
            np.datetime64(text, "ns") if text[:1].isdigit() and len(text) >= len("2023-11-16") else np.datetime64("NaT")
        )
    except ValueError:
        return np.datetime64("NaT")


def prefixes(values: Sequence[Any], tokens: Iterable[int], per: int, place: Place) -> tuple[Ints, Ints]:
    """Return the prefixes of all entries, one after the other, and where each entry's begin, int64[entries + 1].

    values: lists of numbers, one for each `per` tokens of an entry's prompt. Raises InputError at the first other one.
    """
    found: list[int] = []
    starts = [0]
    for i, (own, length) in enumerate(zip(values, tokens, strict=True)):
        needed = -(-length // per)
        if not isinstance(own, list) or len(own) != needed:
            shown = len(own) if isinstance(own, list) else repr(own)
            raise InputError(f"{place(i)}: {PREFIXES}: expected {needed} for {length} tokens, found {shown}")
        for one in own:
            if type(one) is not int or not 0 <= one <= MAX_NUMBER:
                raise InputError(f"{place(i)}: {PREFIXES}: expected whole numbers from 0 on, found {one!r}")
        found += own
        starts.append(len(found))
    return np.array(found, np.int64), np.array(starts, np.int64)
