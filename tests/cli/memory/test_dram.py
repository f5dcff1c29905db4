"""`ndpsim dram` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_support import refused, run, without_notice
from processes import environment

DDR4 = ("--standard", "DDR4-3200AA")


def timed(capsys, *arguments):
    """The JSON record of a run that ends well."""
    code, out, err = run(capsys, "dram", *arguments, "--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    return json.loads(out)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.trace"
    path.write_text("R 0x40\nW 64 @1\nr 0 @2\n")
    return path


def test_a_trace_gives_the_times_that_follow_from_the_timings(capsys, tmp_path):
    (tmp_path / "one.trace").write_text("R 0\n")
    record = timed(capsys, tmp_path / "one.trace", *DDR4)
    latency = 1 + 22 + 22 + 4  # entry in cycle 0, ACT in cycle 1, then nRCD, nCL and nBL
    assert record["requests"] == record["reads"] == 1 and record["row_misses"] == 1
    assert record["cycles"] == record["read_latency_clocks"]["max"] == latency
    assert record["seconds"] == pytest.approx(latency * 0.625e-9)
    assert record["commands"]["ACT"] == record["commands"]["RD"] == 1
    assert record["trace"] == str(tmp_path / "one.trace") and record["standard"] == "DDR4-3200AA"


def test_the_table_has_every_figure(capsys, trace):
    code, out, err = run(capsys, "dram", trace, *DDR4)
    assert (code, err) == (0, "")
    rows = "trace|standard|address map|requests|time|bandwidth|data bus|read latency|write latency|row buffer|refresh"
    rows += "|commands|energy|wall"
    for row in rows.split("|"):
        assert any(line.strip().startswith(row) for line in out.splitlines()), row
    assert "2 reads" in out and "1 writes" in out and "DDR4-3200AA, 1 channel, 1 rank in each" in out


def test_a_sequential_stream_reaches_the_peak_and_a_chase_does_not(capsys):
    stream = timed(capsys, "sequential:20000", *DDR4, "--refresh", "none")
    assert stream["requests"] == 20_000 and stream["peak_gb_per_s"] == 25.6
    assert stream["bandwidth_gb_per_s"] > 0.98 * 25.6
    chase = timed(capsys, "chase:1000", *DDR4, "--refresh", "none")
    assert chase["cycles"] > 1000 * (22 + 22 + 4)


def test_row_hits_follow_the_map(capsys):
    for text in ("row rank bank column bank_group", "row bank bank_group rank column | bank ^= row"):
        record = timed(capsys, "row-hit:4096", *DDR4, "--ranks", 2, "--map", text, "--refresh", "none")
        assert record["map"] == text and record["ranks"] == 2
        assert (record["row_hits"], record["row_misses"]) == (4096 - 32, 32)


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (["--ranks", 2], {"ranks": 2}),
        (["--channels", 2], {"channels": 2, "peak_gb_per_s": 51.2}),
        (["--row-policy", "closed"], {"row_hits": 0}),
        (["--row-policy", "timeout", "--row-timeout", 20], {}),
        (["--set", "nRCD=30", "--set", "nRP=40"], {}),
        (["--read-queue", 1], {}),
        (["--write-queue", 8, "--high", 6, "--low", 2], {}),
        (["--starvation", 1], {}),
    ],
)
def test_every_option_reaches_the_controller(capsys, options, change):
    plain = timed(capsys, "mixed:3000", *DDR4, "--threads", 1)
    changed = timed(capsys, "mixed:3000", *DDR4, *options)
    assert changed["cycles"] != plain["cycles"]
    assert {name: changed[name] for name in change} == change


def test_refreshes_can_be_postponed_or_left_out(capsys):
    counts = [
        timed(capsys, "sequential:20000", *DDR4, *options)["commands"]["REF"]
        for options in ([], ["--postpone", 4], ["--refresh", "none"])
    ]
    assert counts == [6, 2, 0]


def test_the_log_of_a_run_is_legal(capsys, tmp_path):
    record = timed(capsys, "mixed:3000", *DDR4, "--ranks", 2, "--log", tmp_path / "log.h5")
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--json")
    assert code == 0 and json.loads(out)["commands"] == sum(record["commands"].values())


def test_all_kinds_of_trace_files_give_the_same_run(capsys, tmp_path):
    from ndpsim.dram.requests.trace import write_trace

    columns = list(range(0, 64_000, 64)), [0, 1] * 500, list(range(0, 5000, 5)), [0] + [1, 0, 1] * 333
    records = []
    for name in ("t.trace", "t.trace.gz", "t.h5"):
        write_trace(tmp_path / name, *columns)
        record = timed(capsys, tmp_path / name, *DDR4)
        records.append({key: value for key, value in record.items() if key not in ("trace", "format", "wall_s")})
    assert records[0] == records[1] == records[2] and records[0]["requests"] == 1000


def test_addresses_beyond_the_memory_are_told_in_the_result_and_as_a_warning(capsys, tmp_path):
    path = tmp_path / "t.trace"
    path.write_text("W 0x0\nR 0x200000000\nR 0x240000040\n")
    code, out, err = run(capsys, "dram", path, *DDR4, "--json")
    record = json.loads(out)
    assert (code, record["memory_bytes"], record["requests_beyond_memory"]) == (0, 8 << 30, 2)
    assert record["first_beyond_memory"] == 8 << 30
    told = "2 of 3 requests have addresses beyond the 8 GiB of memory, the first 0x200000000; they wrap"
    assert err.startswith(f"ndpsim: warning: {told}") and err.count("\n") == 1
    code, out, err = run(capsys, "dram", path, *DDR4)
    assert told in " ".join(out.split()) and told in err
    record = timed(capsys, path, *DDR4, "--ranks", 2)
    assert (record["memory_bytes"], record["requests_beyond_memory"]) == (16 << 30, 0)


def test_a_synthetic_trace_that_is_larger_than_the_memory_says_so(capsys):
    code, out, _ = run(capsys, "dram", "random:1000", "--standard", "HBM3-6400", "--channels", 1, "--json")
    record = json.loads(out)
    assert code == 0 and record["memory_bytes"] == 1 << 30
    assert 800 < record["requests_beyond_memory"] < 950  # seven eighths of 8 GiB


def test_the_result_names_the_form_of_the_trace_and_format_overrides_it(capsys, tmp_path):
    path = tmp_path / "t.trc"
    path.write_text("0 WRITE 0\n64 READ 4\n128 READ 8\n")
    told = timed(capsys, path, *DDR4)
    assert told["format"] == "dramsim3: address READ|WRITE cycle"
    (tmp_path / "same.trc").write_text("0x0 WRITE 0\n0x64 READ 4\n0x128 READ 8\n")
    assert told["cycles"] == timed(capsys, tmp_path / "same.trc", *DDR4)["cycles"]
    ours = timed(capsys, path, *DDR4, "--format", "ndpsim")
    assert ours["format"] == "ndpsim: cycle R|W address [@back]" and ours["cycles"] > 128
    assert "[@back]" in run(capsys, "dram", path, *DDR4, "--format", "ndpsim")[1].replace("\n", "")
    words = "--format: expected none with a synthetic trace, found 'dramsim3'"
    assert words in refused(capsys, "dram", "random:10", *DDR4, "--format", "dramsim3")


def test_write_latency_is_told_and_what_is_not_known_is_null(capsys, tmp_path):
    path = tmp_path / "w.trace"
    path.write_text("W 0\n")
    record = timed(capsys, path, *DDR4)
    latency = 2 + 22 + 16 + 4  # entry in cycle 0, write mode and ACT in cycle 1, then nRCD, nCWL and nBL
    assert record["write_latency_clocks"] == dict.fromkeys(("mean", "p50", "p90", "p99", "max"), latency - 1)
    assert record["read_latency_ns"] == dict.fromkeys(("mean", "p50", "p90", "p99", "max"))
    assert record["energy_j"]["io"] is None
    out = " ".join(run(capsys, "dram", path, *DDR4)[1].split())
    assert "read latency no reads" in out and "write latency mean 43" in out and "io not known" in out


def test_ndp_units_and_the_host_are_timed_together_and_alone(capsys):
    arguments = ("random:5000", *DDR4, "--ranks", 2)
    alone = timed(capsys, *arguments)
    record = timed(capsys, *arguments, "--ndp", 64 * 2000)
    ndp = record["ndp"]
    assert ndp["bursts"] == [2000, 2000] and len(ndp["row_hits"]) == len(ndp["bandwidth_gb_per_s"]) == 2
    assert record["requests"] == 5000 and record["end"] == max(record["cycles"], *ndp["done_cycles"])
    assert record["alone"] == {name: alone[name] for name in record["alone"]}
    assert record["cycles"] > alone["cycles"]
    for shared, by_itself in zip(ndp["bandwidth_gb_per_s"], ndp["alone"]["bandwidth_gb_per_s"], strict=True):
        assert 0 < shared < by_itself < 25.6
    assert ndp["alone"]["done_cycles"][0] > 2000 * 4  # a burst takes the rank's data bus for 4 clocks


def test_the_policy_and_the_window_of_ndp_units_reach_the_controller(capsys):
    arguments = ("random:5000", *DDR4, "--ndp", 64 * 2000)
    host_first = timed(capsys, *arguments)
    ndp_first = timed(capsys, *arguments, "--ndp-policy", "ndp_first")
    assert ndp_first["ndp"]["done_cycles"][0] < host_first["ndp"]["done_cycles"][0]
    assert ndp_first["cycles"] > host_first["cycles"]
    narrow = timed(capsys, *arguments, "--ndp-policy", "ndp_first", "--ndp-window", 1)
    assert narrow["ndp"]["done_cycles"][0] > ndp_first["ndp"]["done_cycles"][0]


def test_the_table_says_what_both_sides_lose(capsys, trace):
    code, out, err = run(capsys, "dram", trace, *DDR4, "--ndp", 64)
    assert (code, err) == (0, "")
    for row in ("host alone", "host loses", "NDP of each rank", "NDP alone", "NDP loses", "NDP row buffer", "all done"):
        assert any(line.strip().startswith(row) for line in out.splitlines()), row


def test_the_log_of_shared_ranks_is_legal(capsys, tmp_path):
    arguments = ("mixed:2000", *DDR4, "--ranks", 2, "--ndp", 64 * 1000, "--log", tmp_path / "log.h5")
    assert timed(capsys, *arguments)["commands"]["RDN"] == 2000
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--json")
    assert code == 0 and json.loads(out)["legal"]


def test_the_list_describes_every_standard(capsys):
    from ndpsim.dram.standard.standard import standard_names

    code, out, _ = run(capsys, "dram", "--list", "--json")
    records = {record["name"]: record for record in json.loads(out)["standards"]}
    assert code == 0 and sorted(records) == standard_names()
    ddr4 = records["DDR4-3200AA"]
    assert (ddr4["data_rate_mtps"], ddr4["tck_ns"], ddr4["cl_rcd_rp"]) == (3200, 0.625, [22, 22, 22])
    assert (ddr4["bank_groups"], ddr4["banks"], ddr4["row_bytes"], ddr4["peak_gb_per_s"]) == (4, 4, 8192, 25.6)
    assert records["HBM3-6400"]["pseudo_channels"] == 2
    assert all(None not in record["cl_rcd_rp"] for record in records.values())


def test_the_table_of_standards_can_be_narrowed_to_names_that_begin_so(capsys):
    code, out, _ = run(capsys, "dram", "--list", "--standard", "DDR4-3200A")
    lines = out.splitlines()
    assert code == 0 and "CL-RCD-RP" in lines[0]
    assert all(line.startswith("DDR4-3200A") for line in lines[1:])
    cells = next(line.split() for line in lines if line.startswith("DDR4-3200AA "))
    assert cells[1:3] == ["3200", "0.625"] and cells[-2:] == ["22-22-22", "25.6"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], "TRACE: expected a file with a request trace, or one of sequential:N"),
        (["chase:5"], "--standard: expected a name of `ndpsim dram --list`"),
        (["chase:5", "--standard", "DDR9-1"], "'DDR9-1'"),
        (["nowhere.trace", *DDR4], "'nowhere.trace', which is neither"),
        (["rnd:5", *DDR4], "'rnd:5', which is neither"),
        (["random", *DDR4], "expected random:N with N from 1 to"),
        (["random:", *DDR4], "found 'random:'"),
        (["random:x", *DDR4], "found 'random:x'"),
        (["random:-1", *DDR4], "found 'random:-1'"),
        (["random:0", *DDR4], "expected 1 to"),
        (["random:99999999999", *DDR4], "expected 1 to"),
        (["random:" + "9" * 30, *DDR4], "expected random:N"),
        ([".", *DDR4], "found: a folder"),
        (["chase:5", *DDR4, "--ranks", "3"], "ranks: expected a power of two, found 3"),
        (["chase:5", *DDR4, "--ranks", "0"], "ranks: expected a power of two, found 0"),
        (["chase:5", *DDR4, "--channels", "-2"], "channels: expected a power of two, found -2"),
        (["chase:5", *DDR4, "--channels", str(1 << 30), "--ranks", str(1 << 30)], "expected a memory of at most"),
        (["chase:5", *DDR4, "--map", "row bank"], "bank_group: expected 2 bits in all"),
        (["chase:5", *DDR4, "--map", "row bank column bank_group | bank ^= bank_group"], "expected row or column"),
        (["chase:5", *DDR4, "--set", "nRCD"], "--set: expected NAME=CLOCKS"),
        (["chase:5", *DDR4, "--set", "nXYZ=3"], "'nXYZ'"),
        (["chase:5", *DDR4, "--read-queue", "0"], "read_queue: expected an integer from 1"),
        (["chase:5", *DDR4, "--write-queue", "1000000000000"], "write_queue"),
        (["chase:5", *DDR4, "--high", "33"], "high"),
        (["chase:5", *DDR4, "--low", "26"], "low"),
        (["chase:5", *DDR4, "--starvation", "0"], "starvation"),
        (["chase:5", *DDR4, "--row-policy", "timeout"], "row_timeout"),
        (["chase:5", *DDR4, "--row-timeout", "5"], "row_timeout"),
        (["chase:5", *DDR4, "--refresh", "same_bank"], "refresh: expected one of none, all_bank"),
        (["chase:5", *DDR4, "--postpone", "99"], "postpone"),
        (["chase:5", *DDR4, "--log", "nodir/log.h5"], "nodir"),
        (["chase:5", *DDR4, "--ndp", "100"], "NDP bytes of a rank: expected a multiple of 64"),
        (["chase:5", *DDR4, "--ndp", "0"], "NDP bytes of a rank"),
        (["chase:5", *DDR4, "--ndp", str(1 << 40)], "NDP bytes of a rank"),
        (["chase:5", *DDR4, "--ndp-window", "0"], "ndp_window: expected an integer from 1 to 64, found 0"),
        (["--list", "--standard", "nope"], "expected the beginning of a name"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence_and_leaves_no_file(capsys, tmp_path, monkeypatch, arguments, names):
    monkeypatch.chdir(tmp_path)
    assert names in refused(capsys, "dram", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", "found: an empty one"),
        (b"# nothing\n", "expected at least one request, found none"),
        (b"# requests: 0\n", "expected at least one request, found none"),
        (b"R 64\nR -64\n", "line 2: address: expected a number from 0"),
        (b"# requests: 2\nR 64\nR 64", "line 3: expected a newline at its end, found a file that was cut short"),
        (b"# requests: 3\nR 64\n", "expected 3 requests, as line 1 says, found 1"),
        (b"# a\n\nR\n", "line 3: expected"),
        (b"\x89HDF\r\n\x1a\n", "line 1: expected [cycle] R|W address [@back]"),
    ],
)
def test_a_file_that_is_no_whole_trace_is_refused_and_leaves_no_log(capsys, tmp_path, content, names):
    path = tmp_path / "t.trace"
    path.write_bytes(content)
    assert names in refused(capsys, "dram", path, *DDR4, "--log", tmp_path / "log.h5")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_is_one_sentence_and_leaves_no_file(tmp_path):
    command = [sys.executable, "-m", "ndpsim", "dram", "random:1000000000", *DDR4, "--log", "log.h5"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert list(tmp_path.iterdir())  # the log has been begun
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert out == b"" and without_notice(err.decode()).strip() == "ndpsim: interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []
