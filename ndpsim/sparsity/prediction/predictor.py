"""Which neurons will be active: a state for each neuron that follows it from token to token, and its two parents.

Source of the model: Hermes (HPCA 2025), section IV-C, and its ablation in section V-C. Not given there, and ours: the
edges of 14 of the 16 bins of the first states, what a neuron without parents does, and what one part alone does. A
predictor follows one sequence; a batch has one for each (`twin`).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.errors import InputError
from ndpsim.sparsity.prediction import predictor_kernel as kernel
from ndpsim.sparsity.prediction.layout import WORD, NeuronLayout
from ndpsim.sparsity.prediction.parents import PARENTS
from ndpsim.tables import Table

MOST = 15
"""The greatest state: four bits."""
RARE, FREQUENT = 0.02, 0.9
"""Frequencies in the prompt below which the first state is 0, and above which it is 15, as published."""
EDGES = RARE * (FREQUENT / RARE) ** (np.arange(MOST - 1) / (MOST - 1))
"""Least frequency of the states 1 to 14: a geometric series, so that a neuron is hot (state 11) from 30 % on. States
tend upwards where a neuron fires more often than once in five tokens; even bins would call it hot from 65 % on."""
_LEAST = np.append(EDGES, np.nextafter(FREQUENT, 1))

State = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Score = Annotated[int, Field(strict=True, ge=0, le=1000)]


class PredictorRule(Table):
    """The numbers of the predictor.

    A neuron is predicted active if state + ``weight`` * active parents > ``threshold``, or >= if not ``strict``. By
    ``token`` alone or for a neuron without parents: if state > ``threshold_alone``. By ``layer`` alone, the state of a
    neuron with parents is ``weight`` * active parents (at most 15), and it is active if that is > ``threshold_alone``.
    It is hot if its state > ``hot``. The state grows by ``rise`` when the neuron is active and falls by ``fall`` when
    it is not, and stays within 0 to 15.
    """

    part: Literal["both", "token", "layer"]
    rise: State
    fall: State
    weight: Score
    threshold: Score
    strict: Annotated[bool, Field(strict=True)]
    threshold_alone: State
    hot: State

    def least_states(self) -> NDArray[np.uint8]:
        """The least state that is predicted active with 0, 1 and 2 active parents, and without any; 16 is never."""
        least = []
        for count in range(PARENTS + 1):
            needed = self.threshold + self.strict - self.weight * count
            least.append(self.threshold_alone + 1 if self.part == "layer" else min(max(needed, 0), MOST + 1))
        return np.array([*least, self.threshold_alone + 1], dtype=np.uint8)


def first_states(frequency: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The states of neurons, uint8[n], that fired at so many of the tokens of the prompt, float[n], 0 to 1."""
    states = np.empty(len(frequency), np.uint8)
    kernel.first_states(frequency, _LEAST, states)
    return states


