"""Where the weights of a layer lie: which DIMM owns a neuron, and at which address each of its vectors begins.

A neuron is one row of every matrix of the layer. Each matrix of a DIMM's share is stored densely, row after row; how
addresses fall on ranks, bank groups and banks is the machine's address map.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ndpsim.dimm.config import MOST_DIMMS, Machine
from ndpsim.errors import InputError
from ndpsim.isa.program import Region, Regions
from ndpsim.isa.spec import isa

Activation = Literal["relu", "silu", "gelu"]
BalanceStrategy = Callable[[int, int, NDArray[np.float64] | None], NDArray[np.int32]]
"""(neurons, DIMMs, frequency of each neuron or None) -> the DIMM of each neuron, int32[neurons]."""


@dataclass(frozen=True)
class LayerShape:
    """A feed-forward block, or a single matrix.

    A block computes `down.T @ (act(up @ x))`, or, if gated, `down.T @ (act(gate @ x) * (up @ x))`; every matrix has
    one row of `width` elements per neuron. Without an activation the layer is one matrix: y = up @ x for the listed
    rows.
    """

    neurons: int
    width: int
    activation: Activation | None = "relu"
    gated: bool = False
    type: str = "f16"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        limits = {"neurons": (self.neurons, "rows"), "width": (self.width, "cols")}
        for name, (value, field) in limits.items():
            most = (1 << isa().fields[field].width) - 1
            if not 1 <= value <= most:
                raise InputError(f"layer: {name}: expected 1 to {most}, found {value}")
        allowed = ("f16", "bf16", "i8") if self.activation is None else ("f16", "bf16")
        if self.type not in allowed:
            kind = "a single matrix" if self.activation is None else "a block (an INT8 one would need scales)"
            raise InputError(f"layer: type: expected {' or '.join(allowed)} for {kind}, found {self.type}")
        if self.gated and self.activation is None:
            raise InputError("layer: gated: expected an activation with it, found none")
        if self.activation not in (None, "relu", "silu", "gelu"):
            raise InputError(f"layer: activation: expected relu, silu, gelu or none, found {self.activation}")

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the matrices, in the order in which they are stored."""
        if self.activation is None:
            return ("up",)
        return ("gate", "up", "down") if self.gated else ("up", "down")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one matrix."""
        return self.width * isa().types[self.type].bits // 8

    @property
    def row_atoms(self) -> int:
        """Bursts of 64 bytes that one row occupies."""
        return -(-self.row_bytes // isa().atom_bytes)

    def offsets(self, rows: int) -> tuple[int, ...]:
        """Where each matrix begins behind the first one, in atoms, if `rows` neurons are stored."""
        return tuple(m * rows * self.row_atoms for m in range(len(self.matrices)))

    @property
    def neuron_bytes(self) -> int:
        """Bytes read from DRAM for one neuron: whole bursts of all its rows."""
        return len(self.matrices) * self.row_atoms * isa().atom_bytes


def round_robin(neurons: int, dimms: int, frequencies: NDArray[np.float64] | None) -> NDArray[np.int32]:
    """Deal the neurons out in turn."""
    return (np.arange(neurons) % dimms).astype(np.int32)


def by_frequency(neurons: int, dimms: int, frequencies: NDArray[np.float64] | None) -> NDArray[np.int32]:
    """Give the most frequent neuron that is left to the DIMM with the least work so far (then the fewest neurons)."""
    if frequencies is None:
        raise InputError("balance by_frequency: expected the frequency of every neuron, found none")
    owner = np.empty(neurons, np.int32)
    loads = [(0.0, 0, dimm) for dimm in range(dimms)]
    for neuron in np.argsort(-frequencies, kind="stable").tolist():
        load, held, dimm = loads[0]
        owner[neuron] = dimm
        heapq.heapreplace(loads, (load + float(frequencies[neuron]), held + 1, dimm))
    return owner


STRATEGIES: dict[str, BalanceStrategy] = {"round_robin": round_robin, "by_frequency": by_frequency}


@dataclass(frozen=True)
class LayerPlacement:
    """A layer placed on the DIMMs of a machine.

    owner, local: int32[neurons], the DIMM of a neuron and its row there; neurons: per DIMM the neurons that it
    holds, ascending; held: int64[DIMMs], how many; bases: per DIMM the first atom of each matrix; first_atom: where the
    share of every DIMM begins; end: the first atom behind the layer, the same on every DIMM.
    """

    shape: LayerShape
    name: str
    owner: NDArray[np.int32]
    local: NDArray[np.int32]
    neurons: tuple[NDArray[np.int32], ...]
    held: NDArray[np.int64]
    bases: tuple[tuple[int, ...], ...]
    regions: Regions
    first_atom: int
    end: int

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the place of every neuron in the order of DIMMs and their rows, and where each DIMM begins there.

        int64[neurons] and int64[DIMMs + 1].
        """
        starts = np.cumsum([0, *map(len, self.neurons)], dtype=np.int64)
        return starts[self.owner] + self.local, starts


