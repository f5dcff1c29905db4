"""`ndpsim serve`: what it prints and writes, and how it says no."""

import csv
import json

import pytest
from cli_support import refused, run

RANDOM = ("serve", "--model", "relu-lm", "--requests", "random:6", "--random-input-len", 20, "--random-output-len", 5)


def figures(capsys, *more):
    code, out, _ = run(capsys, *RANDOM, *more, "--json")
    assert code == 0
    return json.loads(out)


def test_json_has_the_keys_of_vllm(capsys):
    found = figures(capsys, "--max-num-seqs", 3, "--goodput", "ttft:2000,tpot:200")
    assert (found["completed"], found["total_input"], found["total_output"]) == (6, 120, 30)
    assert found["request_throughput"] == pytest.approx(6 / found["duration"])
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])
    for name in ("ttft", "tpot", "itl", "e2el"):
        statistics = [found[f"{one}_{name}_ms"] for one in ("p50", "p90", "p95", "p99")]
        assert found[f"mean_{name}_ms"] > 0 and statistics == sorted(statistics)
    assert found["max_running"] == 3 and found["max_waiting"] == 3
    assert found["setup"]["seed"] == 0 and found["wall_s"] > 0


def test_the_same_seed_gives_the_same_figures_and_a_rate_spreads_arrivals(capsys):
    wall = {"wall_s", "wall_by_part_s"}
    one, same, other = (figures(capsys, "--rate", 50, "--seed", seed) for seed in (1, 1, 2))
    assert {k: v for k, v in one.items() if k not in wall} == {k: v for k, v in same.items() if k not in wall}
    assert one["duration"] != other["duration"]
    assert figures(capsys, "--rate", "inf")["duration"] < one["duration"]


def test_a_line_of_each_request_adds_up_to_the_figures(capsys, tmp_path):
    path = tmp_path / "requests.csv"
    found = figures(capsys, "--rate", 400, "--csv", path)
    rows = list(csv.DictReader(path.open()))
    assert [row["request"] for row in rows] == list("123456")
    for row in rows:
        waited = (float(row["first_token_s"]) - float(row["arrival_s"])) * 1e3
        assert float(row["ttft_ms"]) == pytest.approx(waited)
        assert float(row["tpot_ms"]) == pytest.approx(
            (float(row["last_token_s"]) - float(row["first_token_s"])) * 1e3 / 4
        )
    assert sum(float(row["ttft_ms"]) for row in rows) / 6 == pytest.approx(found["mean_ttft_ms"])


def test_a_file_is_read_up_to_a_count(capsys, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,10,3\n0.5,20,1\n0.7,9,9\n")
    code, out, _ = run(capsys, "serve", "--model", "relu-lm", "--requests", f"{path}:2", "--json")
    found = json.loads(out)
    assert code == 0 and (found["completed"], found["total_input"], found["total_output"]) == (2, 30, 4)
    assert found["duration"] == pytest.approx(0.5, abs=0.05)


def test_the_table_tells_percentiles_and_the_capacity(capsys):
    code, out, _ = run(capsys, *RANDOM, "--max-num-seqs", 2, "--capacity", "ttft:4")
    assert code == 0
    assert "capacity" in out and "time to first token" in out and "99 %" in out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--rate", 0), "request_rate: expected"),
        (("--rate", "nan"), "request_rate: expected"),
        (("--burstiness", 2), "--burstiness: expected --rate with it"),
        (("--random-input-len", 0), "--random-input-len: expected it once"),
        (("--max-num-seqs", 0), "--max-num-seqs: expected 1 to"),
        (("--kv-blocks", 1), "request 1: expected at most 1 KV blocks of 16 tokens, found 2"),
        (("--goodput", "ttft"), "--goodput: expected limits in ms"),
        (("--capacity", "itl:3"), "--capacity: expected limits in ms"),
        (("--capacity", "ttft:3", "--rate", 2), "--capacity: expected it or --rate, found both"),
        (("--capacity", "ttft:1e9"), "--capacity: expected limits that some rate does not keep"),
        (("--engine", "none"), "engine 'none': expected one of"),
        (("--system", "none"), "system 'none': expected one of"),
        (("--set", "policy.none=1"), "policy.none: "),
        (("--csv", "/none/x.csv"), "/none/x.csv: expected a place that can be written"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, more, sentence):
    assert refused(capsys, *RANDOM, *more).startswith(f"ndpsim: {sentence}")


def test_options_of_random_requests_are_for_these_alone(capsys, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("input_tokens,output_tokens\n300,3\n")
    arguments = ("serve", "--model", "relu-lm", "--requests", path)
    assert "--random-input-len: expected --requests random" in refused(capsys, *arguments, "--random-input-len", 5)
    assert "context" in refused(capsys, *arguments)  # of 256 tokens
    assert "expected a file of requests, found: no such file" in refused(capsys, *RANDOM[:4], tmp_path / "none.csv")


def test_a_profile_of_a_trace_needs_no_file(capsys):
    code, out, _ = run(capsys, "serve", "--model", "llama2-7b", "--requests", "osc:20", "--rate", 5, "--json")
    found = json.loads(out)
    assert code == 0 and found["completed"] == 20 and 250 < found["total_input"] / 20 < 500
    assert "context" in refused(capsys, "serve", "--model", "relu-lm", "--requests", "osc:20")


def test_a_card_draws_its_power_while_it_is_busy(capsys):
    found = figures(capsys)
    busy = found["device_use"] * found["duration"]  # of steps, the last of which ends behind the last token
    assert found["energy_j"] == pytest.approx(450 * busy, rel=0.2)  # W of an RTX 4090
    assert found["joules_per_output_token"] == pytest.approx(found["energy_j"] / 30)
    dimms = figures(capsys, "--system", "hermes-base", "--max-num-seqs", 2)
    assert set(dimms["energy_by_part"]) == {"dram", "ndp", "dimm_link", "gpu"}
