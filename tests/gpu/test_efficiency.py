"""Efficiencies of a card: its own fit, or what other cards' fits and its data sheet say, by hand."""

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.gpu import efficiency
from ndpsim.gpu.card import Fit, load_card
from ndpsim.gpu.efficiency import bounded, check_fit, efficiencies, fitted, measured_cards, predicted, prior
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.family import KernelFamily, Parameter

PARAMETERS = (
    Parameter("share", 0.5, 0.1, 1.0, 0.3, "made up"),
    Parameter("latency_us", 2.0, 0.5, 16.0, 0.3, "made up"),
)


def expected(card):
    return np.array([0.8 if card.inline_ecc else 1.0, 1000 / card.clock_mhz])


FAMILY = KernelFamily("made_up", (), PARAMETERS, lambda kernels, card, values: np.zeros(len(kernels)), expected)


def card(name, architecture="ada", clock_mhz=1000.0, inline_ecc=False, **values):
    fit = Fit(data="made up", rows=40, error={"made_up": 0.1}, efficiencies={"made_up": values}) if values else None
    changes = {"name": name, "architecture": architecture, "clock_mhz": clock_mhz, "inline_ecc": inline_ecc, "fit": fit}
    return load_card("t4").model_copy(update=changes)


def test_the_prior_is_what_the_data_sheet_lets_one_expect_within_bounds():
    assert prior(FAMILY, card("a", clock_mhz=500, inline_ecc=True)) == pytest.approx([0.4, 4])
    assert prior(FAMILY, card("a", clock_mhz=50)) == pytest.approx([0.5, 16])
    assert bounded(FAMILY, np.array([2.0, 0.0])).tolist() == [1.0, 0.5]


def test_without_measured_cards_the_prior_is_all_there_is():
    assert predicted(FAMILY, card("a"), []) == pytest.approx([0.5, 2])


def test_what_one_measured_card_does_better_is_taken_over_by_half_against_the_prior():
    other = card("b", architecture="ampere", share=0.72, latency_us=4)
    assert predicted(FAMILY, card("a"), [other]) == pytest.approx([0.6, 2 * 2**0.5])  # 0.5 * sqrt(1.44)


def test_a_card_of_the_same_architecture_counts_twice():
    same, another = card("b", share=0.8, latency_us=2), card("c", architecture="hopper", share=0.5, latency_us=1)
    wanted = [0.5 * 1.6 ** (2 / 4), 2 * 0.5 ** (1 / 4)]  # weights: 2 the same, 1 another, 1 the prior
    assert predicted(FAMILY, card("a"), [same, another]) == pytest.approx(wanted)


def test_cards_are_compared_to_their_own_data_sheets():
    """A slow clock with check bits that does just what it should says that the fast card does just what it should."""
    slow = card("b", clock_mhz=500, inline_ecc=True, share=0.4, latency_us=4)
    assert predicted(FAMILY, card("a", clock_mhz=2000), [slow]) == pytest.approx([0.5, 1])


def test_what_is_carried_over_stays_within_bounds():
    others = [card(str(i), share=1.0, latency_us=0.5) for i in range(10)]
    assert predicted(FAMILY, card("a", clock_mhz=1600), others) == pytest.approx([2 ** (20 / 21) * 0.5, 0.5])


def test_cards_without_a_fit_of_the_family_say_nothing():
    unlike = card("b", share=0.8, latency_us=2)
    unlike = unlike.model_copy(update={"fit": unlike.fit.model_copy(update={"efficiencies": {"other": {}}})})
    assert fitted(FAMILY, unlike) is None and fitted(FAMILY, card("c")) is None
    assert predicted(FAMILY, card("a"), [unlike, card("c")]) == pytest.approx([0.5, 2])


def test_a_card_of_its_own_measurements_uses_them_and_others_are_predicted_from_all_that_ship(monkeypatch):
    shipped = card("b", share=0.72, latency_us=2)
    monkeypatch.setattr(efficiency, "measured_cards", lambda: [shipped])
    own = card("a", latency_us=3, share=0.9)
    assert efficiencies(FAMILY, own).tolist() == [0.9, 3]
    assert efficiencies(FAMILY, card("c")) == pytest.approx(predicted(FAMILY, card("c"), [shipped]))


def test_measured_cards_are_those_with_a_fit_and_all_fits_that_ship_are_sound():
    for one in measured_cards():
        assert one.fitted
        check_fit(one.fit, FAMILIES)


def test_all_faults_of_a_fit_are_told_at_once():
    fit = Fit(
        data="made up",
        rows=40,
        error={"made_up": 0.1, "gone": 0.1},
        efficiencies={"made_up": {"share": 1.2, "latency": 2}, "other": {"x": 1}},
    )
    with pytest.raises(InputError) as error:
        check_fit(fit, [FAMILY])
    assert str(error.value).split("; ") == [
        "fit.error.gone: expected an error for each family with efficiencies, found another name",
        "fit.error.other: expected an error for each family with efficiencies, found nothing",
        "fit.efficiencies.made_up.latency: expected a value for each parameter, found an unknown name",
        "fit.efficiencies.made_up.latency_us: expected a value for each parameter, found nothing",
        "fit.efficiencies.made_up.share: expected 0.1 to 1, found 1.2",
        "fit.efficiencies.other: expected one of made_up, found this name",
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_priors_lie_within_their_bounds_and_have_a_reason(family):
    names = [parameter.name for parameter in family.parameters]
    assert len(set(names)) == len(names)
    for parameter in family.parameters:
        assert 0 < parameter.low < parameter.prior < parameter.high, parameter.name
        assert parameter.spread > 0 and parameter.reason, parameter.name
    factors = family.expected(load_card("h100"))
    assert factors.shape == (len(names),) and (factors > 0).all()
