"""What a generated trace should look like, group by group, and what that asks of the generator.

`GroupParameters` holds figures as papers give them; `solve` turns those of all groups of a kind into the chances that
GENERATOR.md describes, or says which figure cannot be met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.sparsity.generation.hotness import chance_similarity, hotness, solve_skew

FAR = 25
"""The distance in tokens from which on similarity is given as flat."""
_QUARTERS = 0.75
"""Share of a run between the middles of its first and its last quarter, between which `hot_changed` compares."""


@dataclass(frozen=True)
class GroupParameters:
    """What a group of neurons should look like; names and definitions of `GroupStatistics` where it has the same.

    ``density``: share of active neurons.
    ``share_for_80`` or ``gini``: skew of the frequencies, over all sequences of the model; exactly one of the two.
    ``similarity_1`` or ``persistence_1``: similarity of adjacent tokens, or where between chance (0) and identity (1)
    it lies; exactly one of the two.
    ``similarity_25`` or ``persistence_25``: the same for far tokens; it stays so for the whole sequence, but for drift.
    ``layer_correlation``: Pearson correlation of a neuron with each of two neurons of the preceding group.
    ``hot_changed``: share of the hottest neurons of the first quarter of a run that have cooled by its last quarter.
    ``sequence_similarity``: between sequences; None: what the common hotness of neurons gives.
    """

    density: float
    layer_correlation: float
    hot_changed: float
    share_for_80: float | None = None
    gini: float | None = None
    similarity_1: float | None = None
    persistence_1: float | None = None
    similarity_25: float | None = None
    persistence_25: float | None = None
    sequence_similarity: float | None = None


ALTERNATIVES = (("share_for_80", "gini"), ("similarity_1", "persistence_1"), ("similarity_25", "persistence_25"))


@dataclass(frozen=True)
class GroupChances:
    """The letters of GENERATOR.md for one group: probabilities, and the hotness ``p`` of its ranks.

    ``drift`` is the share of pairs of seats that change places in a run of ``run_tokens``.
    """

    p: NDArray[np.float64]
    refreshed: float
    held: float
    follows: float
    handed: float
    common: float
    drift: float
    reseated: float
    run_tokens: int

    def similarity(self, distance: int) -> float:
        """Expected similarity of tokens so far apart, up to a run's length."""
        chance = chance_similarity(self.p)
        kept = self.held + (1 - self.held) * (1 - self.refreshed) ** distance
        moved = self.drift * distance / self.run_tokens
        return float((1 - moved) * (chance + (1 - chance) * kept) + moved * self.p.mean())

    def sequence_similarity(self) -> float:
        """Expected similarity of two sequences at the same token."""
        chance, together = chance_similarity(self.p), (1 - self.reseated) ** 2
        alike = chance + (1 - chance) * self.common**2
        return float(together * alike + (1 - together) * self.p.mean())


def solve(groups: Sequence[GroupParameters], neurons: int, run_tokens: int) -> list[GroupChances]:
    """Find the chances that give what is asked for.

    Args:
        groups: the groups of one kind, layer by layer.
        neurons: neurons of each.
        run_tokens: tokens over which hotness changes as much as ``hot_changed`` says.

    Raises:
        InputError: figures that no group can have; all of them in one sentence.
    """
    faults: dict[str, list[int]] = {}
    found: list[GroupChances] = []
    for layer, group in enumerate(groups):
        try:
            found.append(_solve_one(group, neurons, run_tokens))
        except InputError as error:
            for fault in str(error).split("; "):
                faults.setdefault(fault, []).append(layer)
    if faults:
        raise InputError("; ".join(_once(fault, layers) for fault, layers in faults.items()))
    return _chain(groups, found)


def _once(fault: str, layers: list[int]) -> str:
    """Return a fault that some layers have as one sentence."""
    return f"layer {layers[0]}: {fault}" + (f" (and {len(layers) - 1} more)" if len(layers) > 1 else "")


