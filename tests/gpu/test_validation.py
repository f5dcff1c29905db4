"""The model beside measurements: which rows are judged, with which efficiencies, and under which name."""

import numpy as np
import pytest

from ndpsim.gpu import validation
from ndpsim.gpu.card import Fit, card_names, cards_dir, load_card
from ndpsim.gpu.efficiency import predicted, prior
from ndpsim.gpu.fit import errors, held_out, rows
from ndpsim.gpu.gemm import GEMM
from ndpsim.gpu.kernels import kernels
from ndpsim.gpu.rows import ROWS
from ndpsim.gpu.validation import (
    ONE_TO_OTHER,
    Measured,
    as_fitted,
    as_one_to_other,
    as_unseen,
    kind_of,
    measurements,
    split_name,
)

TABLE = kernels([("gemm", "bf16", {"m": m, "n": n, "k": 4096}) for m in range(1, 41) for n in (64, 4096)])
NAMES = [parameter.name for parameter in GEMM.parameters]


def card_with(name, factor):
    """Return a card whose fit has launches that take `factor` times the prior."""
    bare = load_card(name).model_copy(update={"fit": None})
    values = dict(zip(NAMES, prior(GEMM, bare).tolist(), strict=True))
    values["launch_us"] *= factor
    fit = Fit(data="ours, theirs", rows=80, error={"gemm": 0.1}, efficiencies={"gemm": values})
    return bare.model_copy(update={"fit": fit})


@pytest.fixture
def fits(monkeypatch):
    """Two measured cards in place of those that ship."""
    cards = {"rtx4090": card_with("rtx4090", 2.0), "a100-80": card_with("a100-80", 0.5)}
    monkeypatch.setattr(validation, "load_card", lambda name: cards.get(name) or load_card(name))
    monkeypatch.setattr(validation, "measured_cards", lambda: list(cards.values()))
    return cards


def times(card, table=TABLE):
    return GEMM.times(table, card, np.array([card.fit.efficiencies["gemm"][name] for name in NAMES]))


def test_a_fitted_card_is_judged_on_the_rows_that_its_fit_has_not_seen(fits):
    us = times(fits["rtx4090"])
    us[~held_out(TABLE)] = 1e6
    found = list(as_fitted([Measured("rtx4090", origin, TABLE, us) for origin in ("ours", "theirs", "foreign")]))
    norms = kernels([("rmsnorm", "bf16", {"m": m, "n": 4096}) for m in range(1, 41)])
    assert not list(as_fitted([Measured("rtx4090", "ours", norms, np.ones(40))]))  # no fit of row operations
    assert [(row.card, row.origin, row.kind, row.basis) for row in found] == [
        ("rtx4090", "ours", "gemm", "fitted to the other half of these"),
        ("rtx4090", "theirs", "gemm", "fitted to the other half of these"),
        ("rtx4090", "foreign", "gemm", "fitted to other measurements of the card"),
    ]
    for row in found:
        assert row.errors == (held_out(TABLE).sum(), 0.0, 0.0, 0.0)


def test_an_unseen_card_is_predicted_from_all_others_and_not_from_its_own_fit(fits):
    card = fits["rtx4090"]
    (found,) = as_unseen([Measured("rtx4090", "ours", TABLE, times(card))])
    wanted = GEMM.times(TABLE, card, predicted(GEMM, card, [fits["a100-80"]]))
    assert found.basis == "predicted from the other cards"
    assert found.errors == pytest.approx(errors(wanted, times(card)))
    assert found.errors.bias < -0.1  # the other card says that launches are short


def test_one_card_alone_predicts_the_other(fits):
    measured = [Measured(name, "ours", TABLE, times(card)) for name, card in fits.items()]
    found = {row.card: row for row in as_one_to_other(measured)}
    assert {row.basis for row in found.values()} == {f"predicted from the {source} alone" for source, _ in ONE_TO_OTHER}
    for source, target in ONE_TO_OTHER:
        wanted = GEMM.times(TABLE, fits[target], predicted(GEMM, fits[target], [fits[source]]))
        assert found[target].errors == pytest.approx(errors(wanted, times(fits[target])))


