"""`ndpsim validate serving`: what it prints, and what it refuses."""

import json

from cli_support import run

HEAD = (
    "run,stage,model,tp,max_num_seqs,max_num_batched_tokens,rate,requests,prompt_min,prompt_max,output_asked,"
    "system_prompts,users_each,system_len,ttft_mean_ms"
)


def table(tmp_path, model="meta-llama/Llama-2-7b-hf"):
    path = tmp_path / "runs.csv"
    path.write_text(f"{HEAD}\nmine,0,{model},1,8,256,10,40,60,90,5,2,2,32,30\n")
    return str(path)


def test_further_runs_as_json(capsys, tmp_path):
    code, out, _ = run(capsys, "validate", "serving", "--only-further", "--runs", table(tmp_path), "--json")
    (one,) = json.loads(out)["runs"]
    assert code == 0 and one["run"] == "mine, stage 0" and one["requests"] == 40
    ttft = one["metrics"]["ttft_ms"]
    assert ttft["mean"]["measured"] == 30 and ttft["mean"]["error"] == ttft["mean"]["simulated"] / 30 - 1
    assert ttft["p50"]["measured"] is None and ttft["p50"]["simulated"] > 0
    assert one["mean_abs_error"]["ttft_mean"] == abs(ttft["mean"]["error"])


def test_a_log_and_a_model_of_ones_own_as_a_table(capsys, tmp_path):
    model = tmp_path / "mine.toml"
    from ndpsim.llm.catalog import load_shape

    model.write_text(load_shape("llama2-7b").to_toml())
    line = {"arrival_time": 5.0, "queued_ts": 1.0, "first_token_ts": 2.0, "last_token_ts": 3.0}
    log = tmp_path / "run_requests.jsonl"
    log.write_text(json.dumps({**line, "input_toks": 20, "output_toks": 3}) + "\n")
    arguments = ("--runs", table(tmp_path, "someone/else"), "--requests", str(log), "--card", "a100-80")
    code, out, _ = run(capsys, "validate", "serving", "--only-further", *arguments, "--model-file", str(model))
    assert code == 0 and "mine, stage 0 on A100" in out and "run_requests on A100" in out
    assert "mean absolute error: ttft" in out


def test_what_cannot_be_is_one_sentence(capsys, tmp_path):
    for arguments, sentence in (
        (("--only-further",), "--only-further: expected --runs or --requests, found neither"),
        (("--kv-blocks", "0"), "--kv-blocks: expected at least 1, found 0"),
        (("--runs", str(tmp_path / "none.csv")), "none.csv: expected a readable file"),
        (("--runs", table(tmp_path, "someone/else")), "line 2: model: expected one of"),
    ):
        code, out, err = run(capsys, "validate", "serving", *arguments)
        assert code == 2 and not out and sentence in err and err.count("\n") == 1
