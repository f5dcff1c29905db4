"""The operators of a step, against a slow count and against figures that can be worked out by hand."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import operators as oracle
from oracles.model_shapes import CONTENT, contents, precisions

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape, shape_names
from ndpsim.llm.graph import AttentionSizes, Linear, graph, totals
from ndpsim.llm.shape import shape_from
from ndpsim.llm.step import Step

FIELDS = ("flops", "weight_bytes", "input_bytes", "output_bytes", "kv_read_bytes", "kv_write_bytes")
sequences = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=3)


def counted(operators):
    """What the operators do in all layers, as the oracle gives it."""
    counts = {(one.name, field): one.repeat * getattr(one, field) for one in operators for field in FIELDS}
    return {key: amount for key, amount in counts.items() if amount}


@given(contents(), sequences, st.data(), precisions, precisions, precisions)
@settings(max_examples=60, deadline=None)
def test_every_figure_of_every_operator_is_that_of_a_slow_count(content, batch, data, weights, activations, kv):
    new, cached = zip(*batch, strict=True)
    logits = data.draw(st.integers(0, sum(new)))
    operators = graph(shape_from(content, "test"), Step(new, cached, logits), weights, activations, kv)
    assert counted(operators) == oracle.count(content, new, cached, logits, weights, activations, kv)


@given(contents(), sequences)
@settings(max_examples=40, deadline=None)
def test_a_mixed_step_does_the_work_of_its_sequences_and_reads_the_weights_once(content, batch):
    shape = shape_from(content | {"positions": "none", "position_offset": 0}, "test")
    whole = totals(graph(shape, Step(*zip(*batch, strict=True))))
    parts = [totals(graph(shape, Step((new,), (cached,)))) for new, cached in batch]
    for field in ("flops", "activation_bytes", "kv_read_bytes", "kv_write_bytes"):
        assert getattr(whole, field) == sum(getattr(part, field) for part in parts)
    looked_up = 2 * shape.hidden * sum(new for new, _ in batch)
    assert whole.weight_bytes - looked_up == parts[0].weight_bytes - 2 * shape.hidden * batch[0][0]


@given(contents(), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_a_prompt_in_two_chunks_does_the_work_of_one(content, first, second):
    shape = shape_from(content | {"positions": "rotary", "position_offset": 0}, "test")
    whole = totals(graph(shape, Step.prefill(1, first + second)))
    chunks = [totals(graph(shape, Step((first,), (0,), logits=0))), totals(graph(shape, Step((second,), (first,))))]
    assert whole.flops == sum(chunk.flops for chunk in chunks)
    assert whole.kv_write_bytes == sum(chunk.kv_write_bytes for chunk in chunks)
    assert [chunk.kv_read_bytes for chunk in chunks] == [0, first * shape.kv_bytes_per_token()]


@pytest.mark.parametrize("name", shape_names())
def test_a_decode_step_reads_all_weights_but_the_embedding_and_makes_two_flops_of_each(name):
    shape = load_shape(name)
    step = totals(graph(shape, Step.decode(1, 0)))
    tables = 0 if shape.tied_embedding else 2 * shape.vocab * shape.hidden
    looked_up = 2 * shape.hidden
    if shape.positions == "learned":
        tables += 2 * (shape.context + shape.position_offset) * shape.hidden
        looked_up += 2 * shape.hidden
    if shape.positions == "relative":
        tables += 2 * shape.layers * shape.attention_width * shape.hidden
        looked_up += 2 * shape.layers * shape.attention_width
    assert step.weight_bytes == shape.weight_bytes() - tables + looked_up
    assert step.flops == pytest.approx(step.weight_bytes, rel=0.02)  # FP16: 2 bytes, and 2 FLOPs, a weight


def test_operators_of_llama2_70b_by_hand():
    operators = {one.name: one for one in graph(load_shape("llama2-70b"), Step.decode(4, 1000), kv="int8")}
    names = "embedding attention_norm qkv rotary attention output attention_residual ffn_norm gate_up activation down"
    assert " ".join(operators) == f"{names} ffn_residual final_norm lm_head"
    assert {name for name, one in operators.items() if one.repeat == 1} == {"embedding", "final_norm", "lm_head"}
    assert all(one.repeat in (1, 80) for one in operators.values())
    assert operators["qkv"].shape == Linear(4, 8192 + 2 * 1024, 8192)
    assert operators["gate_up"].shape == Linear(4, 2 * 28672, 8192)
    assert operators["down"].weight_bytes == 2 * 8192 * 28672
    attention = operators["attention"]
    assert attention.shape == AttentionSizes(64, 8, 128, (1, 1, 1, 1), (1001, 1001, 1001, 1001))
    assert attention.flops == 4 * 4 * 1001 * 8192
    assert attention.kv_read_bytes == 4 * 1000 * 2 * 8 * (128 + 2)
    assert attention.kv_write_bytes == 4 * 2 * 8 * (128 + 2)


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("opt-66b", {"position_embedding", "up", "ffn_norm"}, {"rotary", "gate_up"}),
        ("falcon-40b", {"rotary", "residual", "ffn_norm"}, {"attention_residual", "ffn_residual"}),
        ("chinchilla-70b", {"attention_residual", "up"}, {"rotary", "position_embedding", "relative_positions"}),
    ],
)
def test_families_have_their_own_operators(name, has, lacks):
    names = {one.name for one in graph(load_shape(name), Step.prefill(1, 8))}
    assert has <= names and not lacks & names


def test_a_chunk_without_logits_has_no_output_head():
    names = [one.name for one in graph(load_shape("opt-13b"), Step((64, 1), (0, 0), logits=0))]
    assert names[-1] == "ffn_residual"


def test_arrays_and_tuples_make_the_same_step():
    step = Step(np.array([3, 1], np.int32), np.array([0, 7]))
    assert step == Step((3, 1), (0, 7)) and step.tokens == 4 and step.logit_tokens == 2 and step.contexts == (3, 8)
    assert step.pairs == (1 + 2 + 3) + 8
    assert hash(step) == hash(Step([3, 1], [0, 7]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((1, 0), (2, 2)), "new_tokens: expected at least one integer, each at least 1, found 0"),
        (((1,), (-1,)), "cached_tokens: expected at least one integer, each at least 0, found -1"),
        (((1.5,), (0,)), "new_tokens: expected at least one integer, each at least 1, found 1.5"),
        (((True,), (0,)), "new_tokens: expected at least one integer, each at least 1, found True"),
        (((), ()), "new_tokens: expected at least one integer, each at least 1, found none"),
        ((np.ones((2, 2), int), (0, 0)), "new_tokens: expected at least one integer, each at least 1, found [1, 1]"),
        ((3, (0,)), "new_tokens: expected at least one integer, each at least 1, found none"),
        (((1, 1), (0,)), "cached_tokens: expected 2, as many as new_tokens, found 1"),
        (((2,), (0,), 3), "logits: expected 0 to 2, the new tokens, found 3"),
        (((2,), (0,), "1"), "logits: expected 0 to 2, the new tokens, found '1'"),
    ],
)
def test_an_impossible_step_is_refused(arguments, says):
    with pytest.raises(InputError, match=re.escape(f"step: {says}")):
        Step(*arguments)


def test_a_sequence_beyond_the_context_is_refused():
    shape = shape_from(CONTENT, "test")
    graph(shape, Step((1,), (63,)))
    with pytest.raises(InputError, match="at most 64 tokens in a sequence, the context of tiny, found 65"):
        graph(shape, Step((1, 1), (0, 64)))
    assert graph(shape.with_overrides(context=65), Step((1,), (64,)))


@pytest.mark.slow
def test_a_graph_is_cheap():
    shape, best = load_shape("llama2-70b"), 1.0
    for _ in range(200):
        began = time.perf_counter()
        graph(shape, Step((1,) * 16, tuple(range(100, 116))))
        best = min(best, time.perf_counter() - began)
    assert best < 200e-6  # 50 us on a quiet core
