"""What all systems have: paths that they ignore, and room for keys and values."""

import pytest

from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.system import is_ignored


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("dimm.unit", True), ("dimm.unit.core_ps", True), ("pcie.us", True), ("dimm.units", False), ("dimm", False)],
)
def test_a_path_is_ignored_that_is_one_of_those_or_lies_below_one(path, ignored):
    assert is_ignored(path, ("dimm.unit", "pcie.us")) is ignored


@pytest.mark.parametrize(("system", "tier"), [("hermes", "dimm"), ("flexgen", "host")])
def test_each_place_has_room_for_the_longest_sequence(system, tier):
    run = Run(Setup.of(system, "relu-lm", batch=3, prompt=10, output=5))
    assert run.system.kv_room() == {tier: 45}
