"""The results of some twenty commands, without their wall times: what a change that should not change results keeps.

`python tools/net.py` runs them and compares with `tests/net.json`, figure by figure; `--write` records them anew, and
then the commit says which figures changed, from what to what, and why. `--only NAME` runs some. Commands are run as a
user would, in a folder of their own; every figure that they print as JSON counts to the last digit.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[1] / "tests" / "net.json"
NOT_RESULTS = {"wall_s", "slowdown", "wall_by_part_s", "setup", "reading_s", "requests_per_s"}
"""Keys that say how long we took, and the setup, which result files guard."""

_SMALL = "--model llama2-7b --input 16 --output 4 --json"
_KERNELS = """op,dtype,m,n,k
gemv,fp16,1,28672,8192
gemm,fp16,64,28672,8192
gemm,int8,300,4096,11008
sparse_gemm,fp16,1,2867,8192
"""
_TRACE = "R 0x1000\nW 0x2040\nR 0x3000 @2\n"
CASES = {
    "hermes": f"run --system hermes {_SMALL}",
    "hermes, batch 2": f"run --system hermes {_SMALL} --batch 2",
    "hermes, batch 16, measured": f"run --system hermes {_SMALL} --batch 16 --preset measured",
    "hermes, OPT": "run --system hermes --model opt-13b --input 8 --output 6 --json --set policy.window=3",
    "hermes, ablated": f"run {_SMALL} --set policy.remap=false --set policy.adjust=false "
    "--set policy.placement=random --set policy.predictor=token",
    "hermes, another machine": f"run {_SMALL} --batch 4 --gpu rtx3090 --set dimm.count=16 "
    "--set dram.timing.nRCD=20 --set preset.ffn.density=0.1",
    "hermes, 70B": "run --system hermes --model llama2-70b --input 16 --output 2 --json",
    "hermes, a trace": "run --model relu-lm --trace trace.h5 --input 40 --output 20 --set gpu.weights_gb=0.003 --json",
    "hermes-base": f"run --system hermes-base {_SMALL}",
    "hermes-base, batch 16": f"run --system hermes-base {_SMALL} --batch 16",
    "hermes-host": f"run --system hermes-host {_SMALL} --batch 2",
    "deja-vu": f"run --system deja-vu {_SMALL} --batch 2",
    "flexgen": f"run --system flexgen {_SMALL} --batch 16",
    "accelerate": f"run --system accelerate {_SMALL}",
    "gpu-only": f"run --system gpu-only {_SMALL} --batch 2",
    "tensor-parallel": f"run --system tensor-parallel {_SMALL} --set gpu.count=4",
    "own system": f"run --system {Path(__file__).parents[1] / 'examples' / 'kv_in_dimms.py'} {_SMALL}",
    "dram, DDR4": "dram random:20000 --standard DDR4-3200AA --ranks 2 --json",
    "dram, DDR5": "dram mixed:20000 --standard DDR5-4800B --refresh same_bank --json "
    '--map "row rank bank column bank_group channel | bank ^= row"',
    "dram, LPDDR5X": "dram mixed:20000 --standard LPDDR5X-8533 --json",
    "dram, HBM2E": "dram random:20000 --standard HBM2E-3600 --json",
    "dram, HBM3": "dram sequential:20000 --standard HBM3-6400 --channels 1 --json",
    "dram, a file": "dram small.trace --standard DDR4-3200AA --json",
    "dram, shared": "dram random:20000 --standard DDR4-3200AA --ranks 2 --ndp 262144 --ndp-policy host_first --json",
    "gpu predict": "gpu predict kernels.csv --card rtx4090 --json",
    "gpu predict, unfitted": "gpu predict kernels.csv --card rtx3090 --json",
    "generate": 'generate "A function that" --tokens 12 --dimms 4 --json',
    "exec": "exec block.ndp --json",
}
_BEFORE = (
    "trace capture -o trace.h5 --tokens 200",
    "compile --neurons 28672 --width 8192 --gated --density 0.2 --dimms 8 -o block.ndp",
)


def main() -> None:
    """Run the cases, and compare or record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the results instead of comparing")
    parser.add_argument("--only", action="append", choices=CASES, help="a case by name; may be repeated")
    parser.add_argument("--ndpsim", default=f"{sys.executable} -m ndpsim", help="the command to run")
    options = parser.parse_args()
    wanted = options.only or list(CASES)
    with tempfile.TemporaryDirectory() as folder:
        results = run_cases(shlex.split(options.ndpsim), wanted, Path(folder))
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if options.write:
        RECORD.write_text(json.dumps(known | results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    changes = [line for name in wanted for line in differences(name, known.get(name), results[name])]
    print("\n".join(changes[:200]) or f"{len(wanted)} commands, the same results")
    sys.exit(1 if changes else 0)


def run_cases(command: list[str], wanted: list[str], folder: Path) -> dict[str, Any]:
    """Return the results of cases by name; a command that fails gives its exit code and what it said."""
    (folder / "kernels.csv").write_text(_KERNELS, encoding="utf-8")
    (folder / "small.trace").write_text(_TRACE, encoding="utf-8")
    for line in _BEFORE:
        subprocess.run([*command, *shlex.split(line)], cwd=folder, check=True, capture_output=True)
    found = {}
    for name in wanted:
        done = subprocess.run([*command, *shlex.split(CASES[name])], cwd=folder, capture_output=True, text=True)
        found[name] = results_of(done)
    return found


def results_of(done: "subprocess.CompletedProcess[str]") -> Any:
    """Return what a finished command printed as JSON, without what changes from run to run."""
    if done.returncode:
        return {"exit": done.returncode, "said": done.stderr}
    return without(json.loads(done.stdout))


def without(value: Any) -> Any:
    """Return JSON without the keys that are no results."""
    if isinstance(value, dict):
        return {key: without(one) for key, one in value.items() if key not in NOT_RESULTS}
    return [without(one) for one in value] if isinstance(value, list) else value


def differences(path: str, known: Any, found: Any) -> Iterator[str]:
    """Yield a line for each place in which two JSON values differ."""
    if isinstance(known, dict) and isinstance(found, dict):
        for key in [*known, *(key for key in found if key not in known)]:
            yield from differences(f"{path}: {key}", known.get(key), found.get(key))
    elif isinstance(known, list) and isinstance(found, list) and len(known) == len(found):
        for place, pair in enumerate(zip(known, found, strict=True)):
            yield from differences(f"{path}[{place}]", *pair)
    elif known != found:
        yield f"{path}: {known!r} -> {found!r}"


if __name__ == "__main__":
    main()
