"""The arithmetic of the comparison, against values made by hand."""

import pytest
from hermes_support import PUBLISHED

from ndpsim.studies.cases import Case, Lengths, Outcome
from ndpsim.studies.hermes_comparison import (
    BASELINES,
    OURS,
    ComparedPoint,
    Latency,
    ablation_points,
    alternatives,
    errors,
    rate_points,
    share_points,
    speedup_points,
)
from ndpsim.studies.hermes_points import RateKey
from ndpsim.studies.hermes_shares import share

SIMULATED = {
    RateKey("accelerate", "relu-lm", 1): 20.0,
    RateKey("hermes", "relu-lm", 1): 300.0,
    RateKey("hermes", "relu-lm", 2): 1000.0,
    RateKey("hermes-base", "relu-lm", 1): 150.0,
    RateKey("hermes-base", "relu-lm", 2): 160.0,
    RateKey("gpu-only", "relu-lm", 1): 1200.0,
}


def point(published, simulated, bound="equal"):
    return ComparedPoint(OURS, "x", "Fig. 1", "figure", "tokens/s", published, simulated, bound)


@pytest.mark.parametrize(
    ("published", "simulated", "bound", "error"),
    [
        (100, 80, "equal", -0.2),
        (100, 150, "equal", 0.5),
        (0.8, 0.9, "above", 0),
        (0.8, 0.6, "above", -0.25),
        (0.2, 0.1, "below", 0),
        (0.2, 0.3, "below", 0.5),
        (0.2, 0.2, "below", 0),
    ],
)
def test_an_error_is_relative_to_the_published_value_and_a_bound_that_holds_has_none(
    published, simulated, bound, error
):
    assert point(published, simulated, bound).error == pytest.approx(error)


def test_errors_of_a_group_are_absolute():
    found = errors([point(100, 80), point(100, 150), point(100, 100)])
    assert found == {"mean_abs_error": pytest.approx(0.7 / 3), "max_abs_error": pytest.approx(0.5)}


def test_tokens_per_second_are_compared_once_each_those_of_hermes_first():
    found = list(rate_points(PUBLISHED, SIMULATED.__getitem__))
    assert [(one.group, one.key, one.published, one.simulated) for one in found] == [
        (OURS, ("hermes", "relu-lm", 1), 400, 300),
        (OURS, ("hermes", "relu-lm", 2), 800, 1000),
        (OURS, ("hermes-base", "relu-lm", 1), 100, 150),
        (OURS, ("hermes-base", "relu-lm", 2), 160, 160),
        (BASELINES, ("accelerate", "relu-lm", 1), 10, 20),
    ]
    assert found[0].note == "contradiction: 401 in Fig. 2" and found[0].where == "Fig. 1; Fig. 2"
    record = found[1].record()
    assert record["system"] == "hermes" and record["batch"] == 2 and record["error"] == pytest.approx(0.25)
    assert "key" not in record


def test_a_speed_up_is_the_statistic_of_ratios_and_shown_beside_that_of_the_bars():
    mean, least, greatest, other = speedup_points(PUBLISHED, SIMULATED.__getitem__)
    assert (mean.simulated, least.simulated, greatest.simulated) == (pytest.approx((2 + 6.25) / 2), 2, 6.25)
    assert (mean.printed, least.printed, greatest.printed) == (4.5, 4, 5)
    assert mean.error == pytest.approx(4.125 / 4.6 - 1)
    assert (other.simulated, other.printed) == (0.25, None)  # one of its two systems has no bars
    assert mean.name == "hermes over hermes-base, mean of relu-lm, batch 1 to 2"
    assert other.record()["system"] is None


def test_a_speed_up_is_named_by_its_systems_its_models_and_its_batches():
    changes = [{}, {"batches": [1, 2, 4]}, {"models": ["relu-lm", "opt-13b"]}, {"batches": [2]}]
    stated = [PUBLISHED.speedups[0].model_copy(update=change) for change in changes]
    found = speedup_points(PUBLISHED.model_copy(update={"speedups": stated}), lambda key: 2.0)
    assert [one.name.removeprefix("hermes over hermes-base, mean of ") for one in found] == [
        "relu-lm, batch 1 to 2", "relu-lm, batch 1 to 4", "2 models, batch 1 to 2", "relu-lm, batch 2"
    ]  # fmt: skip


def test_a_speed_up_of_the_bars_is_no_whole_number():
    bars = PUBLISHED.bars[1].model_copy(update={"tokens_per_s": {"hermes": [400, 800], "hermes-base": [160, 160]}})
    found = speedup_points(PUBLISHED.model_copy(update={"bars": [bars]}), SIMULATED.__getitem__)
    assert [one.printed for one in found] == [3.75, 2.5, 5, None]  # 2.5 and 5


def test_a_gain_is_the_mean_of_the_gains_at_each_batch_and_model():
    seconds = {(1, "partition"): 3.0, (1, "hermes"): 2.0, (2, "partition"): 8.0, (2, "hermes"): 2.0}
    (gain,) = ablation_points(PUBLISHED, [Latency("relu-lm", *place, s) for place, s in seconds.items()])
    assert gain.simulated == (1.5 + 4) / 2 and gain.published == 1.5


def test_a_share_is_the_mean_over_models():
    both = PUBLISHED.model_copy(
        update={"shares": [PUBLISHED.shares[0].model_copy(update={"models": ["relu-lm", "opt-13b"]})]}
    )
    (found,) = share_points(both, {("hermes", "relu-lm", "prompt"): 0.5, ("hermes", "opt-13b", "prompt"): 0.1})
    assert found.simulated == 0.3 and found.error == pytest.approx(-0.25)


def test_another_reading_is_shown_beside_the_default():
    found = list(alternatives(PUBLISHED, SIMULATED.__getitem__, lambda key, reading: 500.0 * key.batch))
    assert [(one.batch, one.published, one.default, one.simulated) for one in found] == [
        (1, 400, 300, 500), (2, 800, 1000, 1000)
    ]  # fmt: skip
    assert found[0].record()["default_error"] == -0.25 and found[0].record()["simulated_error"] == 0.25


OUTCOME = Outcome(
    Case.of("hermes", "relu-lm", 1, Lengths(8, 9, 3), 3, {}),
    4.0,
    (1.0, 2.5),  # of 8 passes, so each counts four times: 14 s, and 2 s for the contexts to come; 20 s in all
    0.25,
    {
        "busy_s": {
            "gpu": {"prompt": 3.0, "ffn": 0.5, "predictor": 0.25},
            "dimms": {"ffn": 2.25},
            "pcie": {"prompt": 2.0, "weights": 1.5},
            "dimm-link": {"remap": 0.125},
        },
        "predictor": {"accuracy": 0.75},
    },
)


@pytest.mark.parametrize(
    ("measure", "found"),
    [
        ("prompt", 4 / 20),
        ("dimms", 2.25 / 3.0),
        ("communication", (2 + 4 * 1.5) / 20),
        ("predictor", 4 * 0.25 / (3 + 4 * 3.0)),
        ("migration", 4 * 0.125 / 20),
        ("accuracy", 0.75),
    ],
)
def test_shares_are_of_the_whole_output(measure, found):
    assert share(measure, OUTCOME) == pytest.approx(found)
