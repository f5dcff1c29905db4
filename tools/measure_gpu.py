"""Measure the kernels of ndpsim's GPU model on a CUDA card with PyTorch, and write them as CSV for `ndpsim gpu fit`.

python tools/measure_gpu.py --card "RTX 4090" -o rtx4090.csv

Times are medians of CUDA events around replayed CUDA graphs, so that they hold no launch; what one plain launch takes
is printed. Products and attention cycle over copies of their weights, keys and values that together are larger than the
L2 (rotation 0, as in a model); row operations repeat one buffer, since the kernel before has just written their input.
What has no kernel of its own in every PyTorch is not measured: RMS norm, rotary embedding and gathered products.
Needs the extra `measure`.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from ndpsim.errors import InputError
from ndpsim.files import appearing, require_place
from ndpsim.gpu.kernels import COLUMNS, DTYPES, kernels

Shape = Mapping[str, int]
Call = Callable[[int], Any]  # run the operation on copy i of its operands

TOKENS: Final = (1, 2, 3, 4, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, 2048,
                 4096)  # fmt: skip
PRODUCTS: Final = ((4096, 4096), (6144, 4096), (12288, 4096), (28672, 4096), (4096, 14336), (11008, 4096),
                   (4096, 11008), (5120, 5120), (27648, 5120), (5120, 13824), (1024, 8192), (8192, 8192),
                   (8192, 28672), (128, 4096), (512, 2048), (2048, 512), (1536, 1536), (32000, 4096))  # fmt: skip
HEADS: Final = ((32, 32, 128), (32, 8, 128), (64, 8, 128), (12, 12, 64))
ROW_OPERATIONS: Final = ("softmax", "layernorm", "activation", "gated_activation", "add", "embedding", "copy")
ROW_WIDTHS: Final = (1024, 4096, 8192, 14336)
VOCABULARY: Final = 32000
COPY_BYTES: Final = tuple(4096 << i for i in range(0, 18, 2))
COLD: Final = 3  # copies of the operands are this many times as large as the L2
LEAST_US: Final = 2000.0  # of one timed replay, so that the events' resolution of half a microsecond does not show
REPLAYS: Final = 9
WARM_UP: Final = 3


class Row(NamedTuple):
    """A kernel to measure."""

    op: str
    dtype: str
    shape: Shape


def grid(dtype: str, most_bytes: float) -> Iterator[Row]:
    """Yield the kernels to measure whose operands take at most so many bytes."""
    rows = [
        *(Row("gemm" if m > 1 else "gemv", dtype, {"m": m, "n": n, "k": k}) for (n, k), m in product(PRODUCTS, TOKENS)),
        *_attention(dtype),
        *(Row(op, dtype, {"m": m, "n": n}) for op, n, m in product(ROW_OPERATIONS, ROW_WIDTHS, TOKENS)),
        *(Row(op, dtype, {"bytes": size, "pageable": pageable})
          for op, pageable, size in product(("h2d", "d2h"), (0, 1), COPY_BYTES)),
    ]  # fmt: skip
    return (row for row in rows if operand_bytes(row) <= most_bytes)


def _attention(dtype: str) -> Iterator[Row]:
    for heads, kv_heads, head_dim in HEADS:
        shape = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
        for decodes, context in product((1, 2, 4, 8, 16, 32, 64, 128), (64, 256, 1000, 2048, 4096, 16384)):
            yield Row("attention", dtype, {**shape, "decodes": decodes, "context": context})
        for prefills, queries in product((1, 4), (16, 64, 128, 256, 512, 1024, 2048, 4096)):
            yield Row("attention", dtype, {**shape, "prefills": prefills, "queries": queries})


def operand_bytes(row: Row) -> float:
    """Return the bytes of what a kernel reads again in each call: weights, keys and values, or its input and output."""
    shape, size = row.shape, DTYPES[row.dtype].activation
    if "k" in shape:
        return size * shape["n"] * shape["k"]
    if row.op == "attention":
        tokens = shape["decodes"] * shape["context"] if "decodes" in shape else shape["prefills"] * shape["queries"]
        return size * 2 * shape["kv_heads"] * shape["head_dim"] * tokens
    return shape["bytes"] if "bytes" in shape else 2 * size * shape["m"] * shape["n"]


def operation(row: Row, torch: Any, device: str, copies: int) -> Call:
    """Return a function that runs the kernel once, on one of `copies` sets of operands."""
    shape = row.shape
    if "bytes" in shape:
        return _transfer(row, torch, device)
    functional = torch.nn.functional
    options = {
        "device": device,
        "dtype": {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[row.dtype],
    }
    if "k" in shape:
        weights = [torch.randn(shape["n"], shape["k"], **options) for _ in range(copies)]
        tokens = torch.randn(shape["m"], shape["k"], **options)
        return lambda i: functional.linear(tokens, weights[i % copies])
    if row.op == "attention":
        causal = "prefills" in shape
        batch, keys = (shape["prefills"], shape["queries"]) if causal else (shape["decodes"], shape["context"])
        queries = torch.randn(batch, shape["heads"], keys if causal else 1, shape["head_dim"], **options)
        size = (2, batch, shape["kv_heads"], keys, shape["head_dim"])
        caches = [torch.randn(*size, **options) for _ in range(copies)]
        attend, grouped = functional.scaled_dot_product_attention, shape["heads"] != shape["kv_heads"]
        return lambda i: attend(queries, *caches[i % copies].unbind(), is_causal=causal, enable_gqa=grouped)
    m, n = shape["m"], shape["n"]
    x, scale = torch.randn(m, n, **options), torch.randn(n, **options)
    if row.op == "gated_activation":  # one kernel in PyTorch, of the same bytes as a SiLU with a gate
        wide = torch.randn(m, 2 * n, **options)
        return lambda _: functional.glu(wide)
    if row.op == "embedding":
        table, tokens = torch.randn(VOCABULARY, n, **options), torch.randint(VOCABULARY, (m,), device=device)
        return lambda _: functional.embedding(tokens, table)
    other = torch.randn(m, n, **options)
    calls: dict[str, Call] = {
        "softmax": lambda _: functional.softmax(x, -1),
        "layernorm": lambda _: functional.layer_norm(x, (n,), scale, scale),
        "activation": lambda _: functional.silu(x),
        "add": lambda _: torch.add(x, other),
        "copy": lambda _: other.copy_(x),
    }
    return calls[row.op]


def _transfer(row: Row, torch: Any, device: str) -> Call:
    there = torch.empty(row.shape["bytes"], dtype=torch.uint8, device=device)
    here = torch.empty(row.shape["bytes"], dtype=torch.uint8, pin_memory=not row.shape["pageable"] and device != "cpu")
    to, source = (there, here) if row.op == "h2d" else (here, there)
    return lambda _: to.copy_(source, non_blocking=True)


def median_us(elapsed_us: Callable[[], float], calls: int) -> float:
    """Return the median time of a call in microseconds: `elapsed_us` runs and times `calls` of them."""
    for _ in range(WARM_UP):
        elapsed_us()
    return statistics.median(elapsed_us() for _ in range(REPLAYS)) / calls


def copies_of(row: Row, l2_bytes: float) -> int:
    """Return over how many copies of its operands a kernel cycles, so that none is still in the L2."""
    if row.op in ROW_OPERATIONS or "bytes" in row.shape:
        return 1
    return 1 + math.ceil(COLD * l2_bytes / operand_bytes(row))


def _run(call: Call, calls: int) -> None:
    for i in range(calls):
        call(i)


class Cuda:
    """A CUDA card as a clock for operations."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        properties = torch.cuda.get_device_properties(0)
        self.name, self.l2_bytes, self.memory = properties.name, properties.L2_cache_size, properties.total_memory

    def microseconds(self, row: Row) -> float:
        """Return the time of a kernel without its launch; of a transfer, with it."""
        copies = copies_of(row, self.l2_bytes)
        call = operation(row, self.torch, "cuda", copies)
        for _ in range(2):  # the first call chooses a kernel
            once = self._elapsed_us(lambda: _run(call, copies)) / copies
        calls = copies * max(1, round(LEAST_US / once / copies))
        if "bytes" in row.shape:
            return median_us(lambda: self._elapsed_us(lambda: _run(call, calls)), calls)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            _run(call, calls)
        return median_us(lambda: self._elapsed_us(graph.replay), calls)

    def launch_us(self) -> float:
        """Return what the host needs for a plain launch of a kernel that takes next to no time."""
        x = self.torch.zeros(1, device="cuda")

        def elapsed() -> float:
            self.torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(1000):
                x.add_(1)
            self.torch.cuda.synchronize()
            return (time.perf_counter() - start) * 1e6

        return median_us(elapsed, 1000)

    def _elapsed_us(self, run: Callable[[], Any]) -> float:
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3


