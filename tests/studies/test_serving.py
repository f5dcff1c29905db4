"""Measured serving runs: what is read of them, what is compared, and the runs that ship."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ndpsim.data import workloads_dir
from ndpsim.errors import InputError
from ndpsim.serving.workload import PS_PER_S
from ndpsim.studies.serving import replay
from ndpsim.studies.serving_logs import log_case
from ndpsim.studies.serving_runs import logged_case, measured_serving, model_of, request_times, statistics
from ndpsim.studies.serving_stages import stage_cases

HEAD = (
    "run,stage,model,tp,max_num_seqs,max_num_batched_tokens,rate,requests,prompt_min,prompt_max,output_asked,"
    "system_prompts,users_each,system_len,e2e_mean_ms,ttft_mean_ms"
)
LINE = "mine,0,meta-llama/Llama-2-7b-hf,1,8,256,10,40,60,90,5,2,2,32,,"
LOG = {
    "request_id": "bench-0", "input_toks": 20, "output_toks": 3, "arrival_time": 1000.5, "queued_ts": 7.6,
    "scheduled_ts": 7.7, "first_token_ts": 8.0, "last_token_ts": 9.0,
}  # fmt: skip


def table(tmp_path, *lines, head=HEAD):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


def stages(tmp_path, *lines, **more):
    return stage_cases(table(tmp_path, *lines), measured_serving().stages, **more)


def log(tmp_path, *rows, name="lss_rtx4090_requests.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(json.dumps({**LOG, **row}) for row in rows) + "\n")
    return path


def test_logged_runs_agree_with_what_was_measured_within_their_aims():
    for run in measured_serving().run:
        done = logged_case(run).serve()
        errors = done.errors()
        assert all(errors[metric] <= aim for metric, aim in run.aim.items()), (run.name, errors)
        assert len(done.served.arrival) == 300


def test_the_run_of_the_rtx_4090_is_as_the_facts_say():
    measured = logged_case(measured_serving().run[0]).measured
    assert [round(measured["ttft"][name] / 1e3, 1) for name in ("mean", "p50", "p90", "p99")] == [
        65.5,
        60.1,
        121.2,
        137.4,
    ]
    assert [round(measured["tpot"][name], 1) for name in ("mean", "p50", "p90", "p99")] == [32.4, 30.8, 38.1, 56.0]


def test_a_stage_at_light_load_agrees_and_finds_its_prompts_cached():
    shipped = measured_serving().stages
    case = stage_cases(workloads_dir() / "studies" / shipped.table, shipped)[1]
    done = case.serve()
    assert case.name == "llama-2-7b-tp1-codegen, stage 1" and case.skip == 44
    assert done.errors()["e2e"] < 0.04 and done.errors()["ttft_mean"] < 0.15
    assert done.record()["prefix_hit_rate"] > 0.97


def test_a_stage_has_its_requests_prompts_and_prefixes(tmp_path):
    (case,) = stages(tmp_path, LINE)
    work = case.workload
    assert (case.model, case.card, case.tp, case.skip) == ("llama2-7b", "h100", 1, 0)
    assert (case.max_num_seqs, case.max_num_batched_tokens) == (8, 256)
    assert work.prompts[:5].tolist() == [60, 70, 80, 90, 60] and set(work.outputs) == {5}
    assert work.arrivals[-1] == 4 * PS_PER_S and len(work) == 40
    first, second, third, _, again = (
        work.prefixes[begin:end].tolist()
        for begin, end in zip(work.prefix_starts[:5], work.prefix_starts[1:6], strict=True)
    )
    assert first == again and first[:2] == second[:2]  # a system prompt of 32 tokens for two users
    assert not set(first[2:]) & set(second) and not set(first) & set(third)


def test_a_later_stage_fills_the_cache_first_and_does_not_count_that(tmp_path):
    (case,) = stages(tmp_path, LINE.replace("mine,0", "mine,1"))
    assert case.skip == 4 and case.workload.prompts[:4].tolist() == [60, 70, 80, 90]
    assert set(case.workload.outputs[:4]) == {1} and len(case.workload) == 44
    assert case.workload.arrivals[4] > 60 * PS_PER_S


def test_what_was_not_measured_is_simulated_and_listed_with_null(tmp_path):
    (case,) = stages(tmp_path, LINE)
    cells = case.serve().record()["metrics"]["e2e_ms"]
    assert {cell["measured"] for cell in cells.values()} == {cell["error"] for cell in cells.values()} == {None}
    assert all(cell["simulated"] > 0 for cell in cells.values())


def test_what_was_measured_stands_beside_it(tmp_path):
    (case,) = stages(tmp_path, LINE[:-2] + ",2000,100")
    assert case.measured["tpot"] == {"mean": (2000 - 100) / 4}
    done = case.serve()
    cell = done.metrics()["e2e"]["mean"]
    assert cell["error"] == pytest.approx(cell["simulated"] / 2000 - 1)
    assert done.errors()["e2e"] == abs(cell["error"])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("mine,0", ",0", "line 2: run: expected a value, found none"),
        (",10,40,", ",-1,40,", "line 2: rate: expected 0.001 to 100000, found -1"),
        (",1,8,", ",1,8.5,", "line 2: max_num_seqs: expected an integer, found 8.5"),
        ("Llama-2-7b-hf", "Unheard-of-3b", "line 2: model: expected one of .* or a --model-file"),
        (",60,90,", ",60,50,", "line 2: prompt_max: expected 60 to 1048576, found 50"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, old, new, sentence):
    with pytest.raises(InputError, match=sentence):
        stages(tmp_path, LINE.replace(old, new))


def test_a_wrong_table_is_named(tmp_path):
    definition = measured_serving().stages
    for path, sentence in (
        (table(tmp_path, LINE, head=HEAD.replace("rate,", "")), "expected the columns .*, found no rate"),
        (tmp_path / "none.csv", "expected a readable file"),
    ):
        with pytest.raises(InputError, match=sentence):
            stage_cases(path, definition)
    with pytest.raises(InputError, match="expected at least one line"):
        stages(tmp_path)
    with pytest.raises(InputError, match="line 2: expected 16 cells"):
        stages(tmp_path, "mine,0")


def test_a_model_is_known_by_its_repository_and_another_comes_from_a_file(tmp_path):
    assert model_of("meta-llama/Llama-3.1-8B", None, "here") == "llama3.1-8b"
    assert model_of("meta-llama/Llama-2-70b-hf", None, "here") == "llama2-70b"
    assert model_of("someone/else", tmp_path / "x.toml", "here") == str(tmp_path / "x.toml")


def test_a_log_is_put_in_order_and_on_one_clock(tmp_path):
    late = {"arrival_time": 1001.5, "queued_ts": 8.7, "first_token_ts": 9.6, "last_token_ts": 9.7, "input_toks": 30}
    case = log_case(log(tmp_path, late, {}), None, None, 300)
    assert case.workload.prompts.tolist() == [20, 30] and case.workload.arrivals.tolist() == [0, PS_PER_S]
    assert case.card == "rtx4090" and case.max_num_seqs == 256 and case.kv_blocks == 300
    # queued 0.1 s behind its arrival at the soonest: 7.6 is 1000.5
    assert case.measured["ttft"]["mean"] == pytest.approx((400 + 1000) / 2)
    assert case.measured["e2e"]["p99"] == pytest.approx(1400 - 0.01 * 300)


def test_a_log_takes_model_and_limits_from_the_file_beside_it(tmp_path):
    meta = {"model": "meta-llama/Llama-2-7b-hf", "engine_kwargs": {"max_num_seqs": 7, "tensor_parallel_size": 2}}
    (tmp_path / "lss_rtx4090_meta.json").write_text(json.dumps(meta))
    case = log_case(log(tmp_path, {}), None, "a100-80", None)
    assert (case.model, case.card, case.tp, case.max_num_seqs) == ("llama2-7b", "a100-80", 2, 7)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"input_toks": 0}, "line 1: input_toks: expected 1 to 1048576, found 0"),
        ({"arrival_time": None}, "line 1: arrival_time: expected seconds, found None"),
    ],
)
def test_a_wrong_log_is_named(tmp_path, row, sentence):
    with pytest.raises(InputError, match=sentence):
        log_case(log(tmp_path, row), None, None, None)
    with pytest.raises(InputError, match="expected the name of a card in its name, or --card"):
        log_case(log(tmp_path, {}, name="some_requests.jsonl"), None, None, None)


def test_statistics_are_mean_and_percentiles_of_what_there_is():
    assert statistics(np.arange(101.0)) == {"mean": 50, "p50": 50, "p90": 90, "p99": 99}
    assert statistics(np.zeros(0)) == {}
    times = request_times(np.array([1.0, 1]), np.array([2.0, 2]), np.array([2.0, 4]), np.array([1, 5]))
    assert times["ttft"].tolist() == [1000, 1000] and times["tpot"].tolist() == [500]
    assert times["e2e"].tolist() == [1000, 3000]


def test_the_study_is_the_first_run_with_any_time_between_steps():
    assert replay().error == pytest.approx(0.005, abs=0.01)
    fast, slow = replay(engine_us=0.0), replay(engine_us=5000.0)
    assert fast.simulated_ms.mean() < replay().simulated_ms.mean() < slow.simulated_ms.mean() - 3
    assert replay(card="l40s").origin.startswith("L40S")


def test_more_kv_memory_is_never_worse_on_the_measured_requests():
    case = logged_case(measured_serving().run[0])
    ends = [replace(case, kv_blocks=blocks).serve().served.last_token.mean() for blocks in (1500, 2588, 3300)]
    assert ends == sorted(ends, reverse=True)