class Predictor:
    """States and parents of all neurons of a model; masks and slots are those of `NeuronLayout`.

    ``states``, uint8[slots], is for reading. Empty slots are never active and stay at 0.
    """

    def __init__(
        self,
        layout: NeuronLayout,
        parents: Sequence[NDArray[np.int32]],
        preceding: Sequence[int],
        rule: PredictorRule,
    ) -> None:
        """Begin with all states at 0; `start` sets them.

        Args:
            layout: the neurons.
            parents: one int32[neurons, 2] a group: neurons of the preceding group, -1 for none (see `parents`).
            preceding: the group that precedes each, -1 for none, as in the header of a trace.
            rule: its numbers.

        Raises:
            InputError: parents or preceding groups that are not there.
        """
        self.layout, self.rule = layout, rule
        self.states = np.zeros(layout.slots, dtype=np.uint8)
        self._need = self.rule.least_states()
        self._level = np.minimum(self.rule.weight * np.arange(PARENTS + 1), MOST).astype(np.uint8)
        widest = max((-(-neurons // WORD) * WORD for neurons in layout.neurons), default=0)
        none, alone = widest + kernel.NO_PARENT, widest + kernel.ALONE
        self._fired = np.empty(widest + kernel.EXTRA, dtype=np.uint8)
        # half of the time of a prediction goes into fetching the table
        self._parents = np.empty((layout.slots, PARENTS), dtype=np.uint16 if alone < 1 << 16 else np.uint32)
        self._parents[:] = alone, none
        groups, found = len(layout.neurons), (len(parents), len(preceding))
        if found != (groups, groups):
            raise InputError(f"parents, preceding: expected one for each of {groups} groups, found {found}")
        self._preceding = np.array(preceding, dtype=np.int64)
        for group, table in enumerate(parents):
            before = preceding[group]
            if not -1 <= before < group:
                raise InputError(f"preceding: expected -1 or an earlier group than {group}, found {before}")
            least, most = (int(table.min()), int(table.max())) if table.size else (-1, -1)
            known = layout.neurons[before] if before >= 0 else 0
            if table.shape != (layout.neurons[group], PARENTS) or not -1 <= least <= most < known:
                raise InputError(
                    f"parents of group {group}: expected {layout.neurons[group]} pairs of -1 to {known - 1}, "
                    f"found {table.shape} with {least} to {most}"
                )
            if self.rule.part == "token":
                continue
            own = self._parents[layout.of(group)]
            own[:] = np.where(table < 0, none, table)
            own[(table[:, 0] & table[:, 1]) < 0, 0] = alone  # no parent is -1

    def twin(self) -> "Predictor":
        """Return a predictor with the same parents, and states of its own."""
        other = copy(self)
        other.states = self.states.copy()
        return other

    @property
    def table_bytes(self) -> tuple[int, int]:
        """Bytes of the states, 4 bits each, and of the parents, two numbers of 2 bytes a neuron (4 in wide groups)."""
        number = 2 if max(self.layout.neurons) <= 1 << 16 else 4
        return -(-sum(self.layout.neurons) // 2), PARENTS * number * sum(self.layout.neurons)

    def start(self, frequencies: Sequence[NDArray[np.float64]]) -> None:
        """Set the states from how often neurons fired in the prompt, one float64[neurons] a group, 0 to 1."""
        self.states[:] = self.layout.spread([first_states(group) for group in frequencies])

    def predict(self, active: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Predict all groups of a token.

        Args:
            active: which neurons are active at this token, uint64[words]; of a group, those of the groups before it
                count. For a machine that knows of no neuron that it has not computed, hand over those alone.

        Returns:
            Which neurons are predicted active, uint64[words].
        """
        predicted = np.empty(self.layout.words, dtype=np.uint64)
        kernel.predict(
            active,
            self.layout.first // WORD,
            self._preceding,
            self._fired,
            self._parents,
            self._need,
            self._level,
            self.rule.part != "layer",
            self.states,
            predicted,
        )
        return predicted

    def update(self, active: NDArray[np.uint64]) -> None:
        """Move the states on by a token at which these neurons were active, uint64[words].

        By ``layer`` alone the states of neurons with parents are made anew by the next `predict`.
        """
        kernel.update(active, np.uint8(self.rule.rise), np.uint8(self.rule.fall), np.uint8(MOST), self.states)

    def hot(self) -> NDArray[np.uint64]:
        """Which neurons are hot, uint64[words]."""
        return self.layout.mask(self.states > self.rule.hot)


@dataclass(frozen=True)
class QualityShares:
    """Quality of predictions by group or of all together; not-a-number where nothing was predicted or active.

    ``precision``: of the neurons predicted active, the share that was; the rest is wasted work. ``recall``: of the
    active neurons, the share that was predicted; the rest was missing. ``accuracy``: of all neurons, the share for
    which the prediction was right.
    """

    precision: Any
    recall: Any
    accuracy: Any


class PredictionQuality:
    """Counts of right and wrong predictions, group by group."""

    def __init__(self, layout: NeuronLayout) -> None:
        self.layout = layout
        self.tokens = 0
        self.true_positives, self.false_positives, self.false_negatives = (
            np.zeros(len(layout.neurons), dtype=np.int64) for _ in range(3)
        )

    def add(self, predicted: NDArray[np.uint64], active: NDArray[np.uint64]) -> None:
        """Count a token, from masks uint64[words]."""
        self.tokens += 1
        self.true_positives += self.layout.counts(predicted & active)
        self.false_positives += self.layout.counts(predicted & ~active)
        self.false_negatives += self.layout.counts(active & ~predicted)

    @property
    def true_negatives(self) -> NDArray[np.int64]:
        """Neurons that were rightly not predicted, by group."""
        seen = self.tokens * np.array(self.layout.neurons, dtype=np.int64)
        return seen - self.true_positives - self.false_positives - self.false_negatives

    def shares(self, groups: Sequence[int] | None = None) -> QualityShares:
        """Quality of each group, float64[groups]; of some groups taken together where they are named."""
        counts = [self.true_positives, self.false_positives, self.false_negatives, self.true_negatives]
        tp, fp, fn, tn = (c if groups is None else c[list(groups)].sum() for c in counts)
        with np.errstate(invalid="ignore"):
            return QualityShares(np.divide(tp, tp + fp), np.divide(tp, tp + fn), np.divide(tp + tn, tp + fp + fn + tn))
