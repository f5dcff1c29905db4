"""Speed and memory of the simulator: `python tools/bench.py run|cold|ndp|dram|trace|gpu|serve [--json]`.

Cold figures come from a fresh process with an empty kernel cache, and include its start and all compilation; warm
figures are medians of repeated calls in this process, on one core. `cold [--against COMMIT]` runs the main job from an
empty cache, and tells which kernels take how long to compile.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_cold import bench_cold, print_cold

GEMV_ROWS = 4096


def _median(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _gemv() -> Callable[[], None]:
    """Return a call that compiles, executes and times a dense FP16 GEMV of 4096 x 4096 on one DIMM."""
    import numpy as np

    from ndpsim.compiler.lower import layer_compiler
    from ndpsim.compiler.placement import LayerShape, memory_image
    from ndpsim.dimm.config import load_machine
    from ndpsim.dimm.executor import DimmState, execute_resolved
    from ndpsim.dimm.resolve import resolve
    from ndpsim.dimm.timing import Timer

    machine = load_machine(dimms=1)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((GEMV_ROWS, GEMV_ROWS)).astype(np.float16)
    x = rng.standard_normal((1, GEMV_ROWS)).astype(np.float16)
    compiler = layer_compiler(LayerShape(GEMV_ROWS, GEMV_ROWS, activation=None), machine)
    image = memory_image(compiler.placement, {"up": weights})[0]
    rows = np.arange(GEMV_ROWS)

    def call() -> None:
        program = compiler.compile(rows)
        state = DimmState(image, np.zeros(machine.buffer_bytes, np.uint8), compiler.host_input(x, rows)[0])
        resolved = resolve(program, machine.buffer_bytes, [len(state.host_in)]).require_clean()
        execute_resolved(resolved, [state])
        Timer(machine).run(program, resolved)
        assert len(state.host_out) == 4 * GEMV_ROWS

    return call


def _cold_gemv() -> float:
    """Seconds of a fresh process that runs the GEMV once, with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        environment.pop("NUMBA_CACHE_DIR", None)
        began = time.perf_counter()
        subprocess.run([sys.executable, __file__, "gemv-once"], env=environment, check=True)
        return time.perf_counter() - began


def _stream_rate() -> float:
    """DRAM bursts a second of wall time, for rows of 8 KiB: one dense pass over a matrix of 256 MiB on one DIMM."""
    import numpy as np

    from ndpsim.compiler.lower import layer_compiler
    from ndpsim.compiler.placement import LayerShape
    from ndpsim.dimm.config import load_machine
    from ndpsim.dimm.resolve import resolve
    from ndpsim.dimm.timing import Timer

    machine = load_machine(dimms=1, placement="row")
    compiler = layer_compiler(LayerShape(32768, 4096, activation=None), machine)
    program = compiler.compile(np.arange(32768))
    resolved = resolve(program, machine.buffer_bytes).require_clean()
    bursts = 32768 * 128
    return bursts / _median(lambda: Timer(machine).run(program, resolved), 9)


def _token(density: float) -> dict[str, float]:
    """Time a token of a block of LLaMA2-70B for 8 DIMMs, with this share of its 28,672 neurons active.

    Every repetition is another token, so that nothing is known of it beforehand. Milliseconds to compile, to check and
    to time it; nanoseconds of timing a train of bursts; and all of that beside the time that it takes on the machine.
    """
    import numpy as np

    from ndpsim.compiler.lower import layer_compiler
    from ndpsim.compiler.placement import LayerShape
    from ndpsim.dimm.config import load_machine
    from ndpsim.dimm.resolve import resolve
    from ndpsim.dimm.timing import Timer
    from ndpsim.dram.ndp.rank_state import N_TRAINS

    machine = load_machine(dimms=8)
    compiler = layer_compiler(LayerShape(28672, 8192, "silu", gated=True), machine)
    timer = Timer(machine)
    rng = np.random.default_rng(0)
    times = []
    for _ in range(101):
        active = np.flatnonzero(rng.random(28672) < density)
        marks = [time.perf_counter()]
        program = compiler.compile(active)
        marks.append(time.perf_counter())
        resolved = resolve(program, machine.buffer_bytes).require_clean()
        marks.append(time.perf_counter())
        run = timer.run(program, resolved)
        marks.append(time.perf_counter())
        trains = int(run.counters[:, :, N_TRAINS].sum())
        wall = marks[3] - marks[0]
        times.append([*np.diff(marks) * 1e3, (marks[3] - marks[2]) * 1e9 / trains, wall / (run.total_ps * 1e-12)])
    names = ("compile_ms", "resolve_ms", "timing_ms", "ns_per_train", "wall_per_simulated")
    return dict(zip(names, np.median(times[1:], axis=0).tolist(), strict=True))


