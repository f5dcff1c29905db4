"""The numbers of the predictor come from the policy's file, and can be set."""

import pytest

from ndpsim.runs.setup_files import policy_content, policy_from
from ndpsim.systems.catalog import load_system


def rule(system, **changes):
    chosen = load_system(system)
    where, content = policy_content(chosen)
    content = {**content, **{name: {"value": value, "source": "a test"} for name, value in changes.items()}}
    return policy_from(chosen, content, where).rule()


@pytest.mark.parametrize("system", ["hermes", "hermes-host"])
def test_the_files_have_the_numbers_of_section_iv_c(system):
    found = rule(system)
    assert (found.rise, found.fall, found.weight, found.threshold, found.strict) == (4, 1, 6, 15, True)
    assert (found.part, found.threshold_alone, found.hot) == ("both", 10, 10)


@pytest.mark.parametrize("system", ["hermes", "hermes-host"])
@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("rise", "rise", 3), ("fall", "fall", 2), ("weight", "weight", 5), ("threshold", "threshold", 11),
        ("threshold_alone", "threshold_alone", 7), ("hot_above", "hot", 12), ("strict", "strict", False),
        ("predictor", "part", "token"),
    ],
)  # fmt: skip
def test_each_number_of_a_policy_reaches_the_rule(system, name, field, value):
    changed, shipped = rule(system, **{name: value}), rule(system)
    assert getattr(changed, field) == value
    assert changed.model_copy(update={field: getattr(shipped, field)}) == shipped