def place(
    shape: LayerShape,
    machine: Machine,
    *,
    balance: str | BalanceStrategy = "round_robin",
    frequencies: NDArray[np.float64] | None = None,
    first_atom: int = 0,
    name: str = "layer",
) -> LayerPlacement:
    """Spread a layer over the DIMMs of a machine, from `first_atom` on.

    `balance` names a strategy or is one. Raises InputError if the strategy is unknown or gives no valid DIMM for
    every neuron, or if a DIMM is too small.
    """
    strategy = STRATEGIES.get(balance) if isinstance(balance, str) else balance
    if strategy is None:
        raise InputError(f"balance '{balance}': expected one of {', '.join(STRATEGIES)}")
    if frequencies is not None:
        frequencies = np.asarray(frequencies, np.float64)
        if frequencies.shape != (shape.neurons,):
            raise InputError(f"frequencies: expected {shape.neurons} values, one a neuron, found {frequencies.size}")
        if not ((frequencies >= 0) & (frequencies < np.inf)).all():
            raise InputError("frequencies: expected finite numbers from 0 on, found others")
    owner = _checked_owner(strategy(shape.neurons, machine.dimms, frequencies), shape.neurons, machine.dimms)
    local = np.empty(shape.neurons, np.int32)
    neurons = tuple(np.flatnonzero(owner == dimm).astype(np.int32) for dimm in range(machine.dimms))
    bases, regions, end = [], [], first_atom
    for held in neurons:
        local[held] = np.arange(len(held))
        atoms = len(held) * shape.row_atoms
        bases.append(tuple(first_atom + offset for offset in shape.offsets(len(held))))
        total = atoms * len(shape.matrices)
        regions.append((Region(name, first_atom, total),) if total else ())
        end = max(end, first_atom + total)
    if end > machine.atoms:
        each = len(shape.matrices) * shape.row_atoms
        raise too_few_dimms(name, machine, end, lambda dimms: first_atom + -(-shape.neurons // dimms) * each)
    counts = np.array([len(held) for held in neurons], np.int64)
    return LayerPlacement(
        shape, name, owner, local, neurons, counts, tuple(bases), Regions(regions), first_atom=first_atom, end=end
    )


def too_few_dimms(name: str, machine: Machine, end: int, need: Callable[[int], int]) -> InputError:
    """Return the refusal of what needs the atoms up to `end` of each DIMM; need: how many if there were more DIMMs."""
    return InputError(
        f"dimms: expected {enough_dimms(machine, need)} for {name}, which needs {end * isa().atom_bytes} bytes of "
        f"each, found {machine.dimms} of {machine.atoms * isa().atom_bytes} bytes"
    )


def enough_dimms(machine: Machine, need: Callable[[int], int]) -> str:
    """Say how many DIMMs like those of a machine are enough; need: the atoms of each, by their number."""
    least = next((dimms for dimms in range(1, MOST_DIMMS + 1) if need(dimms) <= machine.atoms), None)
    return f"more than {MOST_DIMMS}" if least is None else f"at least {least}"


def _checked_owner(chosen: Any, neurons: int, dimms: int) -> NDArray[np.int32]:
    """Turn what a strategy returned into int32[neurons], whatever it was."""
    try:
        owner = np.asarray(chosen)
    except ValueError:  # lists of different lengths
        owner = np.empty(0)
    if owner.shape != (neurons,) or owner.dtype.kind not in "iu" or owner.min() < 0 or owner.max() >= dimms:
        raise InputError(f"balance: expected a DIMM from 0 to {dimms - 1} for each of {neurons} neurons")
    return owner.astype(np.int32)


def memory_image(placement: LayerPlacement, weights: dict[str, NDArray[np.generic]]) -> list[list[NDArray[np.uint8]]]:
    """Lay the weights out: per DIMM the contents of its regions, uint8[atoms * 64].

    `weights` has one array [neurons, width] for each of `shape.matrices`: float16 for f16, uint16 bits for bf16,
    int8 for i8.
    """
    shape = placement.shape
    stored = {"f16": np.float16, "bf16": np.uint16, "i8": np.int8}[shape.type]
    for matrix in shape.matrices:
        if matrix not in weights:
            raise InputError(f"{placement.name}: {matrix}: expected its weights, found none")
        found = weights[matrix]
        if found.shape != (shape.neurons, shape.width) or found.dtype != stored:
            raise InputError(
                f"{placement.name}: {matrix}: expected {np.dtype(stored).name}[{shape.neurons}, {shape.width}], "
                f"found {found.dtype.name}{list(found.shape)}"
            )
    images = []
    for held in placement.neurons:
        rows = np.zeros((len(shape.matrices), len(held), shape.row_atoms * isa().atom_bytes), np.uint8)
        for m, matrix in enumerate(shape.matrices):
            rows[m, :, : shape.row_bytes] = np.ascontiguousarray(weights[matrix][held]).view(np.uint8)
        images.append([rows.reshape(-1)] if len(held) else [])
    return images
