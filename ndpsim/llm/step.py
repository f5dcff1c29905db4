"""A step: what one forward pass has to do, for each sequence of its batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from operator import add, mul
from typing import Any

from ndpsim.errors import InputError


@dataclass(frozen=True)
class Step:
    """New tokens of each sequence, the tokens that its KV cache holds already, and how many logits are wanted.

    Prefill, decode, chunks of a prefill and any mixture of them are steps. `new_tokens` (each at least 1) and
    `cached_tokens` (each at least 0) are tuples; lists and integer arrays of shape (sequences,) become such. `logits`
    is the number of tokens that go past the last layer: None is the last one of each sequence; a chunk that does not
    end its prompt needs none. `sequences` says which sequences these are, each by the number of its place among those
    that a system serves at a time; None is 0, 1, 2 and so on.

    Raises:
        InputError: an entry is out of range, or the fields do not fit together.
    """

    new_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...]
    logits: int | None = None
    sequences: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "new_tokens", _counts("new_tokens", self.new_tokens, least=1))
        object.__setattr__(self, "cached_tokens", _counts("cached_tokens", self.cached_tokens, least=0))
        new, cached = len(self.new_tokens), len(self.cached_tokens)
        if new != cached:
            raise InputError(f"step: cached_tokens: expected {new}, as many as new_tokens, found {cached}")
        if self.sequences is not None:
            object.__setattr__(self, "sequences", _counts("sequences", self.sequences, least=0))
            if len(set(self.places)) != new or len(self.places) != new:
                raise InputError(f"step: sequences: expected {new} different numbers, found {self.sequences}")
        if type(self.logit_tokens) is not int or not 0 <= self.logit_tokens <= self.tokens:
            raise InputError(f"step: logits: expected 0 to {self.tokens}, the new tokens, found {self.logits!r}")

    @classmethod
    def prefill(cls, batch: int, tokens: int) -> Step:
        """Return the step in which each of `batch` sequences reads a prompt of that many tokens."""
        return cls((tokens,) * batch, (0,) * batch)

    @classmethod
    def decode(cls, batch: int, context: int) -> Step:
        """Return the step in which each of `batch` sequences with `context` tokens in the KV cache gets one more."""
        return cls((1,) * batch, (context,) * batch)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The place of each sequence among those that a system serves."""
        return tuple(range(len(self.new_tokens))) if self.sequences is None else self.sequences

    @cached_property
    def prefills(self) -> Step | None:
        """The step's part in which sequences read their prompts, or chunks of them; None if no sequence does.

        A single token behind a context counts as decoding, whether it was generated or ends a prompt.
        """
        reading = [new > 1 or cached == 0 for new, cached in zip(self.new_tokens, self.cached_tokens, strict=True)]
        logits = None if self.logits is None else max(self.logits - reading.count(False), 0)
        return self._part(reading, logits)

    @cached_property
    def decodes(self) -> Step | None:
        """The step's part in which sequences get one token each behind what they have; None if no sequence does."""
        decoding = [new == 1 and cached > 0 for new, cached in zip(self.new_tokens, self.cached_tokens, strict=True)]
        return self._part(decoding, None)

    def _part(self, chosen: list[bool], logits: int | None) -> Step | None:
        if all(chosen):
            return self
        if not any(chosen):
            return None
        fields = (compress(one, chosen) for one in (self.new_tokens, self.cached_tokens, self.places))
        new, cached, places = map(tuple, fields)
        return Step(new, cached, logits, places)

    @cached_property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return sum(self.new_tokens)

    @cached_property
    def cached(self) -> int:
        """Tokens in the KV caches of all sequences, before the step."""
        return sum(self.cached_tokens)

    @cached_property
    def contexts(self) -> tuple[int, ...]:
        """Tokens of each sequence after the step."""
        return tuple(map(add, self.new_tokens, self.cached_tokens))

    @cached_property
    def pairs(self) -> int:
        """Pairs of a new token and one that it attends to: itself and all before it in its sequence."""
        new, cached = self.new_tokens, self.cached_tokens
        return sum(map(mul, new, cached)) + (sum(map(mul, new, new)) + self.tokens) // 2

    @property
    def logit_tokens(self) -> int:
        """Tokens that go past the last layer."""
        return len(self.new_tokens) if self.logits is None else self.logits


def _counts(name: str, values: Any, least: int) -> tuple[int, ...]:
    listed = values.tolist() if hasattr(values, "tolist") else values
    counts = tuple(listed) if isinstance(listed, Iterable) else ()
    if set(map(type, counts)) != {int} or min(counts) < least:
        wrong = [count for count in counts if type(count) is not int or count < least]
        found = repr(wrong[0]) if wrong else "none"
        raise InputError(f"step: {name}: expected at least one integer, each at least {least}, found {found}")
    return counts
