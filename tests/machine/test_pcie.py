"""Copies over PCIe, by hand; and nothing else in the package divides by the rate of that link."""

from pathlib import Path

import pytest

import ndpsim
from ndpsim.machine.config import PcieTable
from ndpsim.machine.pcie import Pcie
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup


def table(gb_per_s=32.0, share=1.0, us=2.0):
    values = {"gb_per_s": gb_per_s, "reached_share": share, "us": us}
    return PcieTable.model_validate({name: {"value": value, "source": "x"} for name, value in values.items()})


def test_a_transfer_takes_its_latency_and_its_bytes():
    link = Pcie.of(table())
    assert link.picoseconds(64_000) == (2 + 2) * 10**6  # 64 kB at 32 kB a microsecond
    assert link.picoseconds(0) == 2 * 10**6
    assert link.stream_us(64_000) == 2
    assert link.stream_us(80_000) == 2.5
    assert link.bytes_within(3 * 10**6) == 96_000


def test_a_link_reaches_its_share_and_copies_no_more_than_their_own_rate():
    assert Pcie.of(table(share=0.5)).stream_us(64_000) == 4
    assert Pcie.of(table(share=0.5), 12.0).stream_us(24_000) == 2
    assert Pcie.of(table(share=0.25), 12.0).stream_us(24_000) == 3


@pytest.mark.parametrize("system", ["hermes-base", "hermes-host", "flexgen", "accelerate"])
def test_every_system_with_a_link_takes_its_share(system):
    def seconds(**changes):
        changes = {name.replace("__", "."): value for name, value in changes.items()}
        run = Run(Setup.of(system, "relu-lm", prompt=8, output=2, changes=changes))
        run.advance()
        return run.now_ps

    slow = {"pcie__gb_per_s": 0.5, "gpu__weights_gb": 0.004}
    assert seconds(**slow | {"pcie__reached_share": 0.5}) == seconds(**slow | {"pcie__gb_per_s": 0.25})


def test_no_other_module_computes_with_the_rate_of_the_link():
    package = Path(ndpsim.__file__).parent
    users = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "pcie.gb_per_s" in (text := path.read_text(encoding="utf-8")) or "table.gb_per_s" in text
    ]
    assert users == ["machine/pcie.py"]
