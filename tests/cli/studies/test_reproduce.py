"""`ndpsim reproduce` and `ndpsim study hermes` as a user meets them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_support import refused, run
from hermes_support import PUBLISHED
from processes import environment

from ndpsim.studies import hermes_points

FEW = ("--tokens", 2, "--ablation-tokens", 2, "--jobs", 1)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(hermes_points, "published", lambda: PUBLISHED)


@pytest.mark.slow
def test_each_published_value_is_printed_beside_ours(capsys, small):
    code, out, err = run(capsys, "reproduce", "hermes", *FEW)
    assert (code, err) == (0, "")
    assert "the first 2 of 4 output tokens (2 in the ablation)" in out
    row = next(line for line in out.splitlines() if line.startswith("hermes, relu-lm, batch 2"))
    assert row.split()[4:7] == ["Fig.", "2", "800.00"] and row.rstrip().endswith("%")
    assert "contradiction: 401 in Fig. 2" in out and "partition to hermes" in out
    assert "over 20.00%" in out and "mean absolute error" in out and "Other readings" in out


def test_one_json_object_with_all_points_and_files_beside_it(capsys, small, tmp_path):
    pytest.importorskip("matplotlib")
    files = ("--csv", tmp_path / "points.csv", "--plot", tmp_path / "plots")
    code, out, err = run(capsys, "reproduce", "hermes", *FEW, "--json", *files)
    assert (code, err) == (0, "") and out.count("\n") == 1
    record = json.loads(out)
    assert {"mean_abs_error", "max_abs_error", "points", "readings", "groups", "tokens"} <= record.keys()
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 1 + len(record["points"])
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "ablation.svg",
        "batch-1.svg",
        "batches.svg",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tokens", 0), "--tokens: expected 2 to 128, found 0"),
        (("--tokens", 129), "--tokens: expected 2 to 128, found 129"),
        (("--ablation-tokens", 0), "--ablation-tokens: expected 2 to 128, found 0"),
        (("--jobs", 0), "--jobs: expected 1 to 256, found 0"),
        (("--csv", "/nowhere/x.csv"), "/nowhere/x.csv: expected a place that can be written"),
        (("--plot", "/nowhere/plots"), "/nowhere/plots: expected a folder that can be made"),
    ],
)
def test_wrong_use_is_one_sentence_before_any_run(capsys, arguments, says):
    assert says in refused(capsys, "reproduce", "hermes", *arguments)


SMALL = ("--model", "relu-lm", "--sweep", "dimms", "--batch", 1, "--tokens", 2, "--jobs", 1)


def test_a_sensitivity_is_printed_as_rate_and_ratio(capsys):
    code, out, err = run(capsys, "study", "hermes", *SMALL)
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("8 "))
    assert row.rstrip().endswith("(1.00)") and "relu-lm, batch 1" in out


def test_a_sensitivity_as_json(capsys):
    code, out, _ = run(capsys, "study", "hermes", *SMALL, "--json")
    record = json.loads(out)
    assert code == 0 and record["models"] == ["relu-lm"] and record["tokens"] == 2
    assert [one["point"] for one in record["effects"]] == ["1", "2", "4", "8", "16"]
    assert [sweep["name"] for sweep in record["sweeps"]] == ["dimms"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sweep", "dims"), "--sweep: expected one of dimms, multipliers"),
        (("--model", "no-model"), "no-model"),
        (("--batch", 0), "--batch: expected 1 to 256, found 0"),
        (("--tokens", 0), "--tokens: expected 2 to 128, found 0"),
        (("--jobs", 0), "--jobs: expected 1 to 256, found 0"),
    ],
)
def test_wrong_use_of_the_study_is_one_sentence(capsys, arguments, says):
    assert says in refused(capsys, "study", "hermes", *arguments)


def children(process):
    """The processes that a process has started and that still run."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_end_ends_all_processes_and_leaves_no_file(tmp_path, end):
    command = [sys.executable, "-m", "ndpsim", "reproduce", "hermes", "--jobs", "2", "--csv", "points.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(8)
    workers = children(process)
    assert len(workers) >= 2
    process.send_signal(end)
    out, err = process.communicate(timeout=20)
    assert out == b"" and list(tmp_path.iterdir()) == []
    if end == signal.SIGINT:
        assert process.returncode == 130 and b"interrupted" in err and b"Traceback" not in err
    for _ in range(100):
        if not any(is_there(pid) for pid in workers):
            break
        time.sleep(0.1)
    assert not any(is_there(pid) for pid in workers)
