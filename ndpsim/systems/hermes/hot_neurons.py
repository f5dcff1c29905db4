"""Which neurons of a token are computed, and which lie in GPU memory: what Hermes and its like predict and swap.

Each sequence of a batch has a predictor of its own. A neuron's heat is the mean of its states, rounded down; it is
computed for the sequences whose predictor says so, and its weights are read once for all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndpsim.sparsity.frequency import Frequencies
from ndpsim.sparsity.prediction.layout import NeuronLayout
from ndpsim.sparsity.prediction.predictor import PredictionQuality, Predictor, PredictorRule
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.systems.hermes.residency import Residency, Swaps

Mask = NDArray[np.uint64]


class HotNeurons:
    """Predictors and residence of all neurons of a model.

    Each place of a sequence has a sequence of the trace, from which its activations come, and a predictor. active,
    computed: uint64[n, words], of the n sequences that `predict` saw last; resident: uint64[words].
    """

    def __init__(
        self,
        layout: NeuronLayout,
        trace: ActivationTrace,
        parents: Sequence[NDArray[np.int32]],
        neuron_bytes: Sequence[int],
        often: Sequence[Frequencies],
        resident: Sequence[NDArray[np.bool_]],
        rule: PredictorRule,
    ) -> None:
        """Begin without a sequence.

        neuron_bytes, often, resident: one a group; bytes of a neuron, how often each one fired in the prompt, which
        sets the states when a sequence enters, and which ones are in GPU memory, bool[neurons].
        """
        header = trace.header
        self.layout, self.trace, self.rule, self._often = layout, trace, rule, often
        first = Predictor(layout, parents, header.preceding, rule)
        self.predictors = [first] + [first.twin() for _ in range(1, header.sequences)]
        self.residency = Residency(layout, header.layer, neuron_bytes, layout.mask(layout.spread(resident)))
        self.quality = PredictionQuality(layout)
        self._hot = layout.mask(np.zeros(layout.slots, np.bool_))
        self._heat: NDArray[np.uint8] = np.zeros(layout.slots, np.uint8)
        self._seen: list[Predictor] = []
        self.active = self.computed = np.zeros((header.sequences, layout.words), np.uint64)

    @property
    def resident(self) -> Mask:
        """Which neurons are in GPU memory, uint64[words]."""
        return self.residency.resident

    def enter(self, sequence: int) -> None:
        """Begin a sequence behind its prompt: its states follow from how often neurons fired there."""
        self.predictors[sequence].start([group.each[sequence] for group in self._often])

    def predict(self, sequences: Sequence[int], tokens: Sequence[int]) -> None:
        """Predict a token of each of some sequences. tokens: its place in the trace, for each of them."""
        self._seen = [self.predictors[sequence] for sequence in sequences]
        self.active = self.layout.sequence_masks(self.trace, sequences, tokens)
        pairs = list(zip(self._seen, self.active, strict=True))
        self.computed = np.stack([predictor.predict(active) for predictor, active in pairs])
        for computed, active in zip(self.computed, self.active, strict=True):
            self.quality.add(computed, active)
        if len(pairs) == 1:
            self._heat = self._seen[0].states
        else:
            total = np.sum([p.states for p in self._seen], axis=0, dtype=np.uint16)
            self._heat = np.floor_divide(total, len(pairs)).astype(np.uint8)
        self._hot = self.layout.mask(self._heat > self.rule.hot)

    def swap(self, most_bytes: Sequence[int]) -> Swaps:
        """Exchange neurons of each layer: hot ones come into GPU memory in the place of colder ones."""
        return self.residency.swap(self._hot, self._heat, most_bytes)

    def learn(self) -> None:
        """Move the states on by the tokens that were predicted."""
        for predictor, active in zip(self._seen, self.active, strict=True):
            predictor.update(active)

    def figures(self) -> dict[str, Any]:
        """Return the quality of the predictions, all groups taken together."""
        shares = self.quality.shares(range(len(self.layout.neurons)))
        return {name: float(getattr(shares, name)) for name in ("precision", "recall", "accuracy")}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that changes from token to token; heat and activity are made anew by `predict`."""
        counts = self.quality
        return {
            "states": np.stack([predictor.states for predictor in self.predictors]),
            "resident": self.resident.copy(),
            "quality": np.stack([counts.true_positives, counts.false_positives, counts.false_negatives]),
            "predicted": np.array(counts.tokens),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` returned."""
        for predictor, states in zip(self.predictors, state["states"], strict=True):
            predictor.states[:] = states
        self.residency.resident[:] = state["resident"]
        counts = self.quality
        counts.true_positives, counts.false_positives, counts.false_negatives = state["quality"].copy()
        counts.tokens = int(state["predicted"])
