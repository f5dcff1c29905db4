"""Foreign tables become ours: names, shapes and units, each kernel once, and the same bytes every time."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from ndpsim.gpu.card import cards_dir

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
import pandas as pd

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "gpu"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")


def rows_of(tables):
    """The rows of the only table, as {column: value} without the columns that a row does not use."""
    ((name, table),) = tables
    return name, [{k: v for k, v in row.items() if v == v} for row in table.to_dict("records")]


def test_llmservingsim(tmp_path: Path):
    from import_gpu_measurements import llmservingsim

    stem = tmp_path / "lss_rtx4090_llama31-8b_"
    Path(f"{stem}dense.csv").write_text(
        "layer,tokens,time_us\nqkv_proj,1,54.9\nqkv_proj,8,56\nact_fn,2,3\nlayernorm,4,2\nfinal_layernorm,4,3\n"
        "embedding,4,5\nrotary_emb,4,6\n"
    )
    Path(f"{stem}per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,3,1100\nsampler,3,25\n")
    Path(f"{stem}attention.csv").write_text(
        "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,0,2,16,9\n64,32,0,0,20\n64,32,2,16,30\n0,0,1,16,8\n"
    )
    name, rows = rows_of(llmservingsim(tmp_path))
    assert name == "rtx4090-llmservingsim"
    assert [row for row in rows if row["op"] in ("gemm", "gemv")] == [
        {"op": "gemm", "dtype": "bf16", "m": 3, "n": 128256, "k": 4096, "us": 1100},
        {"op": "gemv", "dtype": "bf16", "m": 1, "n": 6144, "k": 4096, "us": 54.9},
        {"op": "gemm", "dtype": "bf16", "m": 8, "n": 6144, "k": 4096, "us": 56},
    ]
    others = [row for row in rows if row["op"] not in ("gemm", "gemv", "attention")]
    assert {row["op"]: (row["m"], row["n"], row["us"]) for row in others} == {
        "gated_activation": (2, 14336, 3), "rmsnorm": (4, 4096, 2), "embedding": (4, 4096, 5), "rotary": (4, 5120, 6),
    }  # fmt: skip
    heads = {"op": "attention", "dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128}
    prefill, decode = {"prefills": 1, "queries": 64, "past": 32}, {"decodes": 2, "context": 17}
    none = dict.fromkeys([*prefill, *decode], 0)
    assert [row for row in rows if row["op"] == "attention"] == [
        {**heads, **none, **decode, "rotation": 0, "us": 9},
        {**heads, **none, **prefill, "rotation": 1, "us": 20},
        {**heads, **prefill, **decode, "rotation": 0, "us": 30},
        {**heads, **none, **decode, "decodes": 1, "rotation": 1, "us": 8},
    ]


def test_vidur(tmp_path: Path):
    from import_gpu_measurements import vidur

    names = ("emb", "input_layernorm", "attn_pre_proj", "attn_rope", "attn_post_proj", "post_attention_layernorm",
             "mlp_up_proj", "mlp_act", "mlp_down_proj", "add")  # fmt: skip
    shape = {"n_head": 8, "n_kv_head": 4, "n_embd": 64, "n_expanded_embd": 96, "num_tokens": 5}
    times = {f"time_stats.{name}.median": 0.011 + i / 1000 for i, name in enumerate(names)}
    tables = [{**times, **shape, "num_tensor_parallel_workers": gpus} for gpus in (1, 2)]
    tables[0]["time_stats.add.median"] = 0.009  # below what its clock resolves
    pd.DataFrame(tables).to_csv(tmp_path / "vidur_a100_x_mlp.csv", index=False)
    large, small = (table.to_dict("records") for _, table in sorted(vidur(tmp_path)))
    rows = [{k: v for k, v in row.items() if v == v} for row in (*large, *small)]
    assert {row["op"] for row in large} == {"gemm"} and {row["dtype"] for row in rows} == {"fp16"}
    found = sorted((row["op"], row["m"], row["n"], row.get("k", 0), round(row["us"])) for row in rows)
    assert found == sorted(
        [
            ("embedding", 5, 64, 0, 11),
            ("rmsnorm", 5, 64, 0, 12), ("rmsnorm", 5, 64, 0, 12),
            ("gemm", 5, (8 + 2 * 4) * 8, 64, 13), ("gemm", 5, (4 + 2 * 2) * 8, 64, 13),
            ("rotary", 5, (8 + 4) * 8, 0, 14), ("rotary", 5, (4 + 2) * 8, 0, 14),
            ("gemm", 5, 64, 64, 15), ("gemm", 5, 64, 32, 15),
            ("rmsnorm", 5, 64, 0, 16), ("rmsnorm", 5, 64, 0, 16),
            ("gemm", 5, 192, 64, 17), ("gemm", 5, 96, 64, 17),
            ("gated_activation", 5, 96, 0, 18), ("gated_activation", 5, 48, 0, 18),
            ("gemm", 5, 64, 96, 19), ("gemm", 5, 64, 48, 19),
            ("add", 5, 64, 0, 20),
        ]
    )  # fmt: skip


def test_llmcompass(tmp_path: Path):
    from import_gpu_measurements import llmcompass

    # 10^9 elements a second: 40 us of launch, then 240 us and 100 us, of which the last is too near to the launch.
    (tmp_path / "llmcompass_gelu_A100.csv").write_text(f"1000, {1000 / 40e3}\n240000000, 1000\n50000000, 500\n")
    (tmp_path / "llmcompass_matmul_A100.csv").write_text(
        "8, 8, 8, 0.0300ms, 1Tflops\n64, 128, 256, 0.2000ms, 1Tflops\n"
    )
    name, rows = rows_of(llmcompass(tmp_path))
    assert name == "a100-80-llmcompass"
    assert rows[0] == {"op": "activation", "dtype": "fp16", "m": 1, "n": 240000000, "us": pytest.approx(200)}
    assert rows[1] == {"op": "gemm", "dtype": "fp16", "m": 64, "n": 256, "k": 128, "us": pytest.approx(170)}
    assert len(rows) == 2


def test_aiconfigurator(tmp_path: Path):
    from import_gpu_measurements import aiconfigurator

    def write(kind, framework, version, name, table):
        folder = tmp_path / "wheel" / "systems" / "data" / "h100_sxm" / kind / framework / version
        folder.mkdir(parents=True)
        pd.DataFrame(table).to_parquet(folder / f"{name}_perf.parquet")

    product = {"m": 2, "n": 3, "k": 4}
    write("gemm", "vllm", "0.9", "gemm", [{"gemm_dtype": "bfloat16", **product, "latency": 9.0}])  # an older version
    write(
        "gemm",
        "vllm",
        "0.10",
        "gemm",
        [{"gemm_dtype": kind, **product, "latency": 0.5} for kind in ("bfloat16", "fp8")],
    )
    attention = {"num_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "attn_dtype": "bfloat16", "window_size": 0,
                 "kv_cache_dtype": "bfloat16", "batch_size": 4, "latency": 0.25}  # fmt: skip
    decode = {**attention, "op_name": "generation_attention", "isl": 1, "step": 63}
    others = [{**decode, **other} for other in ({"head_dim": 256}, {"window_size": 128}, {"kv_cache_dtype": "fp8"})]
    write("attention", "vllm", "0.10", "generation_attention", [decode, *others])
    context = {**attention, "op_name": "context_attention", "isl": 32, "step": 0}
    folder = tmp_path / "wheel/systems/data/h100_sxm/attention/vllm/0.10"
    pd.DataFrame([context]).to_parquet(folder / "context_attention_perf.parquet")
    write("comm", "vllm", "0.10", "custom_allreduce", [
        {"backend": f"vllm_{mode}", "message_size": 128, "num_gpus": 4, "latency": 0.005} for mode in ("graph", "eager")
    ])  # fmt: skip
    name, rows = rows_of(aiconfigurator(tmp_path))
    assert name == "h100-aiconfigurator"
    shape = {"op": "attention", "dtype": "bf16", "heads": 8, "kv_heads": 2, "head_dim": 64, "rotation": 1, "us": 250}
    assert rows == [
        {"op": "gemm", "dtype": "bf16", **product, "rotation": 6, "us": 500},
        {**shape, "prefills": 0, "queries": 0, "past": 0, "decodes": 4, "context": 64},
        {**shape, "prefills": 4, "queries": 32, "past": 0, "decodes": 0, "context": 0},
        {"op": "all_reduce", "dtype": "bf16", "bytes": 256, "gpus": 4, "us": 5},
    ]


def test_each_shape_appears_once_and_at_most_so_many_of_a_kind(monkeypatch: pytest.MonkeyPatch):
    import import_gpu_measurements

    monkeypatch.setattr(import_gpu_measurements, "ROWS", 5)
    rows = pd.DataFrame([("add", "fp16", m, 8, us) for m in range(1, 21) for us in (1.0, 2.0, 9.0)])
    rows.columns = ["op", "dtype", "m", "n", "us"]
    found = import_gpu_measurements.choose(rows)
    assert len(found) == 5 and set(found.us) == {2.0} and found.m.is_monotonic_increasing
    again = import_gpu_measurements.choose(rows.sample(frac=1, random_state=1))
    assert found.m.tolist() == again.m.tolist()
    assert import_gpu_measurements.csv_bytes(found) == import_gpu_measurements.csv_bytes(again)


def test_times_have_four_digits_and_absent_columns_are_empty():
    from import_gpu_measurements import choose, csv_bytes

    rows = pd.DataFrame([
        {"op": "gemm", "dtype": "fp16", "m": 2, "n": 3, "k": 4, "us": 36476.4},
        {"op": "add", "dtype": "fp16", "m": 2, "n": 3, "us": 0.123456},
    ])  # fmt: skip
    lines = gzip.decompress(csv_bytes(choose(rows))).decode().splitlines()
    assert lines == ["op,dtype,m,n,k,us", "add,fp16,2,3,,0.1235", "gemm,fp16,2,3,4,36480"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the tables of others are not here")
def test_what_ships_is_what_the_tool_makes_of_the_published_tables(tmp_path: Path):
    command = [sys.executable, ROOT / "tools" / "import_gpu_measurements.py", SHARED, "-o", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == [
        "a100-80-llmcompass.csv.gz",
        "a100-80-vidur-rows.csv.gz",
        "a100-80-vidur.csv.gz",
        "rtx4090-llmservingsim.csv.gz",
    ]
    for name in made:
        shipped = (cards_dir() / "measured" / name).read_bytes()
        assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress(shipped)


def test_folders_without_tables_are_refused(tmp_path: Path):
    command = [sys.executable, ROOT / "tools" / "import_gpu_measurements.py", tmp_path, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "expected folders with tables" in done.stderr and not (tmp_path / "out").exists()
