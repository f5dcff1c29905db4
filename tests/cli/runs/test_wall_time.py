"""Where the wall time of a run goes: each kind of work, slowed by a known time, is found under its own name."""

import json
from types import SimpleNamespace

import pytest
from cli_support import run

from ndpsim import wall
from ndpsim.compiler.attention import AttentionCompiler
from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.projection import Projection
from ndpsim.dimm.accounts import Accounts
from ndpsim.gpu.families import FAMILIES
from ndpsim.report import run_file
from ndpsim.runs import run as run_module
from ndpsim.systems.hermes import hermes
from ndpsim.systems.hermes.hot_neurons import HotNeurons

SMALL = ("run", "--model", "relu-lm", "--input", "8", "--output", "3", "--set", "gpu.weights_gb=0.002")


@pytest.fixture
def spend(monkeypatch):
    """A clock that stands still; yields a function that lets calls of a function take time on it, and counts them."""
    now = 0.0
    monkeypatch.setattr(wall.ACCOUNT, "_clock", lambda: now)
    calls = {}

    def slow(owner, name, seconds):
        before = getattr(owner, name)
        key = id(owner), name
        calls[key] = 0

        def slower(*args, **more):
            nonlocal now
            now += seconds
            calls[key] += 1
            return before(*args, **more)

        monkeypatch.setattr(owner, name, slower)
        return lambda: calls[key] * seconds

    return slow


def parts_of(capsys, *arguments):
    code, out, _ = run(capsys, *SMALL, "--json", *arguments)
    assert code == 0
    record = json.loads(out)
    assert list(record["wall_by_part_s"]) == [*wall.PARTS, "other"]
    assert sum(record["wall_by_part_s"].values()) == record["wall_s"]
    return {part: seconds for part, seconds in record["wall_by_part_s"].items() if seconds}


def test_nothing_slowed_takes_no_time(capsys, spend):
    assert parts_of(capsys) == {}


def test_each_kind_of_work_is_found_under_its_name(capsys, monkeypatch, spend, tmp_path):
    start = spend(run_module, "devices_of", 1.0)
    trace = spend(run_module, "generated_trace", 2.0)
    placement = spend(hermes, "fitted", 4.0)
    programs = [spend(one, "compile", 8.0) for one in (Projection, FeedForward, AttentionCompiler)]
    timing = spend(Accounts, "run", 16.0)
    families = [SimpleNamespace(name=family.name, times=family.times) for family in FAMILIES]
    gpu = [spend(one, "times", 32.0) for one in families]
    slow = [family._replace(times=one.times) for family, one in zip(FAMILIES, families, strict=True)]
    monkeypatch.setattr("ndpsim.gpu.model.FAMILIES", tuple(slow))
    policy = spend(HotNeurons, "predict", 64.0)
    writing = spend(run_file, "appearing_hdf5", 128.0)
    found = parts_of(capsys, "-o", tmp_path / "run.h5")
    assert found == {
        "start_and_compile": start(),
        "trace": trace(),
        "placement": placement(),
        "compiling_programs": sum(one() for one in programs),
        "timing_kernels": timing(),
        "gpu_model": sum(one() for one in gpu),
        "policy": policy(),
        "writing": writing(),
    }
    assert (start(), trace(), writing()) == (1, 2, 128) and min(found.values()) > 0
    assert all(one() > 0 for one in programs)


def test_the_table_has_the_parts_that_took_time(capsys, spend):
    spend(run_module, "generated_trace", 6.0)
    spend(run_module, "devices_of", 2.0)
    code, out, _ = run(capsys, *SMALL)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    begin = next(i for i, line in enumerate(lines) if line.startswith("wall time"))
    assert lines[begin].startswith("wall time 8.0 s")
    assert lines[begin + 1 : begin + 3] == ["start and compile 2 s, 25.0 %", "trace 6 s, 75.0 %"]
    assert not any("policy" in line for line in lines[begin:])
