"""`tools/bench.py cold`: what a process compiles from an empty cache, kernel by kernel, beside another commit."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")


def test_a_cold_run_tells_what_was_compiled_and_the_parts_are_the_whole(tmp_path):
    from bench_cold import cold_run

    (tmp_path / "kernels.csv").write_text("op,dtype,m,n,k\ngemm,fp16,16,4096,4096\n")
    arguments = ("gpu", "predict", str(tmp_path / "kernels.csv"), "--card", "rtx4090")
    first, again = cold_run(ROOT, arguments), cold_run(ROOT, arguments)
    assert {name: count for name, (count, _) in first.kernels.items()} == {
        name: count for name, (count, _) in again.kernels.items()
    }
    assert first.kernels["ndpsim.gpu.gemm._times"][0] == 1
    assert sum(own for _, own in first.kernels.values()) == pytest.approx(first.compile_s)
    assert 0 < first.compile_s < first.cpu_s < 2 * first.wall_s


def test_the_table_has_the_slowest_kernels_first(capsys):
    from bench_cold import Cold, _figures, print_cold

    then = _figures(Cold(10.0, 9.0, 8.0, {"a": (1, 7.0)}))
    print_cold({**_figures(Cold(5.0, 4.0, 3.0, {"b": (2, 1.0), "c": (1, 2.0)})), "against": {"commit": "1234", **then}})
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[:4] == [["wall_s", "5"], ["cpu_s", "4"], ["compile_s", "3"], ["compilations", "3"]]
    assert lines[5:8] == [["2.00", "1", "c"], ["1.00", "2", "b"], ["beside", "1234:"]]
    assert lines[-1] == ["7.00", "1", "a"]


@pytest.mark.slow
def test_another_commit_is_run_in_a_folder_of_its_own():
    from bench_cold import checkout_of, cold_run

    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git checkout")
    with checkout_of("HEAD") as other:
        assert other != ROOT and cold_run(other, ("list",)).kernels == {}
    assert not other.exists()
