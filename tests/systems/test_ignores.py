"""What a system ignores makes no difference to it, and to set it is refused; what it does not ignore may be set."""

import json

import pytest

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.catalog import SYSTEMS, load_system

SMALL = {"model": "relu-lm", "batch": 2, "prompt": 16, "output": 4}
ON_CARDS = ("gpu-only", "tensor-parallel", "deja-vu")  # the model as a whole, so small is it
OTHERS = {
    "dimm.count": 4, "dimm.placement": "interleaved", "dimm.unit.core_ps": 2000, "dimm.unit.buffer_bytes": 131072,
    "dimm.unit.macs_per_cycle_16bit": 64, "dimm.unit.macs_per_cycle_8bit": 64, "dimm.vector.lanes": 16,
    "dimm.channel.dimms_per_channel": 1, "dimm.link.picoseconds_per_byte": 400,
    "dimm.software.merge_piece": 128, "dimm.software.rows_per_spare": 1,
    "dimm.energy.mac_i8": 7.0, "dimm.energy.mac_bf16": 7.0, "dimm.energy.mac_f16": 7.0,
    "dram.timing.nRCD.nck": 40, "dram.timing.nRFC.nck": 900, "dram.speed.3200AC.data_rate_mtps": 1600,
    "pcie.gb_per_s": 3.0, "pcie.us": 50.0, "cpu.memory_gb_per_s": 9.0, "cpu.start_us": 90.0, "cpu.power_w": 9.0,
    "preset.ffn.density": 0.15, "gpu.reserve_gb": 6.0, "gpu.int8_tops": 400.0,
}  # fmt: skip
"""A value for each of some paths, far from the one that ships."""


def figures(monkeypatch, system, changes, ignoring=True):
    if not ignoring:
        for base in load_system(system).__mro__:
            if "ignores" in vars(base):
                monkeypatch.setattr(base, "ignores", ())
    own = {"gpu.weights_gb": 0.0021} if system not in ON_CARDS and "gpu.reserve_gb" not in changes else {}
    run = Run(Setup.of(system=system, changes={**own, **changes}, **SMALL))
    run.advance()
    found = figures_of(run)
    return json.dumps({name: value for name, value in found.items() if name not in ("dimms", "changed", "gpu")})


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_system_ignores_makes_no_difference_to_it(monkeypatch, system):
    ignores = load_system(system).ignores
    ignored = [path for path in OTHERS if any(path == one or path.startswith(f"{one}.") for one in ignores)]
    before = figures(monkeypatch, system, {})
    for path in ignored:
        with pytest.raises(InputError, match=f"{path}: expected a path on which {system} depends, found one that it"):
            figures(monkeypatch, system, {path: OTHERS[path]})
    assert ignored
    changes = {path: OTHERS[path] for path in ignored}
    assert figures(monkeypatch, system, changes, ignoring=False).replace("0.0021", "") == before.replace("0.0021", "")


@pytest.mark.parametrize(
    ("system", "path"),
    [
        ("hermes", "dimm.unit.macs_per_cycle_16bit"),
        ("hermes", "dram.timing.nRCD.nck"),
        ("hermes", "preset.ffn.density"),
        ("hermes", "dimm.software.merge_piece"),
        ("hermes-base", "dimm.software.rows_per_spare"),
        ("hermes-base", "pcie.us"),
        ("hermes-base", "dimm.placement"),
        ("hermes-host", "cpu.memory_gb_per_s"),
        ("hermes-host", "preset.ffn.density"),
    ],
)
def test_what_it_does_not_ignore_makes_one(monkeypatch, system, path):
    assert figures(monkeypatch, system, {path: OTHERS[path]}) != figures(monkeypatch, system, {})