def test_errors_are_told_by_kind_of_kernel():
    heads = {"heads": 8, "kv_heads": 8, "head_dim": 64}
    table = kernels([
        ("gemv", "fp16", {"n": 8, "k": 8}),
        ("gemm", "fp16", {"m": 2, "n": 8, "k": 8}),
        ("attention", "fp16", heads | {"decodes": 1, "context": 9}),
        ("attention", "fp16", heads | {"prefills": 1, "queries": 9}),
        ("attention", "fp16", heads | {"prefills": 1, "queries": 9, "decodes": 1, "context": 9}),
        ("rmsnorm", "fp16", {"m": 2, "n": 8}),
    ])  # fmt: skip
    assert kind_of(table) == ["gemm", "gemm", "attention decode", "attention prefill", "attention mixed", "rmsnorm"]


def test_names_of_files_state_card_and_origin(tmp_path):
    assert split_name(tmp_path / "a100-80-aiconfigurator.csv.gz") == ("a100-80", "aiconfigurator")
    assert split_name(tmp_path / "rtx4090-two-words.csv.gz") == ("rtx4090", "two-words")


def test_measurements_that_ship_are_of_known_cards_and_known_licences():
    found = measurements()
    assert {"rtx4090", "a100-80"} <= {one.card for one in found} <= set(card_names())
    licences = {path.suffix.removeprefix(".") for path in (cards_dir() / "measured").glob("LICENSE.*")}
    for one in found:
        assert one.origin.partition("-")[0] in {*licences, "ndpsim"}
        assert len(one.kernels) == len(one.us) and (one.us > 0).all()
        out = held_out(one.kernels)
        assert len(out) < 100 or 0.4 < out.mean() < 0.6


@pytest.mark.parametrize(
    ("card", "origin", "kind", "most"),
    [
        ("rtx4090", "llmservingsim", "gemm", 0.04),
        ("rtx4090", "llmservingsim", "attention decode", 0.08),
        ("a100-80", "aiconfigurator", "gemm", 0.09),  # the aim is 8 %
        ("a100-80", "aiconfigurator", "attention decode", 0.10),
    ],
)
def test_mean_errors_on_rows_that_the_fit_has_not_seen(card, origin, kind, most):
    of_card = [one for one in measurements() if (one.card, one.origin) == (card, origin)]
    (mean,) = (row.errors.mean for row in as_fitted(of_card) if row.kind == kind)
    assert mean <= most


def test_mean_errors_of_matrix_products_on_cards_that_the_model_has_not_seen():
    """The aim is 15 %; the A100 and the L40S, which depart most from their data sheets, miss it."""
    for row in as_unseen(measurements()):
        if row.kind == "gemm":
            assert row.errors.mean < (0.21 if row.card in ("a100-80", "l40s") else 0.15), (row.card, row.origin)


def test_every_family_judges_its_own_kernels(fits):
    table = kernels([("gemm", "bf16", {"m": 8, "n": 64, "k": 64}), ("rmsnorm", "bf16", {"m": 8, "n": 64})])
    found = {row.kind: row.errors.bias for row in as_unseen([Measured("rtx4090", "ours", table, np.array([1.0, 2.0]))])}
    gemm, norm = (
        family.times(rows(table, np.array([i])), fits["rtx4090"], predicted(family, fits["rtx4090"], [fits["a100-80"]]))
        for i, family in enumerate((GEMM, ROWS))
    )
    assert found == {"gemm": pytest.approx(gemm[0] - 1), "rmsnorm": pytest.approx(norm[0] / 2 - 1)}


def test_links_have_no_efficiencies_and_are_judged_once():
    (one,) = (one for one in measurements() if one.card == "h100")
    table, us = one.kernels, one.us
    links = [row for row in (*as_fitted([one]), *as_unseen([one])) if row.kind == "all_reduce"]
    assert [row.basis for row in links] == ["with the constants of a kind of link"]
    assert links[0].errors.rows < len(table) == len(us) and links[0].errors.mean < 0.06
