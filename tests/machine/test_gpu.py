"""The operators of a step as kernels of the GPU model."""

import numpy as np
import pytest

from ndpsim.gpu.card import card_names
from ndpsim.gpu.kernels import COLUMNS, DTYPE_NAMES, OP_NAMES, faults_of_shapes
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape, shape_names
from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import kernels_of, step_microseconds


def kernels_in_words(name, step, weights="fp16"):
    shape = load_shape(name)
    table = kernels_of(shape, graph(shape, step, weights), weights)
    return [
        (OP_NAMES[op], DTYPE_NAMES[dtype], {column: size for column, size in zip(COLUMNS, row, strict=True) if size})
        for op, dtype, row in zip(table.op.tolist(), table.dtype.tolist(), table.shape.tolist(), strict=True)
    ]


def gemm(m, n, k, dtype="fp16"):
    return ("gemm", dtype, {"m": m, "n": n, "k": k})


def rows(op, m, n, **more):
    return (op, "fp16", {"m": m, "n": n, **more})


def test_a_decode_step_of_llama_3_1_8b():
    heads = {"heads": 32, "kv_heads": 8, "head_dim": 128}
    assert kernels_in_words("llama3.1-8b", Step.decode(4, 999), "int8") == [
        rows("embedding", 4, 4096),
        rows("rmsnorm", 4, 4096, residual=1),
        gemm(4, 6144, 4096, "int8-weights"),  # queries of 32 heads, keys and values of 8 each
        rows("rotary", 4, 5120),
        ("attention", "fp16", {**heads, "decodes": 4, "context": 1000}),
        gemm(4, 4096, 4096, "int8-weights"),
        rows("rmsnorm", 4, 4096, residual=1),
        gemm(4, 28672, 4096, "int8-weights"),
        rows("gated_activation", 4, 14336),
        gemm(4, 4096, 14336, "int8-weights"),
        rows("rmsnorm", 4, 4096, residual=1),
        gemm(4, 128256, 4096),  # the output head stays in FP16
    ]


def test_a_prefill_of_opt_6_7b():
    heads = {"heads": 32, "kv_heads": 32, "head_dim": 128}
    assert kernels_in_words("opt-6.7b", Step.prefill(2, 100)) == [
        rows("embedding", 200, 4096),
        rows("embedding", 200, 4096),  # learned positions
        rows("layernorm", 200, 4096, residual=1),
        gemm(200, 12288, 4096),
        ("attention", "fp16", {**heads, "prefills": 2, "queries": 100}),
        gemm(200, 4096, 4096),
        rows("layernorm", 200, 4096, residual=1),
        gemm(200, 16384, 4096),
        rows("activation", 200, 16384),
        gemm(200, 4096, 16384),
        rows("layernorm", 2, 4096, residual=1),  # the last token of each sequence
        gemm(2, 50272, 4096),
    ]


def test_a_parallel_block_adds_its_residual_once():
    kernels = kernels_in_words("falcon-40b", Step.decode(1, 10), "int4")
    norms = [shape.get("residual", 0) for op, _, shape in kernels if op == "layernorm"]
    assert norms == [1, 0, 1]
    assert {dtype for op, dtype, _ in kernels if op == "gemm"} == {"int4-weights", "fp16"}


def test_sequences_of_a_mixed_step_are_taken_at_their_means():
    step = Step((1, 1, 1, 30, 70), (9, 19, 32, 0, 50))
    (attention,) = (shape for op, _, shape in kernels_in_words("llama3.1-8b", step) if op == "attention")
    assert attention == {
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "decodes": 3,
        "context": 21,  # of 10, 20 and 33
        "prefills": 2,
        "queries": 50,
        "past": 25,
    }


@pytest.mark.parametrize("name", shape_names())
def test_all_models_give_kernels_that_can_be(name):
    shape = load_shape(name)
    for step in (Step.decode(3, 100), Step.prefill(2, 64), Step((1, 64), (100, 0), logits=0)):
        table = kernels_of(shape, graph(shape, step))
        assert faults_of_shapes(table, table.shape > 0) == {}


@pytest.mark.parametrize("name", card_names())
@pytest.mark.parametrize("weights", ["fp16", "int8", "int4"])
def test_a_decode_step_takes_at_least_the_time_in_which_its_weights_are_read(name, weights):
    model, shape = GpuModel.load(name), load_shape("llama3.1-8b")
    us = step_microseconds(model, shape, graph(shape, Step.decode(1, 1000), weights), weights)
    matrices = sum(matrix.outputs * matrix.inputs for matrix in shape.matrices()) * shape.layers
    head = shape.vocab * shape.hidden
    size = matrices * {"fp16": 2, "int8": 1, "int4": 0.5}[weights] + 2 * head
    assert size / model.card.memory_rate < us < 3 * size / model.card.memory_rate


def test_a_step_is_the_sum_of_its_kernels_as_often_as_they_run():
    model, shape = GpuModel.load("a100-80"), load_shape("opt-6.7b")
    operators = graph(shape, Step.decode(8, 500))
    us = model.microseconds(kernels_of(shape, operators))
    repeats = [1, 1, *[32] * 8, 1, 1]
    assert step_microseconds(model, shape, operators) == pytest.approx(np.dot(us, repeats))


def test_more_sequences_and_longer_contexts_take_longer():
    model, shape = GpuModel.load("h100"), load_shape("llama2-7b")
    few, many, longer = (
        step_microseconds(model, shape, graph(shape, step))
        for step in (Step.decode(8, 500), Step.decode(32, 500), Step.decode(32, 2000))
    )
    assert few < many < longer