def bench_ndp() -> dict[str, float]:
    """Measure the NDP path; seconds, rates and MiB as the names say."""
    cold = _cold_gemv()
    warm = _median(_gemv(), 9)
    tokens = {f"token_{share}_{name}": value for share in (5, 20) for name, value in _token(share / 100).items()}
    return {
        "gemv_4096_cold_s": cold,
        "gemv_4096_warm_s": warm,
        "stream_bursts_per_s": _stream_rate(),
        **tokens,
        "peak_memory_mib": _peak_memory_mib(),
    }


def _peak_memory_mib() -> float:
    """Return the most memory that this program has held.

    Linux tells it of the program alone; `getrusage` counts the process that started it as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


HOST_REQUESTS = 2_000_000
CHASE_REQUESTS = 200_000
HOST_MEMORIES = (("DDR4-3200AA", 1), ("DDR4-3200AA", 2), ("DDR4-3200AA", 4), ("DDR5-4800B", 1))
TRACES = {"sequential": "sequential", "random": "random", "mixed": "mixed", "row_hit": "row-hit", "chase": "chase"}


def _host_rate(standard_name: str, ranks: int, trace_name: str) -> float:
    """Requests a second of wall time on one channel, from arrays in memory, with queues of 32 places."""
    from ndpsim.dram.host.controller import HostConfig, HostController
    from ndpsim.dram.requests.synthetic import ROW_HIT_MAP, synthetic
    from ndpsim.dram.standard.standard import load_standard

    standard = load_standard(standard_name, ranks=ranks, channels=1)
    requests = CHASE_REQUESTS if trace_name == "chase" else HOST_REQUESTS
    config = HostConfig(address_map=ROW_HIT_MAP if trace_name == "row-hit" else None)
    trace = synthetic(trace_name, requests, standard)
    blocks = list(trace.blocks(1 << 16))

    def call() -> None:
        controller = HostController(standard, config, dependent=trace.dependent, threads=1)
        for block in blocks:
            controller.feed(block)
        assert controller.finish().requests == requests

    return requests / _median(call, 5)


def _channel_scaling() -> float:
    """How many times faster 16 channels of random reads run with a thread a core than with one thread."""
    from ndpsim.dram.host.controller import HostController
    from ndpsim.dram.requests.synthetic import synthetic
    from ndpsim.dram.standard.standard import load_standard

    standard = load_standard("DDR4-3200AA", channels=16)
    blocks = list(synthetic("random", HOST_REQUESTS, standard).blocks())

    def run(threads: int | None) -> None:
        controller = HostController(standard, threads=threads)
        for block in blocks:
            controller.feed(block)
        controller.finish()

    return _median(lambda: run(1), 5) / _median(lambda: run(None), 5)


def bench_dram() -> dict[str, float]:
    """Measure the host controller and the NDP streams; rates a second of one core, but for the scaling over cores."""
    rates: dict[str, float] = {}
    for standard, ranks in HOST_MEMORIES:
        suffix = "" if (standard, ranks) == HOST_MEMORIES[0] else f"_{standard.split('-')[0].lower()}_{ranks}rank"
        for key, trace in TRACES.items():
            rates[f"{key}_req_per_s{suffix}"] = _host_rate(standard, ranks, trace)
    return {
        **rates,
        "stream_bursts_per_s": _stream_rate(),
        "channels_16_thread_speedup": _channel_scaling(),
        "peak_memory_mib": _peak_memory_mib(),
    }


MAIN_JOB = ("run", "--system", "hermes", "--model", "llama2-70b", "--json")
MAIN_JOB_RUNS = 3


def bench_run() -> dict[str, float]:
    """Run the main job on one core, as a user would: each time a new process, from its start to its end.

    Kernels and the trace are cached by a run before. The least time counts: it was disturbed least.
    """
    command = [sys.executable, "-m", "ndpsim", *MAIN_JOB]
    times, simulated = [], 0.0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    subprocess.run(command, check=True, capture_output=True)
    for _ in range(MAIN_JOB_RUNS):
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times.append(time.perf_counter() - began)
        simulated = json.loads(done.stdout)["simulated_s"]
    return {
        "run_70b_wall_s": min(times),
        "run_70b_simulated_s": simulated,
        "run_70b_slowdown": min(times) / simulated,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


TRACE_TOKENS = 128


def bench_trace() -> dict[str, float]:
    """Generate, write and measure an activation trace of LLaMA2-70B, preset `paper`, one sequence."""
    from ndpsim.llm.catalog import load_shape
    from ndpsim.sparsity.generation.generator import ActivationGenerator, NeuronShape
    from ndpsim.sparsity.generation.presets import load_preset
    from ndpsim.sparsity.trace import ActivationTrace

    shape, preset = load_shape("llama2-70b"), load_preset("paper")
    neurons = NeuronShape(shape.layers, shape.hidden, shape.ffn)

    def generator() -> ActivationGenerator:
        return ActivationGenerator(neurons, preset.parameters(shape.layers, shape.name), seed=1)

    def generate() -> None:
        made = generator()
        for group in range(2 * shape.layers):
            made.rows(group, 0, TRACE_TOKENS)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.h5"
        generate_s = _median(generate, 3)
        write_s = _median(lambda: generator().write(path, TRACE_TOKENS), 3)
        size = path.stat().st_size
        peak = _peak_memory_mib()

        def measure() -> None:
            with ActivationTrace.read(path) as trace:
                assert trace.statistics().tokens == TRACE_TOKENS

        info_s = _median(measure, 3)
    return {
        "generate_70b_s": generate_s,
        "write_70b_s": write_s,
        "file_70b_bytes": size,
        "info_70b_s": info_s,
        "generate_peak_memory_mib": peak,
        "peak_memory_mib": _peak_memory_mib(),
    }


GPU_SHAPES = 100_000


def bench_gpu() -> dict[str, float]:
    """Measure the GPU timing model: kernels a second of one core, random shapes of each family and all mixed."""
    import numpy as np

    from ndpsim.gpu.kernels import COLUMNS, DTYPE_NAMES, OP_NAMES, Kernels
    from ndpsim.gpu.model import GpuModel

    model = GpuModel.load("rtx4090")
    rng = np.random.default_rng(0)

    def shapes(op: str, count: int, **columns: tuple[int, int]) -> Kernels:
        table = np.zeros((count, len(COLUMNS)))
        for name, (least, most) in columns.items():
            table[:, COLUMNS.index(name)] = np.exp(rng.uniform(np.log(least), np.log(most), count)).round()
        ops, dtypes = np.full(count, OP_NAMES.index(op)), np.full(count, DTYPE_NAMES.index("fp16"))
        return Kernels(ops, dtypes, table)

    heads = {"heads": (32, 32), "kv_heads": (8, 8), "head_dim": (128, 128)}
    tables = {
        "gemm": shapes("gemm", GPU_SHAPES, m=(1, 4096), n=(64, 32768), k=(64, 32768)),
        "decode_attention": shapes("attention", GPU_SHAPES, **heads, decodes=(1, 256), context=(1, 32768)),
        "prefill_attention": shapes("attention", GPU_SHAPES, **heads, prefills=(1, 8), queries=(2, 4096)),
        "rows": shapes("rmsnorm", GPU_SHAPES, m=(1, 4096), n=(64, 32768)),
    }
    mixed = Kernels(*(np.concatenate([getattr(one, name) for one in tables.values()]) for name in Kernels._fields))
    order = rng.permutation(len(mixed))
    tables["mixed"] = Kernels(mixed.op[order], mixed.dtype[order], mixed.shape[order])

    def rate(table: Kernels) -> float:
        return len(table) / _median(lambda: model.microseconds(table), 5)

    return {f"{name}_shapes_per_s": rate(table) for name, table in tables.items()}


SERVED_REQUESTS = 20_000
SERVED_RATE = 5.0


def bench_serve(requests: str | None = None) -> dict[str, float]:
    """Serve requests that arrive: the measured run of the RTX 4090, made ready anew each time, and 20,000 requests.

    requests: a file with these; without one, lengths drawn from log-normal distributions with the means and spreads of
    Azure's conversation trace of 2023 (prompts 1155 and 1109, outputs 211 and 163 tokens), Llama-3.1-8B on an A100.
    """
    import numpy as np

    from ndpsim.serving.sources.files import read_workload
    from ndpsim.serving.workload import PS_PER_S, Workload
    from ndpsim.studies.serving_runs import ServingCase, logged_case, measured_serving

    def drawn() -> Workload:
        rng = np.random.default_rng(0)

        def lengths(mean: float, spread: float, most: int) -> np.ndarray:
            square = np.log(1 + (spread / mean) ** 2)
            values = rng.lognormal(np.log(mean) - square / 2, np.sqrt(square), SERVED_REQUESTS)
            return np.clip(np.round(values), 1, most).astype(np.int64)

        arrivals = np.cumsum(rng.exponential(PS_PER_S / SERVED_RATE, SERVED_REQUESTS)).astype(np.int64)
        return Workload(arrivals, lengths(1155, 1109, 14_000), lengths(211, 163, 1000))

    run = logged_case(measured_serving().run[0])
    steps = run.serve().served.steps
    system_and_steps = _median(run.serve, 5)
    many = drawn() if requests is None else read_workload(requests)
    case = ServingCase("many", "llama3.1-8b", "a100-80", "vllm-0.19", 1, 256, 2048, many, {})
    began = time.perf_counter()
    served = case.serve().served
    many_s = time.perf_counter() - began
    return {
        "steps_per_s": served.steps / many_s,
        "run_4090_steps": steps,
        "run_4090_s": system_and_steps,
        "requests_20k": len(many),
        "requests_20k_steps": served.steps,
        "requests_20k_s": many_s,
        "peak_mib": _peak_memory_mib(),
    }


SUITES = {
    "run": bench_run, "ndp": bench_ndp, "dram": bench_dram, "trace": bench_trace, "gpu": bench_gpu,
    "serve": bench_serve,
}  # fmt: skip


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "cold", "gemv-once"])
    parser.add_argument("--requests", metavar="FILE", help="of serve: requests in place of drawn ones")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--against", metavar="COMMIT", help="of cold: run another commit in turn, and compare")
    parser.add_argument("--runs", type=int, default=1, help="of cold: runs of each, of which the quickest counts")
    arguments = parser.parse_args()
    if arguments.suite == "cold":
        figures = bench_cold(MAIN_JOB, arguments.against, arguments.runs)
        if arguments.json:
            print(json.dumps(figures))
        else:
            print_cold(figures)
        return
    if arguments.suite == "gemv-once":
        _gemv()()
        return
    results = bench_serve(arguments.requests) if arguments.suite == "serve" else SUITES[arguments.suite]()
    if arguments.json:
        print(json.dumps(results))
    else:
        for name, value in results.items():
            print(f"{name:34} {value:,.4g}")


if __name__ == "__main__":
    main()
