"""Read activation traces: which neurons fire for each token, what that looks like in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.files import has_checksums, unreadable
from ndpsim.hdf5_fields import dataset_of, integer_of, text_of, vector_of
from ndpsim.sparsity.correlation import MAX_SAMPLED_TOKENS, layer_correlation
from ndpsim.sparsity.groups import KINDS
from ndpsim.sparsity.statistics import GroupStatistics, TraceStatistics, group_statistics
from ndpsim.sparsity.trace_format import FORMAT, VERSION, TraceHeader, group_path, one_line, pack, row_bytes
from ndpsim.sparsity.trace_writer import TraceWriter

FAILURES = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError)
"""What h5py raises on files that are cut short or overwritten."""


class ActivationTrace:
    """A trace to read: in memory, or in an open file from which rows are fetched as they are asked for."""

    def __init__(
        self,
        header: TraceHeader,
        packed: Sequence[Any],
        token_ids: NDArray[np.int32] | None = None,
        file: h5py.File | None = None,
    ) -> None:
        """Take packed rows, one uint8[tokens, sequences, ceil(neurons / 8)] a group; ``read``, ``of`` are handier."""
        self.header = header
        self.tokens = int(packed[0].shape[0])
        self.token_ids = token_ids
        self._packed = packed
        self._file = file
        self._chunks: list[tuple[int, NDArray[np.uint8]] | None] = [None] * header.groups

    @classmethod
    def of(
        cls, header: TraceHeader, fired: Sequence[NDArray[np.bool_]], token_ids: NDArray[np.int32] | None = None
    ) -> ActivationTrace:
        """A trace in memory from one bool[tokens, neurons] or bool[tokens, sequences, neurons] a group."""
        return cls(header, pack(header, fired), token_ids)

    @classmethod
    def read(cls, path: Path) -> ActivationTrace:
        """Open a file; it stays open until ``close`` or the end of a ``with`` block.

        Raises:
            InputError: the file is missing, cut short, or not a trace.
        """
        if found := unreadable(path):
            raise InputError(f"{path}: expected an activation trace (HDF5), found {found}")
        try:
            if not has_checksums(path):
                raise ValueError
            # no cache of chunks: HDF5 keeps megabytes for each of hundreds of groups, and rows are held here
            file = h5py.File(path, "r", rdcc_nbytes=0)
        except FAILURES:
            raise InputError(
                f"{path}: expected an activation trace (HDF5 with checksums), found no such content"
            ) from None
        try:
            return cls._from_file(file)
        except InputError as error:
            file.close()
            raise InputError(f"{path}: {error}") from None
        except FAILURES as error:
            file.close()
            raise InputError(f"{path}: expected a whole activation trace, found {one_line(error)}") from None

    @classmethod
    def _from_file(cls, file: h5py.File) -> ActivationTrace:
        found = text_of(file, "format")
        if found != FORMAT:
            raise InputError(f"format: expected the attribute {FORMAT!r}, found {found!r}")
        if integer_of(file, "version") != VERSION:
            raise InputError(f"version: expected {VERSION}, found {file.attrs['version']}")
        kinds = [int(k) for k in vector_of(file, "kind", "iu")]
        if any(not 0 <= k < len(KINDS) for k in kinds):
            raise InputError(f"kind: expected 0 to {len(KINDS) - 1} for each group, found {kinds}")
        header = TraceHeader(
            model=text_of(file, "model"),
            neurons=tuple(int(n) for n in vector_of(file, "neurons", "iu")),
            rule=text_of(file, "rule"),
            source=text_of(file, "source"),
            seed=integer_of(file, "seed") if "seed" in file.attrs else None,
            thresholds=tuple(map(float, vector_of(file, "thresholds", "f"))) if "thresholds" in file.attrs else None,
            layer=tuple(int(n) for n in vector_of(file, "layer", "iu")),
            kind=tuple(KINDS[k] for k in kinds),
            preceding=tuple(int(n) for n in vector_of(file, "preceding", "i")),
            sequences=integer_of(file, "sequences"),
            prompt_tokens=integer_of(file, "prompt_tokens"),
        )
        if integer_of(file, "groups") != header.groups:
            raise InputError(f"groups: expected {header.groups} as many as neurons has, found {file.attrs['groups']}")
        tokens = integer_of(file, "tokens")
        if header.prompt_tokens > tokens:
            raise InputError(f"prompt_tokens: expected at most {tokens}, found {header.prompt_tokens}")
        shapes = [(tokens, header.sequences, row_bytes(n)) for n in header.neurons]
        packed = [dataset_of(file, group_path(i), "uint8", shape) for i, shape in enumerate(shapes)]
        ids = dataset_of(file, "token_ids", "int32", (tokens,))[:] if "token_ids" in file else None
        return cls(header, packed, ids, file)

    def write(self, path: Path) -> None:
        """Write the trace to ``path``; the file appears whole or not at all."""
        with TraceWriter(path, self.header, with_token_ids=self.token_ids is not None) as writer:
            for start in range(0, self.tokens, self.header.chunk_tokens):
                stop = min(start + self.header.chunk_tokens, self.tokens)
                rows = [self.packed(group, start, stop) for group in range(self.header.groups)]
                writer.append_packed(rows, None if self.token_ids is None else self.token_ids[start:stop])

    def active(self, token: int, group: int, sequence: int = 0) -> NDArray[np.int32]:
        """The neurons that fire at ``token`` in ``group``: rising indices, int32[k]."""
        return np.flatnonzero(self.fired(group, token, token + 1, sequence)[0]).astype(np.int32)

    def fired(self, group: int, start: int, stop: int, sequence: int = 0) -> NDArray[np.bool_]:
        """Activity of a run of tokens of a sequence, bool[stop - start, neurons]."""
        if not 0 <= sequence < self.header.sequences:
            raise InputError(f"sequence: expected 0 to {self.header.sequences - 1}, found {sequence}")
        rows = self.packed(group, start, stop)[:, sequence]
        return np.unpackbits(rows, axis=1, count=self.header.neurons[group], bitorder="little").view(np.bool_)

    def packed(self, group: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Activity of a run of tokens as it is stored, uint8[stop - start, sequences, ceil(neurons / 8)]."""
        if not 0 <= group < self.header.groups:
            raise InputError(f"group: expected 0 to {self.header.groups - 1}, found {group}")
        if not 0 <= start <= stop <= self.tokens:
            raise InputError(f"token: expected 0 to {self.tokens - 1}, found {start if start < 0 else stop - 1}")
        return self._rows(group, start, stop)

    def statistics(self) -> TraceStatistics:
        """Density, skew and steadiness of each group, in one pass that holds one chunk at a time."""
        return TraceStatistics(self.tokens, tuple(self._statistics(group) for group in range(self.header.groups)))

    def _statistics(self, group: int) -> GroupStatistics:
        header = self.header
        found = group_statistics(self._blocks(group), header.neurons[group], self.tokens)
        before = header.preceding[group]
        if before < 0:
            return found
        stop = min(self.tokens, max(MAX_SAMPLED_TOKENS // header.sequences, 2))
        here, there = self.packed(group, 0, stop), self.packed(before, 0, stop)
        together = layer_correlation(here, header.neurons[group], there, header.neurons[before])
        return found._replace(layer_correlation=together)

    def close(self) -> None:
        """Close the file, if there is one; nothing can be fetched from it afterwards."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _blocks(self, group: int) -> Iterator[NDArray[np.uint8]]:
        step = self.header.chunk_tokens
        for start in range(0, self.tokens, step):
            yield self._rows(group, start, min(start + step, self.tokens))

    def _rows(self, group: int, start: int, stop: int) -> NDArray[np.uint8]:
        if self._file is None:
            rows: NDArray[np.uint8] = self._packed[group][start:stop]
            return rows
        step = self.header.chunk_tokens
        parts = []
        for first in range(start - start % step, stop, step):
            held = self._chunks[group]
            if held is None or held[0] != first:
                held = self._chunks[group] = (first, self._fetch(group, first, min(first + step, self.tokens)))
            parts.append(held[1][max(start - first, 0) : stop - first])
        empty = (0, self.header.sequences, row_bytes(self.header.neurons[group]))
        return np.concatenate(parts) if parts else np.empty(empty, dtype=np.uint8)

    def _fetch(self, group: int, start: int, stop: int) -> NDArray[np.uint8]:
        where = f"{self._file.filename if self._file else ''}: {group_path(group)}"
        try:
            rows: NDArray[np.uint8] = self._packed[group][start:stop]
        except FAILURES:
            raise InputError(f"{where}: expected readable rows {start} to {stop - 1}, found a damaged chunk") from None
        unused = -self.header.neurons[group] % 8
        if unused and (rows[..., -1] >> (8 - unused)).any():
            raise InputError(
                f"{where}: expected {self.header.neurons[group]} neurons, found activity beyond the last one"
            )
        return rows
