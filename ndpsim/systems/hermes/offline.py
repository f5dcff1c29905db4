"""Where the neurons begin: the problem that Hermes' offline placement solves, with times from the models themselves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.gpu.model import GpuModel
from ndpsim.isa import codes
from ndpsim.jit import njit
from ndpsim.llm.shape import ModelShape
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.machine.ndp_model import NdpModel
from ndpsim.sparsity.frequency import Frequencies
from ndpsim.sparsity.groups import KINDS, kind_of, repeated
from ndpsim.systems.hermes.placement import NeuronPlacement, PlacementProblem, by_value
from ndpsim.systems.parts.room import card_enough, found_on_card
from ndpsim.systems.system import Devices


class Probe(NamedTuple):
    """What the times of a neuron are taken from.

    rows: of each DIMM, on average, in a program; draws: how many programs; gpu: neurons of a kind in a kernel.
    """

    rows: int
    draws: int
    gpu: int


def gpu_room(devices: Devices, shape: ModelShape) -> int:
    """Return the bytes of GPU memory that are left for neurons beside output projections and head."""
    dense = 2 * (shape.layers * shape.hidden * shape.attention_width + shape.vocab * shape.hidden)
    if devices.weight_bytes < dense:
        raise InputError(
            f"gpu.weights_gb: expected room for output projections and head, {dense / 1e9:.1f} GB, "
            f"found {found_on_card(devices)}; {card_enough(dense, devices)}"
        )
    return devices.weight_bytes - dense


def placement_problem(devices: Devices, ndp: NdpModel, often: Sequence[Frequencies], probe: Probe) -> PlacementProblem:
    """Return the problem of equations 1 to 7; groups are in the order of KINDS.

    A batch reads a neuron once and multiplies for each sequence that needs it: its frequency is the time that a DIMM
    spends on it a token, in times of one activation in one sequence. A batch of several programs (`compiler.batches`)
    is taken as one of the first of them.
    """
    gpu_s, groups = gpu_seconds(ndp.shape, ndp.sequences, devices.gpu, probe.gpu), len(often)
    batch = min(ndp.sequences, codes.ENTRY_BITS)
    one, more = _dimm_seconds(ndp, batch, 1, probe), [0.0, 0.0]
    if batch > 1:
        every = _dimm_seconds(ndp, batch, batch, probe)
        more = [max(b - a, 0.0) / (batch - 1) for a, b in zip(one, every, strict=True)]
    worth = [
        group.union + (group.each.sum(axis=0) - group.union) * (again / once)
        for group, again, once in zip(often, repeated(more, groups), repeated(one, groups), strict=True)
    ]
    return PlacementProblem(
        worth,
        [ndp.neuron_bytes(kind_of(group)) for group in range(groups)],
        repeated(gpu_s, groups),
        repeated(one, groups),
        devices.config.pcie.us.value * 1e-6,
        gpu_room(devices, ndp.shape),
        [ndp.machine.atoms * codes.ATOM_BYTES] * ndp.machine.dimms,
    )


def whole_layers(devices: Devices, ndp: NdpModel, neurons: Sequence[int]) -> NeuronPlacement:
    """Put whole groups into GPU memory, layer by layer, and deal the neurons out to the DIMMs in turn."""
    room, resident, dimm = gpu_room(devices, ndp.shape), [], []
    for g, n in enumerate(neurons):
        size = n * ndp.neuron_bytes(kind_of(g))
        fits = size <= room
        room -= size if fits else 0
        resident.append(np.full(n, fits))
        dimm.append((np.arange(n) % ndp.machine.dimms).astype(np.uint8))
    return NeuronPlacement(tuple(resident), tuple(dimm), 0.0)


def gpu_seconds(shape: ModelShape, sequences: int, gpu: GpuModel, neurons: int) -> list[float]:
    """Return the seconds of one more active neuron of each kind on the GPU."""
    few, more = (
        layer_times(gpu, shape, sequences, count, count)
        for count in np.full((2, shape.layers), neurons) * np.array([[1], [2]])
    )
    return [float(b[0] - a[0]) * 1e-6 / neurons for a, b in ((few.qkv, more.qkv), (few.block, more.block))]


def _dimm_seconds(ndp: NdpModel, batch: int, needing: int, probe: Probe) -> list[float]:
    """Return the seconds that an active neuron of each kind, which some sequences of a batch need, takes the DIMMs.

    Programs on rows drawn by chance, timed by the engine: the DIMM, and in it the rank, that has drawn most keeps the
    others waiting, as it does in a run.
    """
    one = NdpModel(ndp.machine, ndp.shape.with_overrides(layers=1), batch, 1)
    random, dimms, found = np.random.default_rng(0), ndp.machine.dimms, []
    for kind in KINDS:
        held, took = one.rows[kind], 0
        few = min(probe.rows, max(held // 2, 1))
        for _ in range(probe.draws):
            shares = [np.flatnonzero(random.random(held) < few / held).astype(np.uint32) for _ in range(dimms)]
            masks = [np.full(len(rows), (1 << needing) - 1, np.uint32) for rows in shares]
            masked = [masks] if needing < batch else None
            span = one.sparse(kind, 0, shares, one.timer.now_ps, gpu=False, masks=masked)
            took += span.end - span.start
        found.append(took * 1e-12 / (probe.draws * few))
    return found


def fitted(dimm: NDArray[np.uint8], frequency: NDArray[np.float64], dimms: int, rows: int) -> NDArray[np.uint8]:
    """Return the DIMMs of a group's neurons with at most `rows` on each: the rarest go where there is most room."""
    dimm = dimm.copy()
    held = np.bincount(dimm, minlength=dimms)
    for full in np.flatnonzero(held > rows).tolist():
        own = np.flatnonzero(dimm == full)
        _spread(own[by_value(frequency[own])][: held[full] - rows], held, dimm)
        held[full] = rows
    return dimm


@njit
def _spread(neurons: NDArray[np.int64], held: NDArray[np.int64], dimm: NDArray[np.uint8]) -> None:
    """Give each neuron in turn to the DIMM that holds the fewest, the first of equals."""
    for neuron in neurons:
        target = 0
        for other in range(len(held)):
            target = other if held[other] < held[target] else target
        dimm[neuron] = target
        held[target] += 1
