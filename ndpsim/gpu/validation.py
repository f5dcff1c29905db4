"""The model beside the measurements that ship: as fitted, and as it would predict cards that it had never seen."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ndpsim.gpu.card import Card, card_names, cards_dir, load_card
from ndpsim.gpu.efficiency import fitted, measured_cards, predicted
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.fit import MOST_ROWS, Errors, errors, held_out, of_family, rows, shape_hash
from ndpsim.gpu.kernels import OP_NAMES, Floats, Kernels
from ndpsim.gpu.measured import read_measurements

# Pairs for the hardest question: what the one card alone says of the other.
ONE_TO_OTHER = (("rtx4090", "a100-80"), ("a100-80", "rtx4090"))


class Measured(NamedTuple):
    """Kernels of one card and their times in microseconds [n], from one origin."""

    card: str
    origin: str
    kernels: Kernels
    us: Floats


class ValidationRow(NamedTuple):
    """One line of a validation: a kind of kernel of a card, where its efficiencies came from, and the errors."""

    card: str
    origin: str
    kind: str
    basis: str
    errors: Errors


def measurements() -> list[Measured]:
    """Return all measurements that ship with ndpsim."""
    found = []
    for path in sorted((cards_dir() / "measured").glob("*.csv.gz")):
        card, origin = split_name(path)
        found.append(Measured(card, origin, *read_measurements(path)))
    return found


def split_name(path: Path) -> tuple[str, str]:
    """Return the card and the origin that the name of a file of measurements states."""
    stem = path.name.removesuffix(".csv.gz")
    card = max((name for name in card_names() if stem.startswith(name + "-")), key=len)
    return card, stem.removeprefix(card + "-")


def kind_of(kernels: Kernels) -> list[str]:
    """Return the kind [n] under which errors are reported: the operation; of attention, also what it works on."""
    prefill = kernels.column("prefills") * kernels.column("queries") > 0
    decode = kernels.column("decodes") > 0
    kinds = []
    for op, has_prefill, has_decode in zip(kernels.op.tolist(), prefill.tolist(), decode.tolist(), strict=True):
        name = OP_NAMES[op]
        if name == "attention":
            name += " mixed" if has_prefill and has_decode else " prefill" if has_prefill else " decode"
        kinds.append("gemm" if name == "gemv" else name)
    return kinds


def as_fitted(measured: Sequence[Measured]) -> Iterator[ValidationRow]:
    """Yield the errors of what is fitted of the cards as they ship, on the rows that a fit leaves out."""
    for one in measured:
        out = held_out(one.kernels)
        card = load_card(one.card)
        chosen = {family.name: own for family in FAMILIES if (own := fitted(family, card)) is not None}
        of_these = card.fit is not None and one.origin in card.fit.data.split(", ")
        basis = "fitted to the other half of these" if of_these else "fitted to other measurements of the card"
        left_out = one._replace(kernels=rows(one.kernels, out), us=one.us[out])
        yield from _rows(left_out, card, chosen, basis)
        same = {family.name: np.ones(0) for family in FAMILIES if not family.parameters}
        yield from _rows(left_out, card, same, "with the constants of a kind of link")


def as_unseen(measured: Sequence[Measured]) -> Iterator[ValidationRow]:
    """Yield the errors of each card with efficiencies predicted from its data sheet and the other cards."""
    known = measured_cards()
    for one in measured:
        card = load_card(one.card)
        others = [other for other in known if other.name != card.name]
        chosen = {family.name: predicted(family, card, others) for family in FAMILIES if family.parameters}
        yield from _rows(_thinned(one), card, chosen, "predicted from the other cards")


def as_one_to_other(measured: Sequence[Measured]) -> Iterator[ValidationRow]:
    """Yield the errors of a card predicted from its data sheet and one other card alone."""
    for source, target in ONE_TO_OTHER:
        card = load_card(target)
        chosen = {family.name: predicted(family, card, [load_card(source)]) for family in FAMILIES if family.parameters}
        for one in measured:
            if one.card == target:
                yield from _rows(_thinned(one), card, chosen, f"predicted from the {source} alone")


def _thinned(one: Measured) -> Measured:
    order = np.argsort(shape_hash(one.kernels))[: 2 * MOST_ROWS]
    return one._replace(kernels=rows(one.kernels, order), us=one.us[order])


def _rows(one: Measured, card: Card, chosen: dict[str, Floats], basis: str) -> Iterator[ValidationRow]:
    for family in FAMILIES:
        mine = of_family(one.kernels, family)
        if family.name not in chosen or not mine.any():
            continue
        kernels, us = rows(one.kernels, mine), one.us[mine]
        times = family.times(kernels, card, chosen[family.name])
        kinds = np.array(kind_of(kernels))
        for kind in sorted(set(kinds.tolist())):
            yield ValidationRow(one.card, one.origin, kind, basis, errors(times[kinds == kind], us[kinds == kind]))
