"""Every path that `ndpsim list --paths` shows makes a difference to a run, or is refused."""

import json
import random
import re
from functools import cache

import pytest

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.runs.paths import paths_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.catalog import SYSTEMS

JOB = {"model": "relu-lm", "batch": 2, "prompt": 16, "output": 8}
OF_SYSTEM = {
    **{name: {"gpu.weights_gb": 0.0021} for name in SYSTEMS},
    "hermes": {"gpu.weights_gb": 0.0021, "pcie.us": 0.001},
    "hermes-host": {"gpu.weights_gb": 0.0021, "cpu.memory_gb_per_s": 1.0},
    "deja-vu": {},
    "gpu-only": {},
    "tensor-parallel": {"gpu.count": 2},
}
"""A card that holds a part of so small a model, where the system can, and a link or a host that makes it worth it."""
ROOM = {"gpu.memory_mib", "gpu.reserve_gb", "policy.memory_share", "model.context"}
"""These only say what there is room for: another value allows a larger job, or refuses this one."""
HOST_ROOM = {"dimm.count", "dimm.ranks", "dram.channels", "dram.pseudo_channels"}
"""The same of systems to which the DIMMs are memory of the host."""
SMALL = {
    "dimm.unit.buffer_bytes", "dimm.vector.dividers", "dram.rounding", "dram.timing.nWR.ns", "dram.timing.nRRD_S.nck",
    "dram.timing.nRRD_L.nck", "dram.timing.nFAW.nck", "gpu.l2_mb", "model.tied_embedding", "policy.page_kib",
    "gpu.fit.efficiencies.gemm.gemv_fill", "gpu.fit.efficiencies.attention.helper",
    "gpu.fit.efficiencies.attention.combine", "gpu.fit.efficiencies.attention.energy",
    "gpu.fit.efficiencies.rows.l2_kept", "gpu.fit.efficiencies.rows.lanes",
    "gpu.fit.efficiencies.rows.gather_lanes", "gpu.fit.efficiencies.rows.l2_share",
}  # fmt: skip
"""What matters to larger models, longer contexts or other timings, and may be hidden by the rest in so small a job."""
# With a host of so slow a memory that the card is of use, its rate of operations does not count; Deja Vu brings nothing
# to the card of a model that fits beside its predictors.
HIDDEN = {
    **dict.fromkeys(SYSTEMS, ROOM | SMALL),
    **dict.fromkeys(("accelerate", "flexgen"), ROOM | HOST_ROOM | SMALL),
    "hermes-host": {*ROOM, *HOST_ROOM, *SMALL, "policy.gpu_probe", "cpu.gflops"},
    "deja-vu": {*ROOM, *HOST_ROOM, *SMALL, "pcie.gb_per_s", "pcie.reached_share", "pcie.us", "policy.link_gb_per_s"},
}


def others(entry):
    """Other values for a path, the mild ones first."""
    value, found = entry.value, []
    if isinstance(value, bool):
        found = [not value]
    elif isinstance(value, int):
        found = [max(value // 2, 1), value * 2, value + 1, value * 16, max(value // 64, 1), 0]
    elif isinstance(value, float):
        found = [value * 0.5, value * 1.2, value * 4, value * 0.01, value * 100, value + 1]
    elif isinstance(value, str) and entry.range.startswith("one of "):
        found = entry.range.removeprefix("one of ").split(", ")
    return [one for one in found if one != value]


@cache
def figures(system, path="", value=None):
    """All that a run says of itself, as text, or None where the value is refused."""
    changes = {**OF_SYSTEM[system], **({path: value} if path else {})}
    try:
        run = Run(Setup.of(system, changes=changes, **JOB))
        run.advance()
    except InputError as error:
        assert ": expected " in str(error), error
        return None
    found = figures_of(run)
    return json.dumps({name: one for name, one in found.items() if name not in ("dimms", "changed", "gpu")})


def without_effect(system, listed):
    """The paths that took another value at least once, and never made a difference."""
    found = []
    for entry in listed:
        taken = 0
        for value in others(entry):
            text = figures(system, entry.path, value)
            taken += text is not None
            if text not in (None, figures(system)):
                break
        else:
            if taken:
                found.append(entry.path)
    return found


def listed_paths(system):
    entries = [entry for entry in paths_of(system, JOB["model"]) if entry.value is not None]
    return [entry for entry in entries if entry.path not in HIDDEN[system]]


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_path_that_is_listed_makes_a_difference_or_is_refused(system):
    assert not without_effect(system, listed_paths(system))


@pytest.mark.parametrize("system", SYSTEMS)
def test_some_paths_that_are_listed_make_a_difference_or_are_refused(system):
    listed = listed_paths(system)
    assert not without_effect(system, random.Random(system).sample(listed, 6))


@pytest.mark.parametrize("path", ["dimm.barrier.latency_ps", "dram.refresh.all_bank.postpone", "dram.timing.nRTRS.nck"])
def test_what_no_run_depends_on_is_refused_and_not_listed(path):
    with pytest.raises(InputError, match=f"{re.escape(path)}: expected a path on which hermes depends"):
        Setup.of("hermes", changes={path: 9}, **JOB)
    assert path not in {entry.path for entry in paths_of("hermes")}


def test_what_is_listed_as_hidden_is_not_forgotten():
    """A path that is left out above is a path of some system."""
    known = {entry.path for system in SYSTEMS for entry in paths_of(system, JOB["model"])}
    assert known >= ROOM | HOST_ROOM | SMALL
