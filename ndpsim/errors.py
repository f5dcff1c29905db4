"""The two ways in which ndpsim says no: unreadable input, and a program or log that is wrong."""

from collections.abc import Iterable
from typing import Any


class InputError(Exception):
    """Input that cannot be used: one sentence naming the file, the field, what was found and what is allowed.

    faults: where a file has several, the sentence of each without the file, which begins with the field.
    """

    def __init__(self, text: str, faults: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.faults = tuple(faults)


class OutputError(InputError):
    """A result that could not be written. result: what was computed all the same."""

    def __init__(self, text: str, result: Any) -> None:
        super().__init__(text)
        self.result = result


class ProgramError(Exception):
    """Input that was read well and whose content says no: a trap, or a timing violation."""


class DisagreementError(ProgramError):
    """Two ways of timing a program that do not agree: an error of the simulator, not of what it was given."""
