"""Write activation traces piece by piece, in memory that does not grow with the trace."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.hdf5_files import appearing_hdf5
from ndpsim.sparsity.groups import KINDS
from ndpsim.sparsity.trace_format import FORMAT, VERSION, TraceHeader, group_path, pack, row_bytes


class TraceWriter:
    """Writes a trace in bounded memory; used in a ``with`` block, at whose end the file appears.

    Tokens come one after another, for all groups at once (``append``) or for each group by itself (``extend``), as
    suits where they come from; at the end all groups must have come to the same token.
    """

    def __init__(self, path: Path, header: TraceHeader, with_token_ids: bool = True) -> None:
        self.path = path
        self.header = header
        self._place = ExitStack()
        self._waiting: list[list[NDArray[np.uint8]]] = [[] for _ in range(header.groups)]
        self._waiting_ids: list[NDArray[np.int32]] = []
        self._written = [0] * header.groups
        self._with_ids = with_token_ids
        self._file: h5py.File | None = None
        if with_token_ids and header.sequences > 1:
            raise InputError(f"token_ids: expected none in a trace of {header.sequences} sequences")

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            # a small chunk cache: there are up to hundreds of groups, and chunks are mostly written whole
            self._file = opening.enter_context(appearing_hdf5(self.path, chunk_cache=1 << 17))
            self._place = opening.pop_all()
        rows, sequences = self.header.chunk_tokens, self.header.sequences
        # the lowest level: fired bits are close to random, and a higher one saves less than a hundredth of the file
        packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 1}
        for group, n in enumerate(self.header.neurons):
            shape = (sequences, row_bytes(n))
            extent: dict[str, Any] = {"shape": (0, *shape), "maxshape": (None, *shape), "chunks": (rows, *shape)}
            self._file.create_dataset(group_path(group), dtype=np.uint8, **extent, **packing)
        return self

    def append(self, fired: Sequence[NDArray[np.bool_]], token_ids: NDArray[np.int32] | None = None) -> None:
        """Add a run of tokens: one bool[tokens, neurons] or bool[tokens, sequences, neurons] a group.

        ``token_ids``: int32[tokens] where the trace has token ids.
        """
        self.append_packed(pack(self.header, fired), token_ids)

    def append_packed(self, rows: Sequence[NDArray[np.uint8]], token_ids: NDArray[np.int32] | None = None) -> None:
        """Add a run of tokens that is packed, one uint8[tokens, sequences, ceil(neurons / 8)] a group."""
        if (token_ids is not None) != self._with_ids:
            raise InputError(f"token_ids: expected {'one a token' if self._with_ids else 'none'} in this trace")
        count = len(rows[0])
        lengths = {len(r) for r in rows} | ({len(token_ids)} if token_ids is not None else set())
        if len(rows) != self.header.groups or lengths != {count}:
            raise InputError(f"rows: expected {count} tokens in each of {self.header.groups} groups, found {len(rows)}")
        for group, block in enumerate(rows):
            self.extend(group, block)
        if token_ids is not None:
            self._waiting_ids.append(token_ids.astype(np.int32))

    def extend(self, group: int, rows: NDArray[np.uint8]) -> None:
        """Add a run of tokens of one group, packed as uint8[tokens, sequences, ceil(neurons / 8)]."""
        expected = (self.header.sequences, row_bytes(self.header.neurons[group]))
        if rows.shape[1:] != expected or rows.dtype != np.uint8:
            raise InputError(
                f"rows: expected uint8[tokens, {expected[0]}, {expected[1]}] for group {group}, "
                f"found {rows.dtype}{list(rows.shape)}"
            )
        waiting = self._waiting[group]
        waiting.append(rows)
        step = self.header.chunk_tokens
        whole = sum(map(len, waiting)) // step * step
        if whole:
            joined = np.concatenate(waiting) if len(waiting) > 1 else rows
            self._store(group, joined[:whole])
            self._waiting[group] = [joined[whole:].copy()] if whole < len(joined) else []

    def _store(self, group: int, rows: NDArray[np.uint8]) -> None:
        assert self._file is not None
        dataset, begin = self._file[group_path(group)], self._written[group]
        end = self._written[group] = begin + len(rows)
        dataset.resize(end, axis=0)
        dataset[begin:end] = rows

    def _finish(self) -> None:
        assert self._file is not None
        header = self.header
        for group, waiting in enumerate(self._waiting):
            if waiting:
                self._store(group, np.concatenate(waiting))
        if len(set(self._written)) != 1:
            raise InputError(
                f"rows: expected the same number of tokens in all groups, "
                f"found {min(self._written)} to {max(self._written)}"
            )
        if header.prompt_tokens > self._written[0]:
            raise InputError(f"prompt_tokens: expected at most {self._written[0]}, found {header.prompt_tokens}")
        if self._with_ids:
            ids = np.concatenate([np.empty(0, dtype=np.int32), *self._waiting_ids])
            packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            self._file.create_dataset("token_ids", data=ids, maxshape=(None,), chunks=(4096,), **packing)
        attributes = {
            "format": FORMAT, "version": VERSION, "model": header.model, "groups": header.groups,
            "neurons": header.neurons, "layer": header.layer, "kind": [KINDS.index(kind) for kind in header.kind],
            "preceding": header.preceding, "tokens": self._written[0], "sequences": header.sequences,
            "prompt_tokens": header.prompt_tokens, "rule": header.rule, "source": header.source, "seed": header.seed,
            "thresholds": header.thresholds,
        }  # fmt: skip
        for name, value in attributes.items():
            if value is not None:
                self._file.attrs[name] = _fixed_text(value) if isinstance(value, str) else value

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._finish()
        except BaseException as failure:
            self._file.close()
            self._place.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._file.close()
        self._place.__exit__(kind, error, at)


def _fixed_text(value: str) -> NDArray[np.bytes_]:
    content = value.encode()
    return np.array(content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))
