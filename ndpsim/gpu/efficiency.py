"""Efficiencies of a card: its fit where it has one, else carried over from the cards that have."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from ndpsim.errors import InputError
from ndpsim.gpu.card import Card, Fit, card_names, load_card
from ndpsim.gpu.family import KernelFamily
from ndpsim.gpu.kernels import Floats

# Weights of what a card without measurements is predicted from: the priors count as one card of another architecture.
SAME_ARCHITECTURE: Final = 2.0
PRIOR: Final = 1.0


def prior(family: KernelFamily, card: Card) -> Floats:
    """Return the efficiencies [parameters] that priors and the data sheet alone let one expect, within bounds."""
    return bounded(family, np.array([parameter.prior for parameter in family.parameters]) * family.expected(card))


def fitted(family: KernelFamily, card: Card) -> Floats | None:
    """Return the fitted efficiencies [parameters], or None if nobody has measured this family on the card."""
    if card.fit is None or family.name not in card.fit.efficiencies:
        return None
    values = card.fit.efficiencies[family.name]
    return np.array([values[parameter.name] for parameter in family.parameters])


def predicted(family: KernelFamily, card: Card, others: Iterable[Card]) -> Floats:
    """Return efficiencies [parameters] from those of measured cards.

    What a measured card does better or worse than its own data sheet lets one expect is taken over, as the weighted
    geometric mean of such cards and the prior; a card of the same architecture counts SAME_ARCHITECTURE times.
    """
    total, residuals = PRIOR, np.zeros(len(family.parameters))
    for other in others:
        efficiencies = fitted(family, other)
        if efficiencies is not None:
            weight = SAME_ARCHITECTURE if other.architecture == card.architecture else 1.0
            residuals += weight * np.log(efficiencies / prior(family, other))
            total += weight
    return bounded(family, prior(family, card) * np.exp(residuals / total))


def bounded(family: KernelFamily, efficiencies: Floats) -> Floats:
    """Return efficiencies within the bounds of their parameters."""
    low = np.array([parameter.low for parameter in family.parameters])
    high = np.array([parameter.high for parameter in family.parameters])
    return np.clip(efficiencies, low, high)


def efficiencies(family: KernelFamily, card: Card) -> Floats:
    """Return the efficiencies [parameters] of a card: fitted, or predicted from all measured cards that ship."""
    own = fitted(family, card)
    return predicted(family, card, measured_cards()) if own is None else own


def measured_cards() -> list[Card]:
    """Return the cards that ship with a fit."""
    return [card for card in map(load_card, card_names()) if card.fitted]


def check_fit(fit: Fit, families: Iterable[KernelFamily]) -> None:
    """Raise InputError, with all faults, if a fit does not name exactly the parameters of its families, and errors."""
    known: Mapping[str, KernelFamily] = {family.name: family for family in families}
    faults = [
        f"fit.error.{name}: expected an error for each family with efficiencies, found "
        + ("nothing" if name in fit.efficiencies else "another name")
        for name in sorted(fit.efficiencies.keys() ^ fit.error.keys())
    ]
    for name, values in fit.efficiencies.items():
        if name not in known:
            faults.append(f"fit.efficiencies.{name}: expected one of {', '.join(known)}, found this name")
            continue
        parameters = {parameter.name: parameter for parameter in known[name].parameters}
        for key in sorted(parameters.keys() ^ values.keys()):
            found = "nothing" if key in parameters else "an unknown name"
            faults.append(f"fit.efficiencies.{name}.{key}: expected a value for each parameter, found {found}")
        for key in sorted(parameters.keys() & values.keys()):
            low, high = parameters[key].low, parameters[key].high
            if not low * 0.999 <= values[key] <= high * 1.001:
                faults.append(f"fit.efficiencies.{name}.{key}: expected {low:g} to {high:g}, found {values[key]:g}")
    if faults:
        raise InputError("; ".join(faults))
