"""The sequences that a system serves: who is there, and how many tokens each one has in its KV cache.

It stands between a system and the driver that asks it for steps, and refuses steps that cannot be.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.llm.step import Step
from ndpsim.systems.system import System

_AWAY = -1


class Sequences:
    """The places of a system. tokens: int64[places], tokens in the KV cache of each, -1 where no sequence is."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.tokens: NDArray[np.int64] = np.full(system.job.batch, _AWAY, np.int64)

    @property
    def kv_tokens(self) -> int:
        """Tokens in all KV caches."""
        return int(np.maximum(self.tokens, 0).sum())

    def enter(self, sequence: int, cached: int = 0) -> None:
        """Begin a sequence, of which so many tokens are in a KV cache already.

        Raises InputError if its place is taken, or not there.
        """
        if not 0 <= sequence < len(self.tokens) or self.tokens[sequence] != _AWAY:
            found = "a sequence there" if 0 <= sequence < len(self.tokens) else f"place {sequence}"
            raise InputError(f"sequence: expected a free place of {len(self.tokens)}, found {found}")
        self.system.enter(sequence)
        self.tokens[sequence] = cached

    def leave(self, sequence: int) -> None:
        """End a sequence. Raises InputError if it is not there."""
        self._require(sequence)
        self.system.leave(sequence)
        self.tokens[sequence] = _AWAY

    def forward(self, step: Step, now: int) -> int:
        """Run a step, and return when it has ended.

        Raises InputError if one of its sequences is not there, has another number of tokens in its cache, or would have
        more than the system is ready for; or if the system gives an end that is none.
        """
        most = self.system.job.capacity
        for place, cached, context in zip(step.places, step.cached_tokens, step.contexts, strict=True):
            self._require(place)
            if cached != self.tokens[place]:
                raise InputError(f"sequence {place}: expected {self.tokens[place]} cached tokens, found {cached}")
            if context > most:
                raise InputError(f"sequence {place}: expected at most {most} tokens, found {context}")
        end: Any = self.system.forward(step, now)
        if not isinstance(end, int | np.integer) or end < now:
            raise InputError(
                f"system {self.system.name}: expected an end in picoseconds, not before {now}, found {end!r}"
            )
        self.tokens[list(step.places)] = step.contexts
        return int(end)

    def _require(self, sequence: int) -> None:
        if not 0 <= sequence < len(self.tokens) or self.tokens[sequence] == _AWAY:
            raise InputError(f"sequence {sequence}: expected one that has entered, found none")
