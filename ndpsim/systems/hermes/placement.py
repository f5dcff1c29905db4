"""Which neurons begin in GPU memory, and on which DIMM each one lives: the offline placement.

Source of the model: Hermes (HPCA 2025), section IV-B, equations 1 to 7. Of each group of neurons, the GPU computes
those that it holds and the DIMMs the others; the time of a group is that of the slower side, and the sum over groups is
made least. Ours, where the paper is silent or not enough:

- every neuron is on exactly one side, and the capacity of a DIMM counts all neurons that live there, for those in GPU
  memory are copies;
- a group is the neurons of one kind in one layer (attention, ffn), as the two sides wait for each other after each;
- neurons are placed in bundles of neighbours in the order of frequency;
- the DIMMs of a group are alike, so the integer programme decides about the GPU alone and takes the DIMMs to be even:
  the least time that any distribution could have. The neurons are then dealt to the DIMMs one by one, the most frequent
  first, each to the DIMM with the least work. What this costs is in the gap between the objective and the bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.jit import njit

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
class NeuronPlacement:
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


def place_greedily(problem: PlacementProblem, bundle: int) -> NeuronPlacement:
    """Fill the GPU with the bundles that save the most time a byte, as long as one saves any.

    In each group the last of them is then chosen anew, by time alone, and colder ones after it: where the GPU becomes
    the slower side, one that leaves both sides even is best.
    """
    bundles = _bundles(problem, bundle)
    saved = []
    for g, (_, work, _) in enumerate(bundles):
        done = np.concatenate(([0.0], np.cumsum(work)))
        saved.append(-np.diff(_time(problem, g, done, done[-1])))
    counts = [len(work) for _, work, _ in bundles]
    first = np.cumsum([0, *counts])
    sizes = np.concatenate([n * size for (_, _, n), size in zip(bundles, problem.neuron_bytes, strict=True)])
    groups, gains = np.repeat(np.arange(len(bundles)), counts), np.concatenate(saved)
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    ended = np.zeros(len(bundles), dtype=np.bool_)
    room = problem.gpu_bytes
    # of a group's bundles each saves no more a byte than the one before, so they come in their own order
    for at in np.argsort(-gains / sizes, kind="stable").tolist():
        if gains[at] <= 0 or sizes[at] > room:
            ended[groups[at]] = True
        elif not ended[groups[at]]:
            chosen[at] = True
            room -= int(sizes[at])
    for g, (_, work, _) in enumerate(bundles):
        mine = chosen[first[g] : first[g + 1]]
        if mine.any():
            last = int(mine.nonzero()[0][-1])
            mine[last] = False
            room += int(sizes[first[g] + last])
        while not mine.all():
            done, total = work[mine].sum(), work.sum()
            with_one = np.where(mine, np.inf, _time(problem, g, done + work, total))
            best = int(with_one.argmin())
            if with_one[best] >= _time(problem, g, done, total) or sizes[first[g] + best] > room:
                break
            mine[best] = True
            room -= int(sizes[first[g] + best])
    return _placed(problem, _neurons(bundles, np.split(chosen, first[1:-1])), [order for order, _, _ in bundles])


def place_optimally(
    problem: PlacementProblem, bundle: int, *, time_limit_s: float = 120.0, gap: float = 1e-4
) -> NeuronPlacement:
    """Solve the integer programme with HiGHS until the best placement known is within ``gap`` of the least time.

    The greedy placement is known from the start, and the programme without the condition that bundles are whole gives
    a first bound; where that leaves a gap, the integer programme itself follows.

    Args:
        problem: what is known.
        bundle: neurons that are placed together.
        time_limit_s: when to give up each of the two. A placement found then may differ from machine to machine.
        gap: relative distance of the objective from the bound.

    Raises:
        InputError: the neurons do not fit into the DIMMs.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, milp

    bundles = _bundles(problem, bundle)
    groups, first = len(bundles), np.cumsum([0, *(len(work) for _, work, _ in bundles)])
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
    constraints = [
        LinearConstraint(sparse.vstack(sides, format="csr"), least.ravel(), np.inf),
        LinearConstraint(capacity, -np.inf, 1.0 if problem.gpu_bytes else 0.0),
    ]
    best, bound_s, finished = place_greedily(problem, bundle), 0.0, False
    for integral in (0, 1):
        solved = milp(
            np.repeat([0.0, 1.0], [binaries, groups]),
            integrality=np.repeat([integral, 0], [binaries, groups]),
            bounds=Bounds(0, np.repeat([1.0, np.inf], [binaries, groups])),
            constraints=constraints,
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )
        bound, finished = solved.mip_dual_bound if integral else solved.fun, solved.status == 0
        if integral and solved.x is not None:
            resident = _neurons(bundles, [solved.x[first[g] : first[g + 1]] > 0.5 for g in range(groups)])
            if problem.bytes_of(resident) <= problem.gpu_bytes:
                best = min(
                    _placed(problem, resident, [order for order, _, _ in bundles]),
                    best,
                    key=lambda placement: placement.objective_s,
                )
        if bound is not None and np.isfinite(bound) and (integral or finished):
            bound_s = max(bound * unit, bound_s)
        best = replace(best, bound_s=min(bound_s, best.objective_s), finished=finished)
        if finished and best.gap <= gap:
            break
    return best


