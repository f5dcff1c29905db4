"""Kernels are plain functions: without Numba's compiler they give the same numbers and the same DRAM commands.

Run as a script, this file prints what it computed, as one line of JSON.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import ndpsim
from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape, memory_image
from ndpsim.dimm.accounts import Accounts
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.executor import execute, new_states
from ndpsim.dimm.timing import time_program
from ndpsim.dram.checker.checker import check
from ndpsim.dram.host.controller import HostConfig, HostController
from ndpsim.dram.log.log import FIELDS, joined
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.standard import load_standard


def whole_path(shape: LayerShape) -> dict[str, object]:
    """Compile a layer, run it, time it and judge its log."""
    machine = load_machine(dimms=2)
    rng = np.random.default_rng(5)

    def draw(*size: int) -> np.ndarray:
        if shape.type == "i8":
            return rng.integers(-128, 128, size, np.int8)
        numbers = rng.standard_normal(size).astype(np.float32)
        return numbers.astype(np.float16) if shape.type == "f16" else (numbers.view(np.uint32) >> 16).astype(np.uint16)

    x, active, frequencies = draw(2, shape.width), np.array([0, 2, 3, 7]), rng.random(shape.neurons)
    compiler = layer_compiler(shape, machine, balance="by_frequency", frequencies=frequencies)
    program = compiler.compile(active, batch=2)
    states = new_states(program, machine.buffer_bytes)
    weights = {name: draw(shape.neurons, shape.width) for name in shape.matrices}
    images = memory_image(compiler.placement, weights)
    for state, regions, data in zip(states, images, compiler.host_input(x, active), strict=True):
        state.regions, state.host_in = regions, data
    trap = execute(program, states)
    run = time_program(program, machine, log=True)
    accounts = Accounts(machine)
    partial = accounts.run(program)
    assert accounts.timer.now_ps == run.total_ps
    assert run.log is not None
    log = b"".join(np.asarray(column).astype("<i8").tobytes() for column in run.log[:10])
    return {
        "trap": str(trap),
        "numbers": compiler.result([bytes(state.host_out) for state in states], active, 2).tobytes().hex(),
        "spans": run.spans.tolist(),
        "accounts": [partial, accounts.work.tolist(), accounts.stream_ps.tolist()],
        "commands": len(run.log.cycle),
        "log": hashlib.sha256(log).hexdigest(),
        "legal": check(run.log, machine.standard).legal,
    }


def host_run(standard_name: str, config: dict[str, object], back: int) -> dict[str, object]:
    """Run 100 requests over four rows, each after one up to `back` ahead, then 100 in sequence, and judge the log."""
    standard = load_standard(standard_name, channels=2)
    rng = np.random.default_rng(6)
    bursts = np.append(rng.integers(0, 4, 100) * (1 << 14) + rng.integers(0, 128, 100), np.arange(100))
    arrival = np.append(np.sort(rng.integers(0, 30_000, 100)), [30_000] * 100)
    after = np.minimum(rng.integers(0, back + 1, 200), np.arange(200))
    trace = array_trace(bursts * standard.burst_bytes, np.append(rng.random(100) < 0.4, [0] * 100), arrival, after)
    pieces = []
    controller = HostController(standard, HostConfig(**config), timed=True, dependent=back > 0, log=pieces.append)
    for requests in trace.blocks(70):
        controller.feed(requests)
    result, log = controller.finish(), joined(pieces)
    columns = b"".join(getattr(log, name).astype("<i8").tobytes() for name in FIELDS)
    return {
        "summary": result.summary(),
        "commands": np.unique(log.command).tolist(),
        "log": hashlib.sha256(columns).hexdigest(),
        "legal": check(log, standard).legal,
    }


HOST_RUNS = [
    ("DDR4-3200AA", {}, 0),
    ("LPDDR5X-8533", {"row_policy": "timeout", "row_timeout": 100, "starvation": 60, "postpone": 2}, 0),
    ("DDR5-4800B", {"refresh": "same_bank", "row_policy": "closed"}, 0),
    ("HBM3-6400", {"refresh": "per_bank"}, 9),
]
SHAPES = [
    LayerShape(8, 20, "silu", gated=True, type="bf16"),
    LayerShape(8, 20, "gelu"),
    LayerShape(8, 150, "relu"),
    LayerShape(8, 70, None, type="i8"),
]


def test_a_whole_path_without_the_compiler_gives_the_same_numbers_and_commands():
    package = Path(ndpsim.__file__).parents[1]
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    plain = json.loads(run.stdout)
    assert plain["jit"] is False
    for shape, found in zip(SHAPES, plain["paths"], strict=True):
        assert found == whole_path(shape)
        assert found["trap"] == "None" and found["legal"] and found["commands"] > 0
    for arguments, found in zip(HOST_RUNS, plain["host"], strict=True):
        assert found == json.loads(json.dumps(host_run(*arguments)))
        assert found["legal"] and found["summary"]["requests"] == 200


if __name__ == "__main__":
    import numba

    host = [host_run(*arguments) for arguments in HOST_RUNS]
    paths = [whole_path(shape) for shape in SHAPES]
    print(json.dumps({"jit": not numba.config.DISABLE_JIT, "paths": paths, "host": host}))
