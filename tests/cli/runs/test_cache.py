"""`ndpsim cache` shows what is kept, and removes that and nothing else."""

import json

import numpy as np
import pytest
from cli_support import run

from ndpsim.runs.cache import cached


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Two kernels of 30 bytes, one trace of 10 bytes and a checksum, and a file of somebody else in each folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    kernels, traces = (tmp_path / "ndpsim" / name for name in ("kernels", "traces"))
    kernels.mkdir(parents=True)
    for name in ("a.kernel", "b.kernel"):
        (kernels / name).write_bytes(bytes(15))
    cached("key", "uint8", (10,), lambda: np.zeros(10, np.uint8))
    for folder in (kernels, traces):
        (folder / "notes.txt").write_text("mine")
    return kernels, traces


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_shows_folders_entries_and_sizes(capsys, folders):
    code, out, _ = run(capsys, "cache", "--json")
    kernels, traces = map(str, folders)
    assert code == 0
    assert json.loads(out) == {
        "kernels": {"folder": kernels, "entries": 2, "bytes": 30},
        "traces": {"folder": traces, "entries": 1, "bytes": 14},
    }
    code, out, _ = run(capsys, "cache")
    assert out == f"kernels: 2 entries, 30 B, in {kernels}\ntraces: 1 entry, 14 B, in {traces}\n"


def test_clear_removes_all_that_is_kept_and_nothing_else(capsys, folders):
    kernels, traces = folders
    (kernels / ".1234.kernel.part").write_text("of a process that was killed")
    earlier = kernels / "0123" / "dram_4567"
    earlier.mkdir(parents=True)
    (earlier / "run.nbi").write_text("of an earlier version")
    (other := kernels / "mine" / "also").mkdir(parents=True)
    (other / "notes.txt").write_text("mine")
    code, out, _ = run(capsys, "cache", "clear")
    assert code == 0 and out.startswith(f"kernels: removed 4 entries, 79 B, in {kernels}\n")
    assert (names(kernels), names(other), names(traces)) == (["mine", "notes.txt"], ["notes.txt"], ["notes.txt"])


@pytest.mark.parametrize(("option", "left"), [("--kernels", (0, 1)), ("--traces", (2, 0))])
def test_clear_can_be_told_what(capsys, option, left):
    assert run(capsys, "cache", "clear", option, "--json")[0] == 0
    found = json.loads(run(capsys, "cache", "--json")[1])
    assert (found["kernels"]["entries"], found["traces"]["entries"]) == left


def test_in_a_folder_that_numba_shares_only_our_files_go(capsys, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    other = shared / "a" / "b" / "other.nbi"
    other.parent.mkdir(parents=True)
    other.write_text("")
    (shared / "a.kernel").write_text("")
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(shared))
    assert run(capsys, "cache", "clear")[0] == 0
    assert other.exists() and not (shared / "a.kernel").exists()


def test_nothing_kept_is_nothing_shown(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert json.loads(run(capsys, "cache", "--json")[1])["kernels"]["entries"] == 0
    assert run(capsys, "cache", "clear")[0] == 0
    assert not (tmp_path / "none").exists()