def place_randomly(problem: PlacementProblem, seed: int = 0) -> NeuronPlacement:
    """Fill the GPU with neurons drawn without regard to frequency, and deal all neurons to the DIMMs in turn."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(problem.neuron_bytes, [f.size for f in problem.frequencies])
    order = rng.permutation(sizes.size)
    flags = np.zeros(sizes.size, dtype=np.bool_)
    flags[order[np.cumsum(sizes[order]) <= problem.gpu_bytes]] = True
    resident = tuple(np.split(flags, np.cumsum([f.size for f in problem.frequencies])[:-1]))
    return _placed(problem, resident, None)


def by_value(values: NDArray[np.floating], *, falling: bool = False) -> NDArray[np.int64]:
    """Return the places of numbers that are not negative in the order of these; equals keep their own.

    The bits of such numbers rise with them, and 16 bits at a time are sorted ten times as fast as the numbers.
    """
    numbers = values + 0.0  # makes 0 of -0
    order = np.arange(len(values))
    for digits in numbers.view(np.uint16).reshape(-1, numbers.itemsize // 2).T:
        if digits.any():
            order = order[np.argsort((~digits if falling else digits)[order], kind="stable")]
    return order


def _time(problem: PlacementProblem, group: int, done: Any, total: Any) -> Any:
    """Seconds of a group of which the GPU has ``done`` of all activations, and even DIMMs the others."""
    gpu = problem.gpu_s[group] * done + 2 * problem.sync_s
    return np.maximum(gpu, problem.dimm_s[group] / problem.dimms * (total - done))


def _bundles(problem: PlacementProblem, bundle: int) -> list[_Bundles]:
    """Of each group: neurons by falling frequency, and the frequencies' sum and the number of neurons by bundle."""
    if bundle < 1:
        raise InputError(f"bundle: expected 1 or more neurons, found {bundle}")
    found = []
    for frequency in problem.frequencies:
        order = by_value(frequency, falling=True)
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


def _placed(problem: PlacementProblem, resident: Flags, falling: Sequence[NDArray[np.int64]] | None) -> NeuronPlacement:
    """Give every neuron a DIMM: in turn, or, if their orders by falling frequency are given, as these fall, by load.

    Those that the DIMMs compute come first.
    """
    room = np.array(problem.dimm_bytes, dtype=np.int64)
    owners = []
    for g, (frequency, held, size) in enumerate(zip(problem.frequencies, resident, problem.neuron_bytes, strict=True)):
        if falling is None:
            order, weights = np.arange(frequency.size), np.zeros(frequency.size)
        else:
            on_gpu = held[falling[g]]
            order, weights = np.concatenate((falling[g][~on_gpu], falling[g][on_gpu])), frequency
        owner = np.empty(frequency.size, dtype=np.uint8)
        if not _deal(order, weights, held, size, room, owner):
            need = sum(f.size * m for f, m in zip(problem.frequencies, problem.neuron_bytes, strict=True))
            raise InputError(
                f"dimm_bytes: expected room for {need} bytes in whole neurons, found {sum(problem.dimm_bytes)}"
            )
        owners.append(owner)
    dimm = tuple(owners)
    return NeuronPlacement(resident, dimm, problem.objective(resident, dimm))


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


PLACE: Final[Mapping[str, Callable[[PlacementProblem, int], NeuronPlacement]]] = {
    "greedy": place_greedily,
    "optimal": place_optimally,
    "random": lambda problem, _: place_randomly(problem),
}
"""The ways to place neurons, by the name that a policy gives them."""
