"""What Hermes publishes: the file that ships, and the faults of one that does not."""

import math

import pytest
from hermes_support import PUBLISHED
from pydantic import ValidationError

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.studies import definition
from ndpsim.studies.hermes_points import Published, RateKey, Reading, published

TEXT = (workloads_dir() / "studies" / "hermes.toml").read_text(encoding="utf-8")


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """A function that changes the text of the file that ships and returns the lines of what is wrong with it."""
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr(definition, "workloads_dir", lambda: tmp_path)

    def read(*changes):
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "studies" / "hermes.toml").write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as error:
            published()
        return [line.partition("hermes.toml: ")[2] for line in str(error.value).splitlines()]

    return read


def test_the_file_that_ships_has_all_bars_and_statements():
    found = published()
    rates = found.rates()
    assert (
        len(rates) == 5 * 3 + 3 * 2 + 2 + 4 * (6 + 4) + 1
    )  # batch 1: three systems on all, two on OPT, base on LLaMA2
    assert rates[RateKey("hermes", "llama2-70b", 16)].value == 57.02
    assert rates[RateKey("hermes", "opt-13b", 1)] == ("Figs. 9, 10", 135.64, "")
    assert rates[RateKey("hermes-base", "opt-66b", 1)] == ("Fig. 11", 2.92, "")
    assert [step.gain for step in found.ablation.steps] == [1.63, 1.08, 1.11, 1.33, 1.29]
    assert len(found.speedups) == 14 and len(found.shares) == 6


def test_a_number_that_is_printed_twice_counts_once_and_a_contradiction_is_told():
    rates = published().rates()
    assert rates[RateKey("hermes", "opt-66b", 1)] == ("Figs. 9, 10; Fig. 11", 20.37, "")
    twice = rates[RateKey("hermes-host", "opt-66b", 1)]
    assert twice == ("Figs. 9, 10; Fig. 11", 4.24, "contradiction: 4.25 in Fig. 11")


def test_every_bar_is_read_from_the_figure_it_stands_in():
    """The means that the text states follow from the bars within 5 %, but for those whose note says why not."""
    found = published()
    rates = found.rates()
    for one in found.speedups:
        pairs = one.pairs()
        if one.note or any(key not in rates for pair in pairs for key in pair):
            continue
        ratios = [rates[a].value / rates[b].value for a, b in pairs]
        mean = {"mean": sum(ratios) / len(ratios), "least": min(ratios), "greatest": max(ratios)}[one.statistic]
        assert mean == pytest.approx(one.value, rel=0.05), one


def with_value(path, value):
    """The small evaluation with another value at a path, which may go through lists; names of fields as in files."""
    content = PUBLISHED.model_dump(by_alias=True)
    *way, last = path.split("/")
    place = content
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    return content


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        ("bars/0/batches/0", 0, 1),
        ("bars/0/batches/0", 256, 255),
        ("bars/0/tokens_per_s/hermes/0", 0, 0.001),
        ("bars/0/tokens_per_s/hermes/0", math.inf, 1e9),
        ("bars/0/batches", [], [1]),
        ("bars/0/figure", "", "F"),
        ("speedups/0/models", [], ["relu-lm"]),
        ("speedups/0/value", 0, 0.001),
        ("shares/0/value", 0, 0.001),
        ("shares/0/value", 1, 0.999),
        ("shares/0/measure", "prompts", "prompt"),
        ("ablation/steps/0/gain", 0, 0.001),
        ("readings/0/name", "", "r"),
        ("prompt", 0, 1),
        ("output", 0, 1),
        ("steady/0", "no-system", "hermes"),
    ],
)
def test_a_value_out_of_its_range_is_refused_and_the_one_beside_it_is_taken(path, wrong, right):
    Published.model_validate(with_value(path, right))
    with pytest.raises(ValidationError) as error:
        Published.model_validate(with_value(path, wrong))
    assert ".".join(map(str, error.value.errors()[0]["loc"])).startswith(path.replace("/", "."))


def test_a_bar_that_is_printed_twice_keeps_its_first_value_and_both_places():
    found = PUBLISHED.rates()
    assert found == {
        ("accelerate", "relu-lm", 1): ("Fig. 1", 10.0, ""),
        ("hermes", "relu-lm", 1): ("Fig. 1; Fig. 2", 400.0, "contradiction: 401 in Fig. 2"),
        ("hermes", "relu-lm", 2): ("Fig. 2", 800.0, ""),
        ("hermes-base", "relu-lm", 1): ("Fig. 2", 100.0, ""),
        ("hermes-base", "relu-lm", 2): ("Fig. 2", 160.0, ""),
    }


def test_all_faults_of_form_are_named_at_once(faults):
    found = faults(
        ('model = "opt-13b"', 'model = "opt-14b"'),
        ("hermes = [135.64]", "hermes = [-135.64]"),
        ("accelerate = [0.11]", "acelerate = [0.11]"),
        ("gain = 1.63", "gained = 1.63"),
        ('statistic = "least"', 'statistic = "smallest"'),
        ("value = 0.3301", "value = 33.01"),
    )
    for field in (
        "bars.0.model: expected one of ",
        "bars.0.tokens_per_s.hermes.0: expected greater than 0, found -135.64",
        "bars.1.tokens_per_s.acelerate: expected one of hermes, hermes-base",
        "ablation.steps.0.gain: expected a value, found none",
        "ablation.steps.0.gained: expected only known keys, found this one",
        "speedups.5.statistic: expected 'mean', 'least' or 'greatest', found 'smallest'",
        "shares.0.value: expected less than 1, found 33.01",
    ):
        assert sum(field in line for line in found) == 1, (field, found)
    assert len(found) == 7


def test_all_faults_between_tables_are_named_at_once(faults):
    found = faults(
        ("hermes = [135.64]", "hermes = [135.64, 1.0]"),
        ('to = "partition"', 'to = "parting"'),
        ('system = "hermes-base"\nmodels = ["opt-66b", "llama2-70b"]', 'system = "gpu-only"\nmodels = ["opt-66b"]'),
    )
    assert found == [
        "bars.0.tokens_per_s.hermes: expected 1 values, one for each batch, found 2",
        "ablation.steps.0.to: expected one of random, partition, token, layer, adjustment, hermes, found 'parting'",
        "readings.4: expected published tokens/s to compare with, found none of gpu-only, opt-66b, 1",
        "readings.4: expected published tokens/s to compare with, found none of gpu-only, opt-66b, 16",
    ]


def test_a_reading_is_of_hermes_with_one_sequence_unless_it_says_otherwise():
    found = Reading(name="r", about="a", models=["relu-lm", "opt-13b"], changes={})
    assert found.places() == [("hermes", "relu-lm", 1), ("hermes", "opt-13b", 1)]
