"""Convert the published measurements of GPU kernels that ndpsim is fitted to and judged by into its own CSV.

python tools/import_gpu_measurements.py FOLDER... -o workloads/hardware/gpus/measured

A folder is searched for the tables of LLMServingSim (lss_*.csv), Vidur (vidur_*.csv) and LLMCompass (llmcompass_*.csv),
and for those of aiconfigurator (*_perf.parquet below systems/data of the unpacked wheel). Needs the extra `gpu-data`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pandas as pd

from ndpsim.gpu.kernels import COLUMNS
from ndpsim.gpu.measured import read_measurements

ROWS: Final = 3000
"""At most so many rows of a file, operation, dtype and kind of attention: those whose shapes have the lowest hash."""

Frame: TypeAlias = pd.DataFrame
Tables: TypeAlias = Iterator[tuple[str, Frame]]  # file name, rows
LLAMA_8B: Final = {"qkv_proj": (6144, 4096), "o_proj": (4096, 4096), "gate_up_proj": (28672, 4096),
                   "down_proj": (4096, 14336), "lm_head": (128256, 4096)}  # fmt: skip
VIDUR_FLOOR_US: Final = 10  # its clock ticks in microseconds: shorter times are off by more than 5 %
LLMCOMPASS_FLOOR: Final = 4  # its clock runs on the host: times below so many times the smallest are mostly launch


def llmservingsim(folder: Path) -> Tables:
    """Yield the RTX 4090 table: Llama-3.1-8B in bf16 under vLLM, kernel times."""
    for path in folder.glob("lss_rtx4090_llama31-8b_dense.csv"):
        sequences = pd.read_csv(path.with_name(path.name.replace("dense", "per_sequence")))
        layers = pd.concat([pd.read_csv(path), sequences.rename(columns={"sequences": "tokens"})])
        rows = {"act_fn": ("gated_activation", 14336), "rotary_emb": ("rotary", (32 + 8) * 128),
                "embedding": ("embedding", 4096), "layernorm": ("rmsnorm", 4096)}  # fmt: skip
        found = []
        for layer, table in layers.groupby("layer"):
            shape = {"dtype": "bf16", "m": table.tokens, "us": table.time_us}
            if layer in LLAMA_8B:
                found.append(_gemm(Frame({**shape, "n": LLAMA_8B[layer][0], "k": LLAMA_8B[layer][1]})))
            elif layer in rows:
                op, n = rows[layer]
                # vLLM fuses the addition into the norm; the profile's tokens are all alike.
                more = {"rmsnorm": {"residual": 1}, "embedding": {"rotation": 1}}.get(op, {})
                found.append(Frame({"op": op, **shape, "n": n, **more}))
        attention = pd.read_csv(path.with_name(path.name.replace("dense", "attention")))
        heads = {"op": "attention", "dtype": "bf16", "heads": 32, "kv_heads": 8, "head_dim": 128}
        prefill, decode = attention.prefill_chunk > 0, attention.n_decode > 0
        parts = {"prefills": prefill.astype(int), "queries": attention.prefill_chunk, "decodes": attention.n_decode,
                 "past": attention.kv_prefill.where(prefill, 0), "context": (attention.kv_decode + 1).where(decode, 0),
                 "rotation": (attention.n_decode < 2).astype(int), "us": attention.time_us}  # fmt: skip
        yield "rtx4090-llmservingsim", pd.concat([*found, Frame({**heads, **parts})])


def vidur(folder: Path) -> Tables:
    """Yield the A100 tables: Llama-2 in fp16, the medians of kernel times in whole microseconds."""
    found = []
    for path in folder.glob("vidur_a100_*_mlp.csv"):
        table = pd.read_csv(path)
        m, gpus, hidden = table.num_tokens, table.num_tensor_parallel_workers, table.n_embd
        head_dim, heads, kv_heads = (
            hidden // table.n_head,
            table.n_head // gpus,
            (table.n_kv_head // gpus).clip(lower=1),
        )
        ffn = table.n_expanded_embd // gpus
        products = {"attn_pre_proj": ((heads + 2 * kv_heads) * head_dim, hidden), "mlp_up_proj": (2 * ffn, hidden),
                    "attn_post_proj": (hidden, heads * head_dim), "mlp_down_proj": (hidden, ffn)}  # fmt: skip
        rows = {"input_layernorm": ("rmsnorm", hidden), "post_attention_layernorm": ("rmsnorm", hidden),
                "add": ("add", hidden), "attn_rope": ("rotary", (heads + kv_heads) * head_dim),
                "mlp_act": ("gated_activation", ffn)}  # fmt: skip
        for name, (n, k) in products.items():
            found.append(_gemm(Frame({"dtype": "fp16", "m": m, "n": n, "k": k, "us": _vidur_us(table, name)})))
        for name, (op, n) in rows.items():
            found.append(Frame({"op": op, "dtype": "fp16", "m": m, "n": n, "us": _vidur_us(table, name)}))
        whole = table[gpus == 1]  # more GPUs hold parts of the vocabulary and mask the rest with kernels of their own
        found.append(Frame({"op": "embedding", "dtype": "fp16", "m": whole.num_tokens, "n": whole.n_embd,
                            "us": _vidur_us(whole, "emb")}))  # fmt: skip
    for path in folder.glob("vidur_a100_attention.csv"):
        table = pd.read_csv(path)
        heads = table.n_q_head // table.num_tensor_parallel_workers
        kv_heads = table.n_kv_head // table.num_tensor_parallel_workers
        shape = {"op": "attention", "dtype": "fp16", "heads": heads, "kv_heads": kv_heads,
                 "head_dim": table.n_embd // table.n_q_head, "rotation": 1}  # fmt: skip
        decode = {"decodes": table.batch_size, "context": table.kv_cache_size + 1}
        prefill = {"prefills": table.batch_size, "queries": table.prefill_chunk_size, "past": table.kv_cache_size}
        found.append(Frame({**shape, **decode, "us": _vidur_us(table, "attn_decode")})[~table.is_prefill])
        found.append(Frame({**shape, **prefill, "us": _vidur_us(table, "attn_prefill")})[table.is_prefill])
    if found:
        merged = pd.concat(found)
        merged = merged[merged.us >= VIDUR_FLOOR_US]
        large = merged.op.isin(["gemm", "gemv", "attention"])
        yield "a100-80-vidur", merged[large]
        yield "a100-80-vidur-rows", merged[~large]


def _vidur_us(table: Frame, name: str) -> pd.Series:
    return table[f"time_stats.{name}.median"] * 1e3


def llmcompass(folder: Path) -> Tables:
    """Yield the A100 tables in fp16: the host's clock around one call, less that of the smallest shape."""
    found = []
    for name, op in (("softmax", "softmax"), ("layernorm", "layernorm"), ("gelu", "activation"), ("matmul", "gemm")):
        for path in folder.glob(f"llmcompass_{name}_A100.csv"):
            table = pd.read_csv(path, header=None, skipinitialspace=True)
            if op == "gemm":  # m, k, n, milliseconds, rate
                shape = {"m": table[0], "n": table[2], "k": table[1]}
                us = table[3].str.removesuffix("ms").astype(float) * 1e3
            else:  # elements, or rows and width, and 10^9 elements a second
                elements = table[0] if op == "activation" else table[0] * table[1]
                shape = {"m": 1, "n": table[0]} if op == "activation" else {"m": table[0], "n": table[1]}
                us = elements / table[table.columns[-1]] / 1e3
            rows = Frame({"op": op, "dtype": "fp16", **shape, "us": us - us.min()})
            found.append(rows[us >= LLMCOMPASS_FLOOR * us.min()])
    if found:
        yield "a100-80-llmcompass", pd.concat(found)


