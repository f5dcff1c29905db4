"""The fit: it finds what made the times, judges itself on shapes that it has not seen, and is kept in a file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.gpu.card import Fit, card_names, load_card, read_card
from ndpsim.gpu.efficiency import bounded, check_fit, prior
from ndpsim.gpu.families import FAMILIES
from ndpsim.gpu.fit import LEAST_ROWS, errors, fit_card, held_out, joined, of_family, rows, shape_hash, to_toml
from ndpsim.gpu.gemm import GEMM, PARAMETERS
from ndpsim.gpu.kernels import kernels

NOISE = 0.03
H100 = load_card("h100").model_copy(update={"fit": None})


def products(count, seed):
    """Return random products from a GEMV to a prefill."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        m, n, k = (int(2 ** rng.uniform(low, high)) for low, high in ((0, 12), (6, 15), (6, 15)))
        found.append(("gemm", rng.choice(["fp16", "int8-weights"]), {"m": m, "n": n, "k": k}))
    return kernels(found)


@pytest.mark.parametrize("name", ["rtx4090", "h100", "t4"])
def test_times_that_the_model_made_are_fitted_to_within_their_noise(name):
    card = load_card(name).model_copy(update={"fit": None})
    rng = np.random.default_rng(len(name))
    spread = np.array([parameter.spread for parameter in PARAMETERS])
    truth = bounded(GEMM, prior(GEMM, card) * np.exp(0.7 * spread * rng.standard_normal(len(spread))))
    table = products(600, seed=3)
    exact = GEMM.times(table, card, truth)
    measured = exact * np.exp(NOISE * rng.standard_normal(len(table)))
    fit = fit_card(card, table, measured, "made by the model").fit
    found = np.array([fit.efficiencies["gemm"][parameter.name] for parameter in PARAMETERS])
    unseen = held_out(table)
    noise = np.abs(np.exp(NOISE * rng.standard_normal(100_000)) - 1).mean()
    assert fit.error["gemm"] == pytest.approx(noise, rel=0.2)
    assert errors(GEMM.times(rows(table, unseen), card, found), exact[unseen]).mean < noise / 2
    assert errors(GEMM.times(rows(table, unseen), card, prior(GEMM, card)), exact[unseen]).mean > 3 * noise
    shares = [i for i, parameter in enumerate(PARAMETERS) if parameter.name in ("memory_share", "matrix_share")]
    assert found[shares] == pytest.approx(truth[shares], rel=0.05)


def test_a_tenth_of_wild_rows_does_not_spoil_a_fit():
    table = products(400, seed=5)
    exact = GEMM.times(table, H100, prior(GEMM, H100))
    measured = exact.copy()
    measured[::10] *= 3
    efficiencies = fit_card(H100, table, measured, "made by the model").fit.efficiencies["gemm"]
    found = np.array(list(efficiencies.values()))
    assert errors(GEMM.times(table, H100, found), exact).mean < 0.03


def test_the_error_is_of_the_rows_that_the_fit_has_not_seen():
    table = products(200, seed=1)
    us = GEMM.times(table, H100, prior(GEMM, H100))
    us[held_out(table)] *= 2
    assert fit_card(H100, table, us, "made by the model").fit.error["gemm"] == pytest.approx(0.5, abs=0.03)


def test_a_fit_is_kept_to_its_card_and_says_what_it_rests_on():
    table = products(200, seed=2)
    card = fit_card(H100, table, GEMM.times(table, H100, prior(GEMM, H100)), "a machine of ours")
    assert card.model_copy(update={"fit": None}) == H100
    assert (card.fit.data, card.fit.rows) == ("a machine of ours", 200)
    assert list(card.fit.efficiencies) == ["gemm"]  # nothing else was measured
    check_fit(card.fit, FAMILIES)


