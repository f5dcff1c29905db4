"""The constraints of a DRAM standard: rows of a table with gaps as sums, and what they demand of pairs of commands."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Scope = Literal["bank", "bank_group", "rank", "other_rank"]


class RuleRow(NamedTuple):
    """One row of a standard's table: commands separated by blanks, and a gap such as `nCL + nBL + 2 - nCWL`.

    The gap is counted as JEDEC does, from the last clock of the earlier command to the last clock of the later one.
    """

    rule: str
    scope: Scope
    earlier: str
    later: str
    gap: str
    window: int = 1


class Constraint(NamedTuple):
    """`later` comes at least `gap` clocks after the latest `earlier` (the `window`-th latest), first clock to first."""

    rule: str
    scope: Scope
    earlier: str
    later: str
    gap: int
    window: int = 1


def terms(text: str) -> list[tuple[int, str]]:
    """Return the terms of a sum of names and integers, each with its sign; a ValueError says what is wrong."""
    words = text.split()
    signs = ["+", *words[1::2]]
    if not len(words) % 2 or set(signs) - {"+", "-"} or not all(word.isascii() for word in words):
        raise ValueError("a sum such as 'nCL + nBL + 2 - nCWL'")
    if not all(word.isidentifier() or (word.isdecimal() and len(word) < 10) for word in words[::2]):
        raise ValueError("a sum of timing names and integers")
    return [(1 if sign == "+" else -1, word) for sign, word in zip(signs, words[::2], strict=True)]


def names_in(text: str) -> list[str]:
    """Return the timing names in a sum, in order."""
    return [word for _, word in terms(text) if not word.isdecimal()]


def value_of(text: str, timing: Mapping[str, int]) -> int:
    """Return the value of a sum; `timing` has every name in it."""
    return sum(sign * (int(word) if word.isdecimal() else timing[word]) for sign, word in terms(text))


def expand(rows: Sequence[RuleRow], timing: Mapping[str, int], commands: Mapping[str, int]) -> tuple[Constraint, ...]:
    """Return one constraint for each pair of commands of each row, in their order, without those that bind nothing.

    `commands` says how many clocks each command takes on its bus.
    """
    found = []
    for row in rows:
        gap = value_of(row.gap, timing)
        for earlier in row.earlier.split():
            for later in row.later.split():
                from_first = gap + commands[earlier] - commands[later]
                if from_first > 0:
                    found.append(Constraint(row.rule, row.scope, earlier, later, from_first, row.window))
    return tuple(found)
