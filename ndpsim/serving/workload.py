"""Requests that arrive over time, as arrays: when each arrives, its tokens, and which prompts begin alike."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError

Ints = NDArray[np.int64]
PS_PER_S = 10**12


def _none() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival; all arrays are int64.

    arrivals, prompts, outputs, priorities: [requests]: picoseconds, none before the one ahead of it; tokens to read and
    to generate, each at least 1; a lower priority is served first where the engine heeds it.

    Prompts are known by prefixes, not by contents. `prefixes[prefix_starts[i]:prefix_starts[i + 1]]` are the prefixes
    of request i, one for each `prefix_tokens` tokens of its prompt; the last may stand for fewer. Two requests that
    have the same number at a place have the same tokens from the beginning up to there. No prompt shares anything
    with another if `prefix_tokens` is 0.

    Raises:
        InputError: an entry is out of range, or the arrays do not fit together; it begins with `request N`, from 1.
    """

    arrivals: Ints
    prompts: Ints
    outputs: Ints
    priorities: Ints = field(default_factory=_none)
    prefix_tokens: int = 0
    prefixes: Ints = field(default_factory=_none)
    prefix_starts: Ints = field(default_factory=_none)

    def __post_init__(self) -> None:
        count = len(self.arrivals)
        if len(self.priorities) == 0:
            object.__setattr__(self, "priorities", np.zeros(count, np.int64))
        if len(self.prefix_starts) == 0:
            object.__setattr__(self, "prefix_starts", np.zeros(count + 1, np.int64))
        if count == 0:
            raise InputError("requests: expected at least one, found none")
        for name, least in (("prompts", 1), ("outputs", 1), ("arrivals", 0)):
            values = getattr(self, name)
            if len(values) != count:
                raise InputError(f"{name}: expected {count} entries, found {len(values)}")
            _require(values < least, values, name, f"at least {least}")
        back = np.zeros(count, bool)
        back[1:] = np.diff(self.arrivals) < 0
        _require(back, self.arrivals, "arrivals", "picoseconds not before those of the request ahead")
        if len(self.priorities) != count or len(self.prefix_starts) != count + 1:
            raise InputError(f"priorities, prefix_starts: expected {count} and {count + 1} entries")
        if self.prefix_tokens:
            held = np.diff(self.prefix_starts)
            needed = -(-self.prompts // self.prefix_tokens)
            _require(held != needed, held, "prefixes", f"one for each {self.prefix_tokens} tokens of its prompt")

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def longest(self) -> int:
        """The most tokens that a request has in the end."""
        return int((self.prompts + self.outputs).max())


def _require(wrong: NDArray[np.bool_], values: Ints, name: str, allowed: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(f"request {first + 1}: {name}: expected {allowed}, found {values[first]}")
