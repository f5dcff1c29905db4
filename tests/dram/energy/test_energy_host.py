"""The host controller counts what the energy model needs; its command log says the same."""

import dataclasses

import numpy as np
import pytest

from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.energy.energy import dram_energy
from ndpsim.dram.host.controller import HostConfig, simulate
from ndpsim.dram.log.log import read_log
from ndpsim.dram.requests.synthetic import synthetic
from ndpsim.dram.standard.standard import load_standard


@pytest.mark.parametrize(
    ("name", "refresh", "row_policy"),
    [
        ("DDR4-3200AA", "all_bank", "open"),
        ("DDR4-3200AA", "none", "closed"),
        ("DDR5-4800B", "same_bank", "closed"),
        ("LPDDR5X-7500", "per_bank", "open"),
        ("HBM2E-3200", "all_bank", "closed"),
        ("HBM3-6400", "per_bank", "open"),
    ],
)
def test_counters_and_log_of_the_host_controller_give_the_same_energy(tmp_path, name, refresh, row_policy):
    standard = load_standard(name, ranks=2)
    config = HostConfig(refresh=refresh, row_policy=row_policy)
    result = simulate(synthetic("mixed", 3000, standard), standard, config, log=tmp_path / "log.h5")
    counted = result.activity()
    logged = activity_of_log(read_log(tmp_path / "log.h5"), standard, end=result.cycles)
    for field in dataclasses.fields(counted):
        counts = np.broadcast_to(getattr(counted, field.name), counted.clocks.shape)
        assert counts.ravel().tolist() == getattr(logged, field.name).tolist(), field.name
    assert result.energy().total.sum() == pytest.approx(dram_energy(standard, logged).total.sum()) != 0
