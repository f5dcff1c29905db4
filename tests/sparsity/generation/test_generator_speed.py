"""What is promised of traces at full scale, as `tools/bench.py trace` measures it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

BENCH = Path(__file__).parents[3] / "tools" / "bench.py"


@pytest.mark.slow
def test_a_trace_of_70_billion_parameters_is_quick_to_make_and_small():
    command = [sys.executable, BENCH, "trace", "--json"]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    results = json.loads(done.stdout)
    assert results["write_70b_s"] < 10
    assert results["file_70b_bytes"] < 100e6
    assert results["peak_memory_mib"] < 500
