"""The tool that measures a card: what it measures, how it times, what it writes; without a card, one sentence."""

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from ndpsim.gpu.kernels import kernels
from ndpsim.gpu.measured import read_measurements

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOLS)


def test_the_grid_holds_sound_kernels_each_once_and_enough_of_every_kind_to_fit():
    from measure_gpu import grid

    rows = [(row.op, row.dtype, row.shape) for row in grid("bf16", 3e9)]
    assert len(kernels(rows)) == len(rows) == len({(op, *sorted(shape.items())) for op, _, shape in rows})
    kinds = Counter(op for op, _, _ in rows)
    assert kinds["gemv"] == 18 and kinds["gemm"] > 400 and kinds["attention"] > 200
    assert all(kinds[op] == 96 for op in ("softmax", "layernorm", "activation", "gated_activation", "add", "copy"))
    decodes = [shape for op, _, shape in rows if op == "attention" and "decodes" in shape]
    assert any(shape["heads"] > shape["kv_heads"] for shape in decodes) and len(decodes) > 150
    assert {(op, shape["pageable"]) for op, _, shape in rows if "bytes" in shape} == {
        (op, pageable) for op in ("h2d", "d2h") for pageable in (0, 1)
    }


def test_a_smaller_memory_leaves_out_what_does_not_fit():
    from measure_gpu import grid, operand_bytes

    few, many = (list(grid("fp16", most)) for most in (1e8, 3e9))
    assert [row for row in many if operand_bytes(row) <= 1e8] == few and len(few) < len(many)


def test_operands_are_counted_by_hand():
    from measure_gpu import Row, operand_bytes

    heads = {"heads": 32, "kv_heads": 8, "head_dim": 128}
    assert operand_bytes(Row("gemm", "fp16", {"m": 7, "n": 100, "k": 10})) == 2000
    assert operand_bytes(Row("attention", "fp16", {**heads, "decodes": 3, "context": 10})) == 2 * 2 * 8 * 128 * 30
    assert operand_bytes(Row("attention", "fp32", {**heads, "prefills": 2, "queries": 5})) == 4 * 2 * 8 * 128 * 10
    assert operand_bytes(Row("h2d", "fp16", {"bytes": 77, "pageable": 0})) == 77


def test_copies_of_weights_and_caches_outgrow_the_l2_and_rows_repeat_one_buffer():
    from measure_gpu import copies_of, grid, operand_bytes

    for row in grid("bf16", 3e9):
        if row.op in ("gemm", "gemv", "attention"):
            others = (copies_of(row, 72e6) - 1) * operand_bytes(row)
            assert others >= 3 * 72e6 and others - operand_bytes(row) < 3 * 72e6
        else:
            assert copies_of(row, 72e6) == 1


def test_the_time_of_a_call_is_a_median_after_a_warm_up():
    from measure_gpu import REPLAYS, WARM_UP, median_us

    slow_first = count()

    def elapsed():
        i = next(slow_first) - WARM_UP
        return 1e6 if i < 0 else 1e5 if i == 0 else 40.0 + i  # a clock that rises, a run that was disturbed

    assert median_us(elapsed, 10) == pytest.approx((40 + REPLAYS // 2 + 1) / 10)
    assert next(slow_first) == WARM_UP + REPLAYS


class Torch:
    """A card on which a call takes 10 us plus 5 us of launch unless it is replayed from a graph."""

    def __init__(self):
        self.now = 0.0
        self.capturing = 0
        self.is_capturing = False
        self.cuda = self

    def get_device_properties(self, _):
        return type("Properties", (), {"name": "fake", "L2_cache_size": 1000, "total_memory": 10**9})

    def synchronize(self):
        pass

    def call(self, _):
        if self.is_capturing:
            self.capturing += 1
        else:
            self.now += 15.0

    def Event(self, enable_timing):
        return Event(self)

    def CUDAGraph(self):
        return self

    def replay(self):
        self.now += 10.0 * self.capturing

    def graph(self, _):
        return self

    def __enter__(self):
        self.is_capturing = True

    def __exit__(self, *_):
        self.is_capturing = False


class Event:
    def __init__(self, card):
        self.card, self.time = card, 0.0

    def record(self):
        self.time = self.card.now

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return (end.time - self.time) / 1e3


def test_kernels_are_timed_without_their_launch_and_transfers_with_it(monkeypatch: pytest.MonkeyPatch):
    import measure_gpu

    card = Torch()
    seen = []

    def operation(row, torch, device, copies):
        seen.append(copies)
        return torch.call

    monkeypatch.setattr(measure_gpu, "operation", operation)
    clock = measure_gpu.Cuda(card)
    row = measure_gpu.Row("gemm", "fp16", {"m": 1, "n": 10, "k": 10})
    assert clock.microseconds(row) == pytest.approx(10)
    assert seen == [16] and card.capturing % 16 == 0 and card.capturing >= 16
    assert clock.microseconds(measure_gpu.Row("h2d", "fp16", {"bytes": 5, "pageable": 1})) == pytest.approx(15)


def test_what_is_written_is_read_back(tmp_path: Path):
    from measure_gpu import grid, write_csv

    rows = [(row, 1.25 * i + 1) for i, row in enumerate(grid("bf16", 3e9))]
    write_csv(tmp_path / "t.csv", rows)
    table, us = read_measurements(tmp_path / "t.csv")
    wanted = kernels([(row.op, row.dtype, row.shape) for row, _ in rows])
    assert (table.op == wanted.op).all() and (table.shape == wanted.shape).all()
    assert us == pytest.approx([time for _, time in rows], rel=1e-4)


def test_pytorch_computes_what_each_row_says():
    torch = pytest.importorskip("torch")
    from measure_gpu import Row, operation

    heads = {"heads": 4, "kv_heads": 2, "head_dim": 8}
    shapes = {
        ("gemm", (("m", 3), ("n", 5), ("k", 7))): (3, 5),
        ("attention", (*heads.items(), ("decodes", 3), ("context", 6))): (3, 4, 1, 8),
        ("attention", (*heads.items(), ("prefills", 2), ("queries", 6))): (2, 4, 6, 8),
        **{(op, (("m", 3), ("n", 5))): (3, 5) for op in ("softmax", "layernorm", "activation", "add", "embedding")},
        **{(op, (("m", 3), ("n", 5))): (3, 5) for op in ("gated_activation", "copy")},
        ("h2d", (("bytes", 9), ("pageable", 0))): (9,),
        ("d2h", (("bytes", 9), ("pageable", 1))): (9,),
    }
    for (op, shape), wanted in shapes.items():
        call = operation(Row(op, "fp32", dict(shape)), torch, "cpu", 2)
        first, second, third = (call(i).clone() for i in range(3))
        assert tuple(first.shape) == wanted
        assert op in ("h2d", "d2h") or torch.equal(first, third)
        assert torch.equal(first, second) == (op not in ("gemm", "attention"))  # other weights, other keys and values


@pytest.mark.parametrize(
    ("place", "missing"), [("x.csv", "PyTorch|CUDA"), ("none/x.csv", "a place that can be written")]
)
def test_one_sentence_says_what_is_missing(tmp_path: Path, place: str, missing: str):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, TOOLS / "measure_gpu.py", "--card", "x", "-o", tmp_path / place],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stdout and not (tmp_path / place).exists()
    assert re.match(f"measure_gpu: (.*: )?expected .*({missing})", done.stderr) and done.stderr.count("\n") == 1
