"""How long the main job takes from an empty cache, and which kernels take how long to compile; beside another commit.

Both run in turn in one session, each time a new process on one core. Compilation is measured in processor time, which
other work on the machine disturbs little.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]

_CHILD = """
import json, sys, time
from numba.core import event

class Listener(event.Listener):
    def __init__(self):
        self.stack, self.found, self.total = [], {}, 0.0

    def on_start(self, event):
        self.stack.append([time.process_time(), 0.0])

    def on_end(self, event):
        begun, inner = self.stack.pop()
        took = time.process_time() - begun
        function = event.data["dispatcher"].py_func
        own = self.found.setdefault(f"{function.__module__}.{function.__qualname__}", [0, 0.0])
        own[0] += 1
        own[1] += took - inner
        if self.stack:
            self.stack[-1][1] += took
        else:
            self.total += took

listener = Listener()
event.register("numba:compile", listener)
import ndpsim
from ndpsim.cli.main import main
try:
    main(json.loads(sys.argv[2]))
finally:
    with open(sys.argv[1], "w") as file:
        json.dump({"package": ndpsim.__file__, "total": listener.total, "kernels": listener.found}, file)
"""


class Cold(NamedTuple):
    """A run from an empty cache; kernels: how often each was compiled, and the seconds without what it calls."""

    wall_s: float
    cpu_s: float
    compile_s: float
    kernels: dict[str, tuple[int, float]]


def cold_run(checkout: Path, arguments: Sequence[str]) -> Cold:
    """Run a command of a checkout as a new process, with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "PYTHONPATH": str(checkout)}
        environment.pop("NUMBA_CACHE_DIR", None)
        out = Path(folder) / "compiled.json"
        command = [sys.executable, "-c", _CHILD, str(out), json.dumps(list(arguments))]
        began, before = time.perf_counter(), os.times()
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
        wall, after = time.perf_counter() - began, os.times()
        found = json.loads(out.read_text())
    if Path(found["package"]).parents[1] != checkout:
        raise SystemExit(f"expected to run {checkout}, found {found['package']}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cold(wall, cpu, found["total"], {name: (count, own) for name, (count, own) in found["kernels"].items()})


@contextmanager
def checkout_of(commit: str) -> Iterator[Path]:
    """Yield a folder with the files of a commit, with byte code as a second start finds it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "checkout"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(path), commit], cwd=ROOT, check=True)
        try:
            subprocess.run([sys.executable, "-m", "compileall", "-q", "ndpsim"], cwd=path, check=True)
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=ROOT, check=True)


def bench_cold(arguments: Sequence[str], against: str | None, runs: int) -> dict[str, Any]:
    """Run a command from an empty cache, the least of some runs, and beside another commit if one is given."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if against is None:
        return _figures(min((cold_run(ROOT, arguments) for _ in range(runs)), key=lambda one: one.cpu_s))
    with checkout_of(against) as other:
        pairs = [(cold_run(ROOT, arguments), cold_run(other, arguments)) for _ in range(runs)]
    now, then = (min(side, key=lambda one: one.cpu_s) for side in zip(*pairs, strict=True))
    ratios = {f"{name}_ratio": getattr(now, name) / getattr(then, name) for name in ("wall_s", "cpu_s", "compile_s")}
    return {**_figures(now), "against": {"commit": against, **_figures(then)}, **ratios}


def _figures(cold: Cold) -> dict[str, Any]:
    kernels = sorted(cold.kernels.items(), key=lambda one: -one[1][1])
    return {
        "wall_s": cold.wall_s,
        "cpu_s": cold.cpu_s,
        "compile_s": cold.compile_s,
        "compilations": sum(count for count, _ in cold.kernels.values()),
        "by_kernel": {name: {"compilations": count, "own_s": own} for name, (count, own) in kernels},
    }


def print_cold(figures: dict[str, Any], most: int = 25) -> None:
    """Print the seconds, then the kernels that take longest to compile, without what they call."""
    for name, value in figures.items():
        if isinstance(value, float | int):
            print(f"{name:20} {value:10.4g}")
    print(f"\n{'own s':>8} {'compiled':>8}  kernel")
    for name, one in list(figures["by_kernel"].items())[:most]:
        print(f"{one['own_s']:8.2f} {one['compilations']:8}  {name}")
    if "against" in figures:
        other = figures["against"]
        print(f"\nbeside {other['commit']}:")
        print_cold({name: value for name, value in other.items() if name != "commit"}, most)
