"""The speeds that the project promises, as `tools/bench.py` measures them."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from processes import environment

from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.resolve import resolve
from ndpsim.dimm.timing import Timer

BENCH = Path(__file__).parents[1] / "tools" / "bench.py"


def measured(suite):
    command = [sys.executable, BENCH, suite, "--json"]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_model_of_70_billion_parameters_runs_about_as_fast_as_the_machine_that_is_simulated():
    results = measured("run")
    assert results["run_70b_slowdown"] < 2  # less than 1 with nothing else running; here other work may share the core
    assert results["peak_memory_mib"] < 1024


@pytest.mark.slow
def test_the_benchmark_prints_one_object_and_the_promises_hold():
    results = measured("ndp")
    assert results["gemv_4096_warm_s"] <= 0.1
    assert results["gemv_4096_cold_s"] > results["gemv_4096_warm_s"]
    assert results["stream_bursts_per_s"] >= 100e6
    assert results["token_20_compile_ms"] < 0.5
    assert results["token_20_ns_per_train"] < 150


def test_memory_does_not_grow_with_the_length_of_a_run():
    machine = load_machine(dimms=1)
    peaks = []
    for rows in (1_000, 1_000, 100_000):  # the first run loads the kernels
        compiler = layer_compiler(LayerShape(rows, 64, activation=None), machine)
        program = compiler.compile(np.arange(rows))
        resolved = resolve(program, machine.buffer_bytes).require_clean()
        timer = Timer(machine)
        tracemalloc.start()
        timer.run(program, resolved)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 20_000
