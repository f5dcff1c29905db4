"""Generate activation traces of any size from published figures; GENERATOR.md describes the model.

Any run of tokens of any group and sequence can be made by itself and is always the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.sparsity.generation import generator_kernel as kernel
from ndpsim.sparsity.generation.counter_hash import key
from ndpsim.sparsity.generation.parameters import GroupChances, GroupParameters, solve
from ndpsim.sparsity.groups import KINDS
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader, row_bytes
from ndpsim.sparsity.trace_writer import TraceWriter

REFRESH, HELD, COMMON, OWN, CLAN, HOME, DRIFT_PAIRS, DRIFT, SEQUENCE_PAIRS, SEQUENCE = range(1, 11)
"""What a stream of random numbers is for: the first word of its key."""
MAX_TOKENS = 1 << 24
MAX_SEQUENCE = 1 << 30
_UNIT = float(1 << 32)
_SEATINGS_KEPT = 64
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class NeuronShape:
    """How many neurons a model has: ``layers`` times the two widths, of which one may be 0."""

    layers: int
    attention: int
    ffn: int

    def __post_init__(self) -> None:
        for name, least, most in (("layers", 1, 4096), ("attention", 0, 1 << 22), ("ffn", 0, 1 << 22)):
            found = getattr(self, name)
            if not least <= found <= most:
                raise InputError(f"{name}: expected {least} to {most}, found {found}")
        if not self.attention + self.ffn:
            raise InputError("attention, ffn: expected neurons in at least one of the two, found none")


class ActivationGenerator:
    """The activity of a model's neurons, as its parameters and a seed make it."""

    def __init__(
        self,
        shape: NeuronShape,
        parameters: Mapping[str, Sequence[GroupParameters]],
        *,
        seed: int = 0,
        run_tokens: int = 256,
        model: str = "generated",
        source: str = "generator",
    ) -> None:
        """Solve for what ``parameters`` ask.

        Args:
            shape: layers and widths.
            parameters: for each of the kinds `attention` and `ffn` that the shape has, one a layer.
            seed: 0 to 2^63 - 1; all randomness comes from it.
            run_tokens: tokens over which hotness changes as much as ``hot_changed`` says.
            model: name for the header of traces.
            source: where the parameters come from, for the header.

        Raises:
            InputError: a parameter that cannot be met; all of them in one sentence.
        """
        if not 0 <= seed < 1 << 63:
            raise InputError(f"seed: expected 0 to 2^63 - 1, found {seed}")
        if not 1 <= run_tokens <= MAX_TOKENS:
            raise InputError(f"run_tokens: expected 1 to {MAX_TOKENS}, found {run_tokens}")
        self.shape, self.seed, self.run_tokens, self.model, self.source = shape, seed, run_tokens, model, source
        self.chances: dict[str, list[GroupChances]] = {}
        faults = []
        for kind in KINDS:
            neurons = getattr(shape, kind)
            if neurons:
                groups = parameters.get(kind, ())
                if len(groups) != shape.layers:
                    raise InputError(f"{kind}: expected parameters of {shape.layers} layers, found {len(groups)}")
                try:
                    self.chances[kind] = solve(groups, neurons, run_tokens)
                except InputError as error:
                    faults += [f"{kind}: {fault}" for fault in str(error).split("; ")]
        if faults:
            raise InputError("; ".join(faults))
        self._groups = [(layer, kind) for layer in range(shape.layers) for kind in self.chances]
        self._homes: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))
        self._seats: dict[tuple[str, int, int, int], tuple[int, NDArray[np.int64], NDArray[np.int64]]] = {}

    def header(self, sequences: int = 1, prompt_tokens: int = 0) -> TraceHeader:
        """The header of a trace: groups in the order attention, ffn of layer 0, then of layer 1, and so on."""
        return TraceHeader(
            self.model,
            tuple(getattr(self.shape, kind) for _, kind in self._groups),
            "generated",
            self.source,
            self.seed,
            layer=tuple(layer for layer, _ in self._groups),
            kind=tuple(kind for _, kind in self._groups),
            sequences=sequences,
            prompt_tokens=prompt_tokens,
        )

    def rows(self, group: int, start: int, stop: int, sequence: int = 0) -> NDArray[np.uint8]:
        """Activity of a run of tokens of one sequence, packed as uint8[stop - start, ceil(neurons / 8)]."""
        if not 0 <= group < len(self._groups):
            raise InputError(f"group: expected 0 to {len(self._groups) - 1}, found {group}")
        if not 0 <= start <= stop <= MAX_TOKENS:
            raise InputError(f"token: expected 0 to {MAX_TOKENS}, found {start if start < 0 else stop}")
        _require("sequence", sequence, 0, MAX_SEQUENCE)
        home = self.home(group)
        chances = self._kernel_chances(group, sequence)
        rows = np.zeros((stop - start, row_bytes(len(home))), dtype=np.uint8)
        words = np.empty(len(chances.active), dtype=np.uint64)
        with np.errstate(over="ignore"):
            while start < stop:
                # seats change by one set of swaps in a run; a window lies in one run
                end = min(start + kernel.WINDOW, stop, (start // self.run_tokens + 1) * self.run_tokens)
                seats, moves = self._seating(group, sequence, start // self.run_tokens)
                kernel.rank_words(chances, start, end - start, words)
                kernel.neuron_rows(words, home, seats, moves, start, rows[len(rows) - stop + start :][: end - start])
                start = end
        return rows

    def write(
        self,
        path: Path,
        tokens: int,
        sequences: int = 1,
        *,
        first_sequence: int = 0,
        prompt_tokens: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Write a trace file, group by group, in memory that does not grow with it.

        Args:
            path: the file; it appears when all is done.
            tokens: tokens of each sequence.
            sequences: sequences of the batch.
            first_sequence: number of the first of them; other numbers are other texts for the same model.
            prompt_tokens: how many of the tokens are the prompt.
            progress: called with the groups done and the groups to do.
        """
        _require("tokens", tokens, 1, MAX_TOKENS)
        _require("first_sequence", first_sequence, 0, MAX_SEQUENCE)
        _require("prompt_tokens", prompt_tokens, 0, tokens)
        with TraceWriter(path, self.header(sequences, prompt_tokens), with_token_ids=False) as writer:
            for group in range(len(self._groups)):
                for start in range(0, tokens, kernel.WINDOW):
                    stop = min(start + kernel.WINDOW, tokens)
                    parts = [self.rows(group, start, stop, first_sequence + s) for s in range(sequences)]
                    writer.extend(group, np.stack(parts, axis=1))
                if progress is not None:
                    progress(group + 1, len(self._groups))

    def trace(
        self, tokens: int, sequences: int = 1, *, first_sequence: int = 0, prompt_tokens: int = 0
    ) -> ActivationTrace:
        """The trace that `write` writes, in memory: a bit for each neuron, token and sequence."""
        _require("tokens", tokens, 1, MAX_TOKENS)
        _require("first_sequence", first_sequence, 0, MAX_SEQUENCE)
        _require("prompt_tokens", prompt_tokens, 0, tokens)
        header = self.header(sequences, prompt_tokens)
        numbers = range(first_sequence, first_sequence + sequences)
        packed = [
            np.stack([self.rows(group, 0, tokens, number) for number in numbers], axis=1)
            for group in range(header.groups)
        ]
        return ActivationTrace(header, packed)

    def home(self, group: int) -> NDArray[np.int64]:
        """The rank by hotness of each neuron as a run begins, int64[neurons]; 0 is the hottest."""
        if self._homes[0] != group:
            layer, kind = self._groups[group]
            with np.errstate(over="ignore"):
                order = kernel.shuffled(self._key(HOME, kind, layer), getattr(self.shape, kind))
            self._homes = (group, np.asarray(order))
        return self._homes[1]

    def partners(self, group: int) -> NDArray[np.int32]:
        """The two neurons of the preceding group that each neuron is correlated with, int32[neurons, 2].

        What `ndpsim.sparsity.correlation.strongest` would find in a trace of any length; -1 where there is none.
        """
        before = self.header().preceding[group]
        clan = self.home(group).copy() >> 1
        if before < 0:
            return np.full((clan.size, 2), -1, dtype=np.int32)
        home = self.home(before)
        holder = np.full(2 * (clan.max() + 1), -1, dtype=np.int32)
        holder[home] = np.arange(home.size, dtype=np.int32)
        return holder.reshape(-1, 2)[clan]

    def _key(self, purpose: int, kind: str, *words: int) -> np.uint64:
        return np.uint64(key(self.seed, purpose, KINDS.index(kind), *words))

    def _kernel_chances(self, group: int, sequence: int) -> kernel.Chances:
        layer, kind = self._groups[group]
        chances = self.chances[kind][layer]
        p = chances.p if chances.p.size % 2 == 0 else np.append(chances.p, chances.p[-1])
        handed = [_whole(c.handed) for c in self.chances[kind][: layer + 1]]
        who = (sequence + 1, 0)
        clan_keys = [[self._key(CLAN, kind, i, s) for i in range(layer + 1)] for s in who]
        return kernel.Chances(
            layer,
            np.round(p * _UNIT).astype(np.int64),
            _whole(chances.refreshed),
            _whole(chances.held),
            _whole(chances.follows),
            np.array(handed, dtype=np.int64),
            _whole(chances.common),
            self._key(REFRESH, kind),
            self._key(HELD, kind),
            self._key(COMMON, kind, sequence + 1),
            np.array([self._key(OWN, kind, layer, s) for s in who], dtype=np.uint64),
            np.array(clan_keys, dtype=np.uint64),
        )

    def _seating(self, group: int, sequence: int, run: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Seats of the clans as a run begins, and the swaps in it; the latest run is kept for the next call."""
        layer, kind = self._groups[group]
        chances = self.chances[kind][layer]
        clans = (getattr(self.shape, kind) + 1) // 2
        drift, reseated = _whole(chances.drift), _whole(chances.reseated)
        name = (kind, drift, reseated, sequence)
        at, seats, moves = self._seats.get(name, (-1, None, None))
        if seats is None or moves is None or at > run:
            streams = self._key(SEQUENCE_PAIRS, kind, sequence + 1), self._key(SEQUENCE, kind, sequence + 1)
            at, seats = 0, kernel.swaps(*streams, clans, reseated, 0, self.run_tokens)[0]
            moves = self._moves(kind, clans, drift, 0)
        while at < run:
            at, seats = at + 1, moves[0][seats]
            moves = self._moves(kind, clans, drift, at)
        if len(self._seats) >= _SEATINGS_KEPT:
            self._seats.clear()
        self._seats[name] = (at, seats, moves)
        return seats, moves

    def _moves(self, kind: str, clans: int, drift: int, run: int) -> NDArray[np.int64]:
        streams = self._key(DRIFT_PAIRS, kind, run), self._key(DRIFT, kind, run)
        return np.asarray(kernel.swaps(*streams, clans, drift, run * self.run_tokens, self.run_tokens))


def _whole(chance: float) -> int:
    """A probability in units of 2^-32."""
    return round(chance * _UNIT)


def _require(name: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise InputError(f"{name}: expected {least} to {most}, found {found}")
