"""Any number at any path is a sentence that names the path, or a finished run: no traceback, no hang."""

import math
import warnings

import pytest

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import MOST_PS, Run
from ndpsim.runs.setup import Setup
from ndpsim.runs.setup_files import SetupFiles
from ndpsim.systems.catalog import SYSTEMS, load_system

EXTREMES = (1e-300, 1e-9, 0, -1, 1, 1 << 30, 1 << 62, 10**400, 1e9, 1e300, math.nan, math.inf, -math.inf)
TINY = {"model": "relu-lm", "prompt": 4, "output": 2}
MACHINE = ("pcie", "cpu", "policy")


def paths(system, roots):
    """The paths of a system below some roots."""
    files, chosen = SetupFiles({}), load_system(system)
    files.hardware("hermes", chosen.several_cards)
    files.software(chosen, TINY["model"], "paper", 6)
    return [path for path in files.paths if path.partition(".")[0] in roots]


def tried(system, path, value):
    """Run a tiny job with one value changed; returns what was refused, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of NumPy, where a number does not fit
        try:
            run = Run(Setup.of(system=system, changes={path: value}, **TINY))
            run.advance()
            figures = figures_of(run)
        except InputError as error:
            return str(error)
    assert 0 < run.now_ps <= MOST_PS
    assert 0 < figures["tokens_per_s"] < math.inf
    return ""


def try_all(system, roots, extremes=EXTREMES):
    for path in paths(system, roots):
        refused = {repr(value)[:20]: tried(system, path, value) for value in extremes}
        assert refused["nan"], f"{path}: not-a-number is accepted"
        for value, text in refused.items():  # figures that do not go together are told by the name of one of them
            assert not text or (": expected " in text and "found " in text), f"{path}={value}: {text}"


@pytest.mark.parametrize("system", ["gpu-only", "accelerate", "flexgen", "tensor-parallel"])
def test_numbers_of_links_host_and_policy_are_sound_or_refused(system):
    try_all(system, MACHINE, (1e-300, 1 << 62, math.nan, 0))


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_numbers_of_every_system_are_sound_or_refused(system):
    try_all(system, MACHINE)


@pytest.mark.slow
@pytest.mark.parametrize(("system", "root"), [("gpu-only", "gpu"), ("hermes", "dimm"), ("hermes", "dram"),
                                              ("hermes", "preset"), ("hermes", "model")])  # fmt: skip
def test_numbers_of_card_dimm_standard_preset_and_model_are_sound_or_refused(system, root):
    """Timings of a billion clocks are allowed, and each takes a minute to refresh through: they are left out."""
    try_all(system, (root,), [one for one in EXTREMES if root != "dram" or one not in (1 << 30, 1e9)])


@pytest.mark.parametrize("path", ["pcie.gb_per_s", "cpu.memory_gb_per_s", "cpu.gflops"])
def test_a_rate_of_nothing_is_refused_by_its_path(path):
    assert tried("flexgen", path, 1e-300) == f"{path}: expected greater than or equal to 0.01, found 1e-300"
