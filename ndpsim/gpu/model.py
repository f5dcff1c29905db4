"""The timing model of one card: microseconds of kernels, and whether they rest on measurements of this very card."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ndpsim.errors import InputError
from ndpsim.gpu.card import Card, load_card
from ndpsim.gpu.efficiency import check_fit, efficiencies, fitted
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.kernels import OP_NAMES, Floats, Kernels
from ndpsim.wall import GPU_MODEL

# The host's time for a launch with a framework around it. Ours: 4 to 6 us are seen with PyTorch.
PLAIN_LAUNCH_US: Final = 5.0


@dataclass(frozen=True)
class GpuModel:
    """A card with its efficiencies, by family [parameters]."""

    card: Card
    efficiencies: dict[str, Floats]

    @classmethod
    def load(cls, name: str) -> "GpuModel":
        """Load a card by name or file. Raises InputError."""
        card = load_card(name)
        return cls.of(card, name if name.endswith(".toml") else f"card {card.name}")

    @classmethod
    def of(cls, card: Card, where: str = "card") -> "GpuModel":
        """Take a card's fit, and predict what it has none for.

        Raises:
            InputError: the fit has other parameters than the model; `where` begins the sentence.
        """
        if card.fit is not None:
            try:
                check_fit(card.fit, FAMILIES)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        return cls(card, {family.name: efficiencies(family, card) for family in FAMILIES})

    @property
    def origin(self) -> str:
        """`fitted` with the families that are, or `predicted`: every result that used the card says it."""
        own = [family.name for family in FAMILIES if fitted(family, self.card) is not None]
        if not own:
            return f"{self.card.name}: predicted from other cards"
        errors = self.card.fit.error if self.card.fit else {}
        return f"{self.card.name}: fitted (" + ", ".join(f"{name} {errors[name]:.1%}" for name in own) + ")"

    @GPU_MODEL
    def microseconds(self, kernels: Kernels) -> Floats:
        """Return the device time [n] of each kernel, in a CUDA graph."""
        result = np.zeros(len(kernels))
        for family in FAMILIES:
            mine = np.isin(kernels.op, [OP_NAMES.index(op) for op in family.operations])
            if mine.all():
                return family.times(kernels, self.card, self.efficiencies[family.name])
            if mine.any():
                part = Kernels(kernels.op[mine], kernels.dtype[mine], np.ascontiguousarray(kernels.shape[mine]))
                result[mine] = family.times(part, self.card, self.efficiencies[family.name])
        return result

    def plain(self, kernels: Kernels) -> Floats:
        """Return the time [n] that each kernel adds to a stream if it is launched by itself, not from a graph.

        The host launches one kernel every PLAIN_LAUNCH_US: shorter ones wait for it.
        """
        return np.maximum(self.microseconds(kernels), PLAIN_LAUNCH_US)