def write_csv(path: Path, rows: list[tuple[Row, float]]) -> None:
    """Write kernels and their microseconds as `ndpsim.gpu.measured` reads them. Raises InputError."""
    kernels([(row.op, row.dtype, row.shape) for row, _ in rows])
    used = [column for column in COLUMNS if any(column in row.shape for row, _ in rows)]
    with appearing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["op", "dtype", *used, "us"])
        for row, us in rows:
            table.writerow([row.op, row.dtype, *(row.shape.get(column, "") for column in used), f"{us:.5g}"])


def open_card() -> Cuda:
    """Return the CUDA card, or end the program with one sentence that says what is missing."""
    try:
        import torch
    except ImportError:
        sys.exit("measure_gpu: expected PyTorch, found none: install ndpsim with the extra 'measure'")
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 5):
        sys.exit(f"measure_gpu: expected PyTorch 2.5 or later, found {torch.__version__}")
    if not torch.cuda.is_available():
        sys.exit("measure_gpu: expected a CUDA card that PyTorch can use, found none")
    return Cuda(torch)


def main() -> None:
    """Parse the arguments, measure and write."""
    parser = argparse.ArgumentParser(description="Measure GPU kernels with PyTorch for `ndpsim gpu fit`.")
    parser.add_argument("--card", required=True, help="name under which the card is to be known")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="bf16")
    given = parser.parse_args()
    try:
        require_place(given.output)
    except InputError as error:
        sys.exit(f"measure_gpu: {error}")
    cuda = open_card()
    print(f"{given.card}: {cuda.name}, a plain launch takes {cuda.launch_us():.2f} us", flush=True)
    measured = []
    for row in grid(given.dtype, cuda.memory / 8):
        measured.append((row, cuda.microseconds(row)))
        print(f"\r{len(measured)} kernels", end="", flush=True)
    write_csv(given.output, measured)
    print(f"\n{given.output}: {len(measured)} kernels")


if __name__ == "__main__":
    main()
