"""Fit of a card's efficiencies to measured times, and the error on the half of the rows that the fit has not seen."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InputError
from ndpsim.gpu.card import Card, Fit
from ndpsim.gpu.efficiency import bounded, prior
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.family import KernelFamily
from ndpsim.gpu.kernels import OP_NAMES, Floats, Kernels

LEAST_ROWS: Final = 20  # of a family, below which nothing is fitted
MOST_ROWS: Final = 5000  # that a fit looks at; of more, the first in the order of their hash
OUTLIER: Final = 0.05  # relative error beyond which a row counts by its error, not by the square of it


class Errors(NamedTuple):
    """Relative errors of predictions: rows, mean and 95th percentile of the absolute error, and the mean error."""

    rows: int
    mean: float
    p95: float
    bias: float


def errors(predicted: Floats, measured: Floats) -> Errors:
    """Compare times [n], n > 0, in the same unit."""
    relative = predicted / measured - 1
    return Errors(
        len(relative),
        float(np.abs(relative).mean()),
        float(np.quantile(np.abs(relative), 0.95)),
        float(relative.mean()),
    )


def shape_hash(kernels: Kernels) -> NDArray[np.uint64]:
    """Return a hash [n] of each kernel's operation, type and shape: the same for the same shape, on every machine."""
    mixed = np.zeros(len(kernels), np.uint64)
    columns = [kernels.op, kernels.dtype, *kernels.shape.T]
    for column in columns:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def rows(kernels: Kernels, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Kernels:
    """Return the chosen rows of a table."""
    return Kernels(kernels.op[chosen], kernels.dtype[chosen], np.ascontiguousarray(kernels.shape[chosen]))


def joined(tables: Sequence[tuple[Kernels, Floats]]) -> tuple[Kernels, Floats]:
    """Return measurements of several tables as one."""
    kernels = Kernels(*(np.concatenate([getattr(table, name) for table, _ in tables]) for name in Kernels._fields))
    return kernels, np.concatenate([us for _, us in tables])


def held_out(kernels: Kernels) -> NDArray[np.bool_]:
    """Tell for each kernel whether fits leave it out: half of the shapes, by their hash."""
    return (shape_hash(kernels) >> np.uint64(40)) % np.uint64(2) == 1


def of_family(kernels: Kernels, family: KernelFamily) -> NDArray[np.bool_]:
    """Tell for each kernel whether it belongs to the family."""
    return np.isin(kernels.op, [OP_NAMES.index(op) for op in family.operations])


def fit_card(card: Card, kernels: Kernels, us: Floats, data: str) -> Card:
    """Return the card with efficiencies fitted to measured microseconds [n], and their errors on held-out rows.

    data: where the measurements come from. Families with fewer than LEAST_ROWS rows to fit are left to prediction.

    Raises:
        InputError: no family has enough rows.
    """
    out = held_out(kernels)
    found: dict[str, dict[str, float]] = {}
    error: dict[str, float] = {}
    for family in FAMILIES:
        mine = of_family(kernels, family)
        seen, unseen = mine & ~out, mine & out
        if seen.sum() < LEAST_ROWS or not unseen.any() or not family.parameters:
            continue
        efficiencies = fit_family(family, card, rows(kernels, seen), us[seen])
        names = [parameter.name for parameter in family.parameters]
        found[family.name] = dict(zip(names, [float(f"{value:.4g}") for value in efficiencies], strict=True))
        kept = np.array(list(found[family.name].values()))
        error[family.name] = round(errors(family.times(rows(kernels, unseen), card, kept), us[unseen]).mean, 4)
    if not found:
        most = max(int((of_family(kernels, family) & ~out).sum()) for family in FAMILIES)
        raise InputError(
            f"{data}: expected {LEAST_ROWS} rows of one kind of kernel in the half of the shapes that fits, "
            f"and some in the other, found at most {most} of {len(us)} rows"
        )
    return card.model_copy(update={"fit": Fit(data=data, rows=len(us), error=error, efficiencies=found)})


def fit_family(family: KernelFamily, card: Card, kernels: Kernels, us: Floats) -> Floats:
    """Return the efficiencies [parameters] that best explain the times, in logarithms, robust, drawn to the priors."""
    from scipy.optimize import least_squares

    order = np.argsort(shape_hash(kernels))[:MOST_ROWS]
    kernels, us = rows(kernels, order), us[order]
    low = np.log([parameter.low for parameter in family.parameters])
    high = np.log([parameter.high for parameter in family.parameters])
    spread = np.array([parameter.spread for parameter in family.parameters])
    centre = np.log(prior(family, card))

    def residuals(x: Floats) -> Floats:
        error = np.log(family.times(kernels, card, np.exp(x)) / us) / OUTLIER
        robust = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error * error) - 1))
        return np.concatenate([robust, (x - centre) / spread])

    margin = 1e-3
    start = np.clip(centre, low + margin, high - margin)
    solution = least_squares(residuals, start, bounds=(low, high), x_scale=spread, diff_step=0.01, max_nfev=80)
    return bounded(family, np.exp(solution.x))


def to_toml(card: Card) -> str:
    """Return the card as a file that loads back equal."""
    lines = []
    for name, value in card.model_dump(exclude={"fit", "traits"}, exclude_none=True).items():
        about = Card.model_fields[name].description
        lines.append(f"{name} = {_value(value)}" + (f"  # {about}" if about else ""))
    if card.fit is not None:
        lines += ["", "[fit]", f"data = {_value(card.fit.data)}", f"rows = {card.fit.rows}"]
        lines += ["", "[fit.error]  # mean absolute error on the half of the rows that the fit has not seen"]
        lines += [f"{name} = {_value(value)}" for name, value in card.fit.error.items()]
        for name, values in card.fit.efficiencies.items():
            lines += ["", f"[fit.efficiencies.{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _value(value: str | float | bool) -> str:
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