def aiconfigurator(folder: Path) -> Tables:
    """Yield the data centre cards: matrix products, attention and all-reduce of vLLM, 8-bit weights of TensorRT-LLM."""
    cards = {"a100_sxm": "a100-80", "h100_sxm": "h100", "h200_sxm": "h200", "l40s": "l40s"}
    for system, card in cards.items():
        found = []
        for framework, kind, convert in _AICONFIGURATOR:
            versions = folder.glob(f"**/systems/data/{system}/{kind[0]}/{framework}/*/{kind[1]}_perf.parquet")
            found += [convert(pd.read_parquet(path)) for path in sorted(versions, key=_version)[-1:]]
        if found:
            yield f"{card}-aiconfigurator", pd.concat(found)


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parent.name)]


def _aic_gemm(table: Frame) -> Frame:
    table = table[table.gemm_dtype == "bfloat16"]
    rows = Frame({"dtype": "bf16", "m": table.m, "n": table.n, "k": table.k, "rotation": 6})
    return _gemm(rows.assign(us=table.latency * 1e3))


def _aic_attention(table: Frame) -> Frame:
    if "window_size" in table:
        table = table[table.window_size == 0]
    table = table[(table.kv_cache_dtype == "bfloat16") & (table.attn_dtype == "bfloat16")]
    table = table[table.head_dim.isin([64, 128])]
    rows = Frame({"op": "attention", "dtype": "bf16", "heads": table.num_heads, "kv_heads": table.num_key_value_heads,
                  "head_dim": table.head_dim, "rotation": 1, "us": table.latency * 1e3})  # fmt: skip
    decode = table.op_name == "generation_attention"
    rows["prefills"], rows["decodes"] = table.batch_size.where(~decode, 0), table.batch_size.where(decode, 0)
    rows["queries"], rows["past"] = table.isl.where(~decode, 0), table.step.where(~decode, 0)
    rows["context"] = (table.isl + table.step).where(decode, 0)
    return rows