@lru_cache(maxsize=256)  # mostly, all layers are to look the same
def _solve_one(group: GroupParameters, neurons: int, run_tokens: int) -> GroupChances:
    for names in ALTERNATIVES:
        given = [name for name in names if getattr(group, name) is not None]
        if len(given) != 1:
            raise InputError(f"{names[0]}: expected it or {names[1]}, found {'both' if given else 'none'}")
    p = hotness(neurons, *solve_skew(group.density, group.share_for_80, group.gini))
    if not p.mean() > 0:
        raise InputError(f"density: expected a neuron that ever fires, found {group.density:g} of {neurons} neurons")
    faults: list[str] = []

    def within(name: str, least: float, most: float, why: str = "") -> float:
        value = getattr(group, name)
        if not least - 1e-9 <= value <= most + 1e-9:
            faults.append(f"{name}: expected {least:.3f} to {most:.3f}{why}, found {value:g}")
        return float(min(max(value, least), most))

    drift = within("hot_changed", 0, 0.8 * _QUARTERS) / (0.8 * _QUARTERS)
    chance, density = chance_similarity(p), float(p.mean())

    def ends(distance: int) -> tuple[str, float, float]:
        """The name that similarity at this distance is asked for by, and its values at persistence 0 and 1."""
        name = f"similarity_{distance}"
        if getattr(group, name) is None:
            return f"persistence_{distance}", 0.0, 1.0
        moved = min(drift * distance / run_tokens, 1.0)
        return name, (1 - moved) * chance + moved * density, 1 - moved + moved * density

    def persistence(distance: int) -> float:
        name, least, most = ends(distance)
        why = " with this density, skew and drift" if name.startswith("similarity") else ""
        return (within(name, least, most, why) - least) / (most - least) if most > least else 0.0

    near, far = persistence(1), persistence(FAR)
    within("layer_correlation", 0, 1)
    alike = chance
    if group.sequence_similarity is not None:
        alike = within("sequence_similarity", density, 1, " with this density")
    if not faults and not near**FAR - 1e-9 <= far <= near + 1e-9:
        name, least, most = ends(FAR)
        low, high = (least + (most - least) * value for value in (near**FAR, near))
        faults.append(
            f"{name}: expected {low:.3f} to {high:.3f} with the value at distance 1, found {getattr(group, name):g}"
        )
    if faults:
        raise InputError("; ".join(faults))
    held, refreshed = _decay(near, far)
    together = (alike - density) / (chance - density) if alike < chance else 1.0
    common = (alike - chance) / (1 - chance) if alike > chance else 0.0
    return GroupChances(p, refreshed, held, 0.0, 0.0, common**0.5, drift, 1 - max(together, 0.0) ** 0.5, run_tokens)


def _decay(near: float, far: float) -> tuple[float, float]:
    """The share held and the chance of a refresh for which held + (1 - held) (1 - refreshed)^d is near and far."""
    if near >= 1:
        return 1.0, 0.0
    below, above = 0.0, near
    for _ in range(60):
        kept = (below + above) / 2
        held = (near - kept) / (1 - kept)
        if held + (1 - held) * kept**FAR > far:
            below = kept
        else:
            above = kept
    kept = (below + above) / 2
    return (near - kept) / (1 - kept), 1 - kept


def _chain(groups: Sequence[GroupParameters], found: list[GroupChances]) -> list[GroupChances]:
    """Add what carries numbers from layer to layer."""
    asked = np.array([0.0, *(group.layer_correlation for group in groups[1:])])
    in_step = np.array([1.0, *(_in_step(a, b) for a, b in zip(found[1:], found[:-1], strict=True))])
    if (asked > in_step + 1e-9).any():
        at = int(np.argmax(asked - in_step))
        raise InputError(
            f"layer {at}: layer_correlation: expected at most {in_step[at]:.3f} with tokens as similar as these here "
            f"and in the layer before, found {asked[at]:g}"
        )
    ratio = np.divide(asked, in_step, out=np.zeros_like(asked), where=in_step > 0)
    follows = float(ratio.max()) ** (1 / 3)
    handed = ratio / follows**2 if follows > 0 else ratio
    return [
        GroupChances(c.p, c.refreshed, c.held, follows, float(min(b, 1.0)), c.common, c.drift, c.reseated, c.run_tokens)
        for c, b in zip(found, handed, strict=True)
    ]


def _in_step(a: GroupChances, b: GroupChances) -> float:
    """Chance that a clan's latest refresh is the same in two layers."""
    least, most = sorted((a.refreshed, b.refreshed))
    both_held, none_held = min(a.held, b.held), 1 - max(a.held, b.held)
    return both_held + none_held * (least / most if most > 0 else 1.0)
