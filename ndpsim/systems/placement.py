"""Which neurons begin in GPU memory, and on which DIMM each one lives: the offline placement.

Source of the model: Hermes (HPCA 2025), section IV-B, equations 1 to 7. Of each group of neurons, the GPU computes
those that it holds and the DIMMs the others; the time of a group is that of the slower side, and the sum over groups is
made least. Ours, where the paper is silent or not enough:

- every neuron is on exactly one side, and the capacity of a DIMM counts all neurons that live there, for those in GPU
  memory are copies;
- a group is the neurons of one kind in one layer (attention, ffn), as the two sides wait for each other after each;
- neurons are placed in bundles, 64 by default, of neighbours in the order of frequency;
- the DIMMs of a group are alike, so the integer programme decides about the GPU alone and takes the DIMMs to be even:
  the least time that any distribution could have. The neurons are then dealt to the DIMMs one by one, the most frequent
  first, each to the DIMM with the least work. What this costs is in the gap between the objective and the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import njit

BUNDLE = 64
Flags = tuple[NDArray[np.bool_], ...]
Owners = tuple[NDArray[np.uint8], ...]
_Bundles = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class PlacementProblem:
    """What is known offline; one entry a group where a sequence is asked for. Times are in seconds.

    ``frequencies``: float64[neurons], activations of each neuron a token (equations' f). ``neuron_bytes``: M.
    ``gpu_s``, ``dimm_s``: for one active neuron on the GPU, and on one DIMM (T). ``sync_s``: of one synchronisation;
    a group has two. ``gpu_bytes``, ``dimm_bytes``: what there is for neurons on the GPU, and on each DIMM (S).
    """

    frequencies: Sequence[NDArray[np.float64]]
    neuron_bytes: Sequence[int]
    gpu_s: Sequence[float]
    dimm_s: Sequence[float]
    sync_s: float
    gpu_bytes: int
    dimm_bytes: Sequence[int]

    def __post_init__(self) -> None:
        groups = len(self.frequencies)
        faults = [
            f"{name}: expected {groups} positive numbers, one a group, found {list(found)}"
            for name in ("neuron_bytes", "gpu_s", "dimm_s")
            if len(found := getattr(self, name)) != groups or min(found, default=1) <= 0
        ]
        if not all(((f >= 0) & (f < np.inf)).all() for f in self.frequencies):
            faults.append("frequencies: expected finite numbers from 0 on, found others")
        if not groups or not all(f.size for f in self.frequencies):
            faults.append("frequencies: expected neurons in every group, found a group without")
        if not 0 <= self.sync_s < np.inf or self.gpu_bytes < 0:
            faults.append(f"sync_s, gpu_bytes: expected 0 or more, found {self.sync_s} and {self.gpu_bytes}")
        if not 1 <= len(self.dimm_bytes) <= 256:
            faults.append(f"dimm_bytes: expected 1 to 256 DIMMs, found {len(self.dimm_bytes)}")
        if faults:
            raise InputError("; ".join(faults))

    @property
    def dimms(self) -> int:
        """Number of DIMMs."""
        return len(self.dimm_bytes)

    def bytes_of(self, resident: Flags) -> int:
        """Bytes of a set of neurons, bool[neurons] a group."""
        return sum(int(r.sum()) * size for r, size in zip(resident, self.neuron_bytes, strict=True))

    def objective(self, resident: Flags, dimm: Owners) -> float:
        """Seconds of a token, equation 1, if the GPU computes ``resident`` and each DIMM those others that it owns."""
        total = 0.0
        for f, r, d, gpu_s, dimm_s in zip(self.frequencies, resident, dimm, self.gpu_s, self.dimm_s, strict=True):
            work = np.bincount(d[~r], weights=f[~r], minlength=self.dimms)
            total += max(gpu_s * float(f[r].sum()) + 2 * self.sync_s, dimm_s * float(work.max()))
        return total


@dataclass(frozen=True)
class Placement:
    """Where the neurons are.

    ``resident``: bool[neurons] a group, in GPU memory. ``dimm``: uint8[neurons] a group, the DIMM of each neuron,
    resident or not. ``objective_s``: seconds of a token, equation 1. ``bound_s``: no placement of these bundles takes
    less, 0 where nothing was proved. ``finished``: whether the solver came to its end, and not to the time limit.
    """

    resident: Flags
    dimm: Owners
    objective_s: float
    bound_s: float = 0.0
    finished: bool = True

    @property
    def gap(self) -> float:
        """How much of the objective the bound leaves open, at most 1."""
        return 1 - self.bound_s / self.objective_s if self.objective_s else 0.0


def place_greedily(problem: PlacementProblem, bundle: int = BUNDLE) -> Placement:
    """Fill the GPU with the bundles that save the most time a byte, as long as one saves any."""
    bundles = _bundles(problem, bundle)
    saved, size, group = [], [], []
    for g, (_, work, counts) in enumerate(bundles):
        done = np.concatenate(([0.0], np.cumsum(work)))
        time = np.maximum(
            problem.gpu_s[g] * done + 2 * problem.sync_s, problem.dimm_s[g] / problem.dimms * (done[-1] - done)
        )
        saved.append(time[:-1] - time[1:])
        size.append(counts * problem.neuron_bytes[g])
        group.append(np.full(len(counts), g))
    gains, sizes, groups = (np.concatenate(parts) for parts in (saved, size, group))
    taken = np.zeros(len(problem.frequencies), dtype=np.int64)
    ended = np.zeros(len(taken), dtype=np.bool_)
    room = problem.gpu_bytes
    # of a group's bundles each saves no more a byte than the one before, so they come in their own order
    for at in np.argsort(-gains / sizes, kind="stable").tolist():
        g = groups[at]
        if gains[at] <= 0 or sizes[at] > room:
            ended[g] = True
        if not ended[g]:
            taken[g] += 1
            room -= int(sizes[at])
    chosen = [np.arange(len(counts)) < n for (_, _, counts), n in zip(bundles, taken, strict=True)]
    return _placed(problem, _neurons(bundles, chosen))


def place_optimally(
    problem: PlacementProblem, bundle: int = BUNDLE, *, time_limit_s: float = 120.0, gap: float = 1e-4
) -> Placement:
    """Solve the integer programme with HiGHS, or take the greedy placement where that is no worse.

    Args:
        problem: what is known.
        bundle: neurons that are placed together.
        time_limit_s: when to give up. A placement found then may differ from machine to machine.
        gap: when to stop: the relative distance of the solver's best solution from its bound.

    Raises:
        InputError: the neurons do not fit into the DIMMs.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, milp

    bundles = _bundles(problem, bundle)
    groups, first = len(bundles), np.cumsum([0, *(len(counts) for _, _, counts in bundles)])
    binaries = int(first[-1])
    # HiGHS has absolute tolerances: times are in units of what a group takes without the GPU, bytes of the capacity
    without = sum(s * float(f.sum()) for s, f in zip(problem.dimm_s, problem.frequencies, strict=True)) / problem.dimms
    unit = without / groups or 1.0
    gpu, dimm, least, sizes = [], [], np.empty((2, groups)), []
    for g, (_, work, counts) in enumerate(bundles):
        gpu.append(-problem.gpu_s[g] / unit * work)
        dimm.append(problem.dimm_s[g] / unit / problem.dimms * work)
        least[:, g] = 2 * problem.sync_s / unit, dimm[g].sum()
        sizes.append(counts * problem.neuron_bytes[g] / max(problem.gpu_bytes, 1))
    times = sparse.eye_array(groups)
    sides = [sparse.hstack((sparse.block_diag([row[None, :] for row in side]), times)) for side in (gpu, dimm)]
    capacity = np.concatenate((*sizes, np.zeros(groups)))[None, :]
    solved = milp(
        np.repeat([0.0, 1.0], [binaries, groups]),
        integrality=np.repeat([1, 0], [binaries, groups]),
        bounds=Bounds(0, np.repeat([1.0, np.inf], [binaries, groups])),
        constraints=[
            LinearConstraint(sparse.vstack(sides, format="csr"), least.ravel(), np.inf),
            LinearConstraint(capacity, -np.inf, 1.0 if problem.gpu_bytes else 0.0),
        ],
        options={"time_limit": time_limit_s, "mip_rel_gap": gap},
    )
    best = place_greedily(problem, bundle)
    if solved.x is not None:
        chosen = [solved.x[first[g] : first[g + 1]] > 0.5 for g in range(groups)]
        resident = _neurons(bundles, chosen)
        if problem.bytes_of(resident) <= problem.gpu_bytes:
            best = min(_placed(problem, resident), best, key=lambda placement: placement.objective_s)
    bound = solved.mip_dual_bound
    bound_s = min(bound * unit, best.objective_s) if bound is not None and np.isfinite(bound) else 0.0
    return Placement(best.resident, best.dimm, best.objective_s, max(bound_s, 0.0), solved.status == 0)


def place_randomly(problem: PlacementProblem, seed: int = 0) -> Placement:
    """Fill the GPU with neurons drawn without regard to frequency, and deal all neurons to the DIMMs in turn."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(problem.neuron_bytes, [f.size for f in problem.frequencies])
    order = rng.permutation(sizes.size)
    flags = np.zeros(sizes.size, dtype=np.bool_)
    flags[order[np.cumsum(sizes[order]) <= problem.gpu_bytes]] = True
    resident = tuple(np.split(flags, np.cumsum([f.size for f in problem.frequencies])[:-1]))
    return _placed(problem, resident, by_frequency=False)


def _bundles(problem: PlacementProblem, bundle: int) -> list[_Bundles]:
    """Of each group: neurons by falling frequency, and the frequencies' sum and the number of neurons by bundle."""
    if bundle < 1:
        raise InputError(f"bundle: expected 1 or more neurons, found {bundle}")
    found = []
    for frequency in problem.frequencies:
        order = np.argsort(-frequency, kind="stable")
        first = np.arange(0, frequency.size, bundle)
        counts = np.diff(np.append(first, frequency.size))
        found.append((order, np.add.reduceat(frequency[order], first), counts))
    return found


def _neurons(bundles: Sequence[_Bundles], chosen: Sequence[NDArray[np.bool_]]) -> Flags:
    resident = []
    for (order, _, counts), flags in zip(bundles, chosen, strict=True):
        held = np.empty(order.size, dtype=np.bool_)
        held[order] = np.repeat(flags, counts)
        resident.append(held)
    return tuple(resident)


def _placed(problem: PlacementProblem, resident: Flags, by_frequency: bool = True) -> Placement:
    """Give every neuron a DIMM, those that the DIMMs compute first."""
    room = np.array(problem.dimm_bytes, dtype=np.int64)
    owners = []
    for frequency, held, size in zip(problem.frequencies, resident, problem.neuron_bytes, strict=True):
        order = np.lexsort((-frequency, held)) if by_frequency else np.arange(frequency.size)
        weights = frequency if by_frequency else np.zeros(frequency.size)
        owner = np.empty(frequency.size, dtype=np.uint8)
        if not _deal(order, weights, held, size, room, owner):
            need = sum(f.size * m for f, m in zip(problem.frequencies, problem.neuron_bytes, strict=True))
            raise InputError(
                f"dimm_bytes: expected room for {need} bytes in whole neurons, found {sum(problem.dimm_bytes)}"
            )
        owners.append(owner)
    dimm = tuple(owners)
    return Placement(resident, dimm, problem.objective(resident, dimm))


@njit
def _deal(order: Any, weights: Any, resident: Any, size: Any, room: Any, owner: Any) -> Any:
    """Give each neuron in turn to the DIMM with the least weight so far, then the fewest neurons, then the first.

    Weights of resident neurons and of the others are evened out each by themselves. Takes from ``room``, int64[dimms];
    returns whether it was enough.
    """
    load = np.zeros((2, len(room)), dtype=np.float64)
    held = np.zeros(len(room), dtype=np.int64)
    for neuron in order:
        side = np.int64(resident[neuron])
        best = -1
        for j in range(len(room)):
            if room[j] < size:
                continue
            if best < 0 or (load[side, j], held[j]) < (load[side, best], held[best]):
                best = j
        if best < 0:
            return False
        owner[neuron] = best
        load[side, best] += weights[neuron]
        held[best] += 1
        room[best] -= size
    return True