def _aic_all_reduce(table: Frame) -> Frame:
    table = table[table.backend == "vllm_graph"]
    bytes_ = table.message_size * 2  # a size counts elements of bfloat16
    return Frame(
        {"op": "all_reduce", "dtype": "bf16", "bytes": bytes_, "gpus": table.num_gpus, "us": table.latency * 1e3}
    )


_AICONFIGURATOR: Final[tuple[tuple[str, tuple[str, str], Callable[[Frame], Frame]], ...]] = (
    ("vllm", ("gemm", "gemm"), _aic_gemm),
    ("vllm", ("attention", "generation_attention"), _aic_attention),
    ("vllm", ("attention", "context_attention"), _aic_attention),
    ("vllm", ("comm", "custom_allreduce"), _aic_all_reduce),
)


def _gemm(rows: Frame) -> Frame:
    return rows.assign(op=(rows.m == 1).map({True: "gemv", False: "gemm"}))


def choose(rows: Frame) -> Frame:
    """Merge what was measured twice by the median, keep `ROWS` of each kind, and bring all into one order."""
    shape = [column for column in COLUMNS if column in rows]
    keys = ["op", "dtype", *shape]
    rows = rows.assign(**{column: rows[column].fillna(-1).astype("int64") for column in shape})
    rows = rows[rows.us > 0].groupby(keys, as_index=False).us.median().sort_values(keys)
    kind = rows.op.copy()
    for column in ("prefills", "decodes"):
        if column in rows:
            kind += (rows[column] > 0).astype(str)
    text = rows[keys].astype(str).agg(",".join, axis=1)
    rank = text.map(lambda line: hashlib.blake2b(line.encode()).hexdigest()).groupby([kind, rows.dtype]).rank()
    return rows[rank <= ROWS]


def csv_bytes(rows: Frame) -> bytes:
    """Return the rows as a gzipped CSV file: the same bytes for the same rows, times to four digits."""
    used = ["op", "dtype", *(column for column in COLUMNS if column in rows and (rows[column] > 0).any())]
    cells = rows[used].astype(str).replace("-1", "")
    cells["us"] = rows.us.map(lambda us: f"{float(f'{us:.4g}'):.10g}")
    return gzip.compress(cells.to_csv(index=False, lineterminator="\n").encode(), 9, mtime=0)


def main() -> None:
    """Parse the arguments, convert and write."""
    parser = argparse.ArgumentParser(description="Convert published measurements of GPU kernels into ndpsim's CSV.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the files")
    given = parser.parse_args()
    found: dict[str, list[Frame]] = {}
    for folder in given.folders:
        for origin in (llmservingsim, vidur, llmcompass, aiconfigurator):
            for name, rows in origin(folder):
                found.setdefault(name, []).append(rows)
    if not found:
        parser.error("expected folders with tables of LLMServingSim, Vidur, LLMCompass or aiconfigurator, found none")
    given.output.mkdir(parents=True, exist_ok=True)
    for name, tables in sorted(found.items()):
        path = given.output / f"{name}.csv.gz"
        path.write_bytes(csv_bytes(choose(pd.concat(tables))))
        print(f"{path}: {len(read_measurements(path)[0])} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
