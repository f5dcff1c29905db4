"""Activation traces: which neurons fire for each token, stored bit by bit in an HDF5 file.

A trace has one or more groups of neurons, in the order in which a token passes them: in each layer the input channels
of attention (`attention`), the neurons of the feed-forward block (`ffn`), or both. It holds one sequence of tokens or
several of the same length that run side by side, a batch.

Layout of a file, version 2:

============================== ================================================================================
``/`` attribute ``format``     the text ``ndpsim-activation-trace``
attribute ``version``          2
attribute ``model``            name of the model
attribute ``groups``           number of groups
attribute ``neurons``          int64[groups], neurons of each group
attribute ``layer``            int64[groups], layer of each group; never falls
attribute ``kind``             int64[groups], 0 for attention, 1 for ffn
attribute ``preceding``        int64[groups], the earlier group whose activity is taken to foretell that of this one,
                               -1 where there is none; usually the group of the same kind in the layer before
attribute ``tokens``           number of tokens of a sequence
attribute ``sequences``        number of sequences
attribute ``prompt_tokens``    the first so many tokens of each sequence are its prompt: to profile, not to measure
attribute ``rule``             in words, when a neuron counts as active
attribute ``source``           in words, the text or the generator that it comes from
attribute ``seed``             of the generator; absent where nothing was drawn
attribute ``thresholds``       float64[groups], threshold of each group; absent where the rule has none
``/active/000``, ``001``...    one a group, uint8[tokens, sequences, ceil(neurons / 8)]: neuron n is bit n % 8 (lowest
                               first) of byte n // 8; bits beyond the last neuron are zero; in chunks, deflated
``/token_ids``                 int32[tokens], token at each row; may be absent; of traces with one sequence
============================== ================================================================================

The file is written in HDF5's checksummed form: superblock 2 or later (``libver="latest"``) and texts of fixed length.
Only so does the HDF5 library notice damage before it follows a wrong address; files in the older form are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.sparsity.groups import KINDS

FORMAT = "ndpsim-activation-trace"
VERSION = 2
MAX_GROUPS = 8192
MAX_NEURONS = 1 << 24
MAX_SEQUENCES = 4096


@dataclass(frozen=True)
class TraceHeader:
    """What a trace is of; see the attributes of the file.

    Where ``layer`` and ``kind`` are left out, the groups are the feed-forward blocks of layers 0, 1, ...; where
    ``preceding`` is left out, a group is preceded by the latest earlier one of its kind.
    """

    model: str
    neurons: tuple[int, ...]
    rule: str
    source: str
    seed: int | None = None
    thresholds: tuple[float, ...] | None = None
    layer: tuple[int, ...] = ()
    kind: tuple[str, ...] = ()
    preceding: tuple[int, ...] = ()
    sequences: int = 1
    prompt_tokens: int = 0

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.neurons)

    @property
    def chunk_tokens(self) -> int:
        """Tokens in one chunk of the file: about 64 KiB for the widest group."""
        return min(max((1 << 16) // (row_bytes(max(self.neurons)) * self.sequences), 4), 512)

    def group(self, layer: int, kind: str) -> int:
        """The group of that kind in that layer. Raises InputError if there is none."""
        for i, found in enumerate(zip(self.layer, self.kind, strict=True)):
            if found == (layer, kind):
                return i
        raise InputError(f"group: expected a layer of the trace and one of {', '.join(KINDS)}, found {kind} of {layer}")

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= MAX_GROUPS:
            raise InputError(f"groups: expected 1 to {MAX_GROUPS}, found {self.groups}")
        for n in self.neurons:
            if not 1 <= n <= MAX_NEURONS:
                raise InputError(f"neurons: expected 1 to {MAX_NEURONS} in each group, found {n}")
        if not 1 <= self.sequences <= MAX_SEQUENCES:
            raise InputError(f"sequences: expected 1 to {MAX_SEQUENCES}, found {self.sequences}")
        object.__setattr__(self, "layer", self.layer or tuple(range(self.groups)))
        object.__setattr__(self, "kind", self.kind or ("ffn",) * self.groups)
        object.__setattr__(self, "preceding", self.preceding or latest_of_same_kind(self.kind))
        for name in ("layer", "kind", "preceding", "thresholds"):
            entries = getattr(self, name)
            if entries is not None and len(entries) != self.groups:
                raise InputError(f"{name}: expected one for each of {self.groups} groups, found {len(entries)}")
        places = [(layer, KINDS.index(kind) if kind in KINDS else -1) for layer, kind in self.places()]
        if self.layer[0] < 0 or any(kind < 0 for _, kind in places) or places != sorted(set(places)):
            raise InputError(f"layer: expected groups in rising order of layers and of {', '.join(KINDS)}, each once")
        for i, before in enumerate(self.preceding):
            if not -1 <= before < i:
                raise InputError(f"preceding: expected -1 or an earlier group than {i}, found {before}")

    def places(self) -> list[tuple[int, str]]:
        """Layer and kind of each group."""
        return list(zip(self.layer, self.kind, strict=True))


def latest_of_same_kind(kinds: Sequence[str]) -> tuple[int, ...]:
    """For each group the latest earlier one of its kind, or -1."""
    latest: dict[str, int] = {}
    found = []
    for i, kind in enumerate(kinds):
        found.append(latest.get(kind, -1))
        latest[kind] = i
    return tuple(found)


def row_bytes(neurons: int) -> int:
    """Bytes of one token in a group of so many neurons."""
    return (neurons + 7) // 8


def group_path(group: int) -> str:
    """Name of the dataset of a group."""
    return f"active/{group:03d}"


def pack(header: TraceHeader, fired: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.uint8]]:
    """Pack one bool[tokens, neurons] or bool[tokens, sequences, neurons] a group, lowest bit first.

    Returns one uint8[tokens, sequences, ceil(neurons / 8)] a group.
    """
    found = tuple(f.shape[-1] for f in fired)
    if found != header.neurons:
        raise InputError(f"fired: expected {header.neurons} neurons by group, found {found}")
    rows = [f if f.ndim == 3 else f[:, None, :] for f in fired]
    for row in rows:
        if row.shape[1] != header.sequences:
            raise InputError(f"fired: expected {header.sequences} sequences, found {row.shape[1]}")
    return [np.packbits(row, axis=2, bitorder="little") for row in rows]


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