def test_too_few_rows_are_refused():
    table = products(2 * LEAST_ROWS, seed=1)
    few = rows(table, np.flatnonzero(~held_out(table))[: LEAST_ROWS - 1])
    with pytest.raises(InputError) as error:
        fit_card(H100, few, np.ones(len(few)), "few.csv")
    assert str(error.value) == (
        "few.csv: expected 20 rows of one kind of kernel in the half of the shapes that fits, and some in the other, "
        "found at most 19 of 19 rows"
    )
    one_shape = kernels([("gemm", "fp16", {"m": 8, "n": 64, "k": 64})] * 100)  # all in one half
    with pytest.raises(InputError, match=r"expected 20 rows .* found at most (0|100) of 100 rows"):
        fit_card(H100, one_shape, np.ones(100), "one.csv")


def test_a_shape_is_in_one_half_wherever_it_stands():
    table = products(500, seed=4)
    order = np.random.default_rng(0).permutation(len(table))
    assert np.array_equal(held_out(table)[order], held_out(rows(table, order)))
    twice, _ = joined([(table, np.ones(500)), (rows(table, order), np.ones(500))])
    assert np.array_equal(held_out(twice)[500:], held_out(table)[order])


def test_the_halves_are_halves_also_of_regular_shapes():
    powers = [1 << i for i in range(13)]
    regular = kernels([("gemm", "bf16", {"m": m, "n": n, "k": k}) for m in powers for n in powers for k in powers])
    assert held_out(regular).mean() == pytest.approx(0.5, abs=0.03)
    steps = kernels([("gemm", "bf16", {"m": m, "n": 4096, "k": 4096}) for m in range(1, 2001)])
    assert held_out(steps).mean() == pytest.approx(0.5, abs=0.05)
    assert len(set(shape_hash(regular).tolist())) == len(regular)


def test_the_hash_is_plain_integer_arithmetic_and_so_the_same_on_every_machine():
    table = products(20, seed=6)
    for i, found in enumerate(shape_hash(table).tolist()):
        mixed = 0
        for value in (table.op[i], table.dtype[i], *table.shape[i]):
            mixed = ((mixed ^ int(value)) * 0x9E3779B97F4A7C15) % 2**64
            mixed ^= mixed >> 29
        assert found == mixed


def test_errors_are_relative_to_what_was_measured():
    found = errors(np.array([11.0, 18.0, 30.0, 40.0]), np.array([10.0, 20.0, 30.0, 40.0]))
    assert found.rows == 4
    assert found[1:] == pytest.approx((0.05, 0.1, 0.0))


def test_rows_of_a_family_are_found():
    table = kernels([("gemv", "fp16", {"n": 8, "k": 8}), ("copy", "fp16", {"m": 8, "n": 8})])
    assert of_family(table, GEMM).tolist() == [True, False]


text = st.text(st.characters(codec="utf-8"), max_size=20)
positive = st.floats(1e-6, 1e9)


@settings(max_examples=100, deadline=None)
@given(text, text, positive, st.booleans(), st.dictionaries(st.sampled_from(["launch_us", "a", "b_2"]), positive))
def test_a_card_written_to_a_file_loads_back_equal(tmp_path_factory, name, data, power, ecc, values):
    fit = Fit(data=data, rows=40, error={"gemm": power}, efficiencies={"gemm": values, "attention": {}})
    path = tmp_path_factory.mktemp("card") / "card.toml"
    for of_card in (fit, None):
        card = H100.model_copy(
            update={"name": name, "source": data, "power_w": power, "inline_ecc": ecc, "fit": of_card}
        )
        path.write_text(to_toml(card), encoding="utf-8")
        assert read_card(path) == card


@pytest.mark.parametrize("name", card_names())
def test_shipped_cards_written_to_a_file_load_back_equal(tmp_path, name):
    card = load_card(name)
    path = tmp_path / "card.toml"
    path.write_text(to_toml(card), encoding="utf-8")
    assert read_card(path) == card
