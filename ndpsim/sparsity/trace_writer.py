"""Write activation traces token by token, in memory that does not grow with the trace."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.files import CHECKSUMMED, appearing
from ndpsim.sparsity.trace_format import FORMAT, VERSION, TraceHeader, layer_path, pack, row_bytes


class TraceWriter:
    """Writes a trace token by token in bounded memory; used in a ``with`` block, at whose end the file appears."""

    def __init__(self, path: Path, header: TraceHeader, with_token_ids: bool = True) -> None:
        self.path = path
        self.header = header
        self.tokens = 0
        self._place = ExitStack()
        self._waiting: list[list[NDArray[np.uint8]]] = []
        self._waiting_ids: list[NDArray[np.int32]] = []
        self._waiting_tokens = 0
        self._with_ids = with_token_ids
        self._file: h5py.File | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            part = opening.enter_context(appearing(self.path))
            self._file = h5py.File(part, "w", **CHECKSUMMED)
            self._place = opening.pop_all()
        rows = self.header.chunk_tokens
        packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        for layer, n in enumerate(self.header.neurons):
            width = row_bytes(n)
            extent: dict[str, Any] = {"shape": (0, width), "maxshape": (None, width), "chunks": (rows, width)}
            self._file.create_dataset(layer_path(layer), dtype=np.uint8, **extent, **packing)
        if self._with_ids:
            extent = {"shape": (0,), "maxshape": (None,), "chunks": (4096,)}
            self._file.create_dataset("token_ids", dtype=np.int32, **extent, **packing)
        return self

    def append(self, fired: Sequence[NDArray[np.bool_]], token_ids: NDArray[np.int32] | None = None) -> None:
        """Add a run of tokens: one bool[tokens, neurons] a layer, and int32[tokens] where the trace has token ids."""
        self.append_packed(pack(self.header, fired), token_ids)

    def append_packed(self, rows: Sequence[NDArray[np.uint8]], token_ids: NDArray[np.int32] | None = None) -> None:
        """Add a run of tokens that is packed already, one uint8[tokens, ceil(neurons / 8)] a layer."""
        if (token_ids is not None) != self._with_ids:
            raise InputError(f"token_ids: expected {'one a token' if self._with_ids else 'none'} in this trace")
        count = len(rows[0])
        lengths = {len(r) for r in rows} | ({len(token_ids)} if token_ids is not None else set())
        if len(rows) != self.header.layers or lengths != {count}:
            raise InputError(f"rows: expected {count} tokens in each of {self.header.layers} layers, found {len(rows)}")
        self._waiting.append(list(rows))
        if token_ids is not None:
            self._waiting_ids.append(token_ids.astype(np.int32))
        self._waiting_tokens += count
        if self._waiting_tokens >= self.header.chunk_tokens:
            self._flush()

    def _flush(self) -> None:
        if self._file is None or not self._waiting:
            return
        begin, end = self.tokens, self.tokens + self._waiting_tokens
        for layer in range(self.header.layers):
            dataset = self._file[layer_path(layer)]
            dataset.resize(end, axis=0)
            dataset[begin:end] = np.concatenate([rows[layer] for rows in self._waiting])
        if self._with_ids:
            self._file["token_ids"].resize(end, axis=0)
            self._file["token_ids"][begin:end] = np.concatenate(self._waiting_ids)
        self.tokens, self._waiting, self._waiting_ids, self._waiting_tokens = end, [], [], 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._flush()
                attributes = {"format": FORMAT, "version": VERSION, "layers": self.header.layers, "tokens": self.tokens}
                attributes |= {f.name: getattr(self.header, f.name) for f in fields(self.header)}
                for name, value in attributes.items():
                    if value is not None:
                        self._file.attrs[name] = _fixed_text(value) if isinstance(value, str) else value
        except BaseException as failure:
            self._file.close()
            self._place.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._file.close()
        self._place.__exit__(kind, error, at)


def _fixed_text(value: str) -> NDArray[np.bytes_]:
    content = value.encode()
    return np.array(content, dtype=h5py.string_dtype("utf-8", max(len(content), 1)))
