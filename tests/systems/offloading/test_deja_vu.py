"""Deja Vu: which pages it fetches, and what waits for what, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from baseline_support import ends, system
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.gpu.kernels import kernels
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.dense_step import dense_step
from ndpsim.machine.gpu_layers import layer_times
from ndpsim.machine.meter import Meter
from ndpsim.sparsity.trace import ActivationTrace
from ndpsim.sparsity.trace_format import TraceHeader
from ndpsim.systems.offloading.deja_vu import DejaVu, touched_pages

SHAPE = load_shape("relu-lm").with_overrides(layers=2)
PROMPT, OUTPUT, RANK, PAGE = 4, 2, 24, 4096
ROW = 2 * SHAPE.hidden
EMBEDDING = 2 * SHAPE.outer_parameters()
LAYER = 2 * SHAPE.layer_parameters()
BLOCK = 2 * sum(one.weights() for one in SHAPE.matrices() if one.name in ("gate_up", "up", "down"))
PREDICTORS = 2 * SHAPE.layers * RANK * (SHAPE.hidden + SHAPE.ffn)
FIRED = {  # the neurons of each layer that fire in any sequence at the output tokens
    1: [[[0, 1, 5]], [[7, 200, 201]]],
    2: [[[0, 1], [5]], [[200, 201], [7, 201]]],
}


def trace(batch):
    header = TraceHeader(
        model=SHAPE.name,
        neurons=(SHAPE.hidden, SHAPE.ffn) * SHAPE.layers,
        rule="",
        source="",
        layer=(0, 0, 1, 1),
        kind=("attention", "ffn") * SHAPE.layers,
        sequences=batch,
        prompt_tokens=PROMPT,
    )
    fired = [np.zeros((PROMPT + OUTPUT, batch, neurons), np.bool_) for neurons in header.neurons]
    for layer, sequences in enumerate(FIRED[batch]):
        for sequence, neurons in enumerate(sequences):
            fired[2 * layer + 1][PROMPT:, sequence, neurons] = True
    return lambda: (ActivationTrace.of(header, fired), [])


def made(batch=1, room=0, **policy):
    cache = batch * (PROMPT + OUTPUT) * SHAPE.kv_bytes_per_token()
    fixed = PREDICTORS + EMBEDDING + cache + LAYER
    policy = {"predictor_rank": RANK, "page_kib": PAGE // 1024, **policy}
    return system(
        DejaVu, SHAPE, batch=batch, prompt=PROMPT, output=OUTPUT, activations=trace(batch), policy=policy,
        gpu_weights_gb=(fixed + room) * 1e-9,
    )  # fmt: skip


@given(st.sets(st.integers(0, 300)), st.integers(1, 5000), st.integers(1, 3000))
def test_a_page_is_fetched_once_if_any_row_touches_it(rows, row_bytes, page):
    pages = {byte // page for row in rows for byte in range(row * row_bytes, (row + 1) * row_bytes)}
    assert touched_pages(np.array(sorted(rows), np.int64), row_bytes, page) == len(pages)


def copy_ps(size, gb_per_s):
    return int((2.0 + size / (gb_per_s * 1e3)) * 1e6)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_token_fetches_attention_and_the_pages_of_active_neurons(batch):
    run = made(batch, link_gb_per_s=1.0)
    assert run.figures() == {
        "resident_attention_layers": 0,
        "resident_ffn_layers": 0,
        "predictor_bytes": PREDICTORS,
    }
    prompt, first = ends(run)
    times = dense_step(run.devices.gpu, SHAPE, Step.decode(batch, PROMPT))
    counts = np.array([3, 3])
    sparse = layer_times(run.devices.gpu, SHAPE, batch, 0 * counts, counts)
    attention = times.qkv + times.attention + times.projection
    expected = times.embedding + run.predictor_ps(batch) + times.head
    fetched = 0
    for layer, neurons in enumerate([[0, 1, 5], [7, 200, 201]]):
        pages = {byte // PAGE for n in neurons for byte in range(n * ROW, (n + 1) * ROW)}
        size = len(pages) * PAGE * (2 + SHAPE.gated)
        block = int((sparse.ffn_norm + sparse.block)[layer] * 1e6)
        expected += max(attention, copy_ps(LAYER - BLOCK, 1.0)) + max(block, copy_ps(size, 1.0))
        fetched += size
    assert first - prompt == expected  # the predictor of the second layer runs while the first one waits
    assert run.meter.link["h2d"] == 2 * LAYER + 2 * (LAYER - BLOCK) + fetched
    assert run.meter.busy["gpu", "predictor"] == 2 * run.predictor_ps(batch)
    assert run.meter.events["active neurons"] == 6


def test_a_step_of_one_sequence_alone_computes_the_neurons_of_that_one():
    run, step = made(2), Step((1,), (PROMPT,), sequences=(1,))
    run.forward(step, 0)
    assert [run._active(layer, step).tolist() for layer in (0, 1)] == [[5], [7, 201]]
    assert run.meter.events["active neurons"] == 3


def test_predictors_are_seen_where_nothing_waits():
    run = made(room=2 * LAYER)
    prompt, first = ends(run)
    times = dense_step(run.devices.gpu, SHAPE, Step.decode(1, PROMPT))
    sparse = layer_times(run.devices.gpu, SHAPE, 1, np.zeros(2, np.int64), np.array([3, 3]))
    blocks = sum(int(us * 1e6) for us in sparse.ffn_norm + sparse.block)
    attention = times.qkv + times.attention + times.projection
    assert first - prompt == times.embedding + 2 * run.predictor_ps(1) + 2 * attention + blocks + times.head
    assert [span.layer for span in run.meter.spans if span.operation == "predictor"] == [-1, 1]  # that it predicts
    products = [("gemm", "fp16", {"m": 1, "n": n, "k": k}) for n, k in ((RANK, SHAPE.hidden), (SHAPE.ffn, RANK))]
    assert run.predictor_ps(1) == int(run.devices.gpu.microseconds(kernels(products)).sum() * 1e6)
    assert not run.meter.link["h2d"]


def test_the_card_holds_attention_first_and_then_blocks():
    attention = LAYER - BLOCK

    def held(room):
        return tuple(made(room=room).figures().values())[:2]

    assert held(attention + 10) == (1, 0)
    assert held(2 * attention + 10) == (2, 0)
    assert held(2 * attention + BLOCK + 10) == (2, 1)


def test_a_card_without_room_for_what_must_be_there_is_refused():
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected room for predictors, embedding, head, KV cache"):
        made(room=-10)


def test_a_trace_of_another_model_is_refused():
    with pytest.raises(InputError, match="expected attention and ffn groups of the 4 layers of relu-lm"):
        system(DejaVu, load_shape("relu-lm"), prompt=PROMPT, output=OUTPUT, activations=trace(1))


@pytest.mark.parametrize(("gated", "matrices"), [(False, 2), (True, 3)])
def test_a_gate_is_a_matrix_of_its_own_to_fetch(gated, matrices):
    """Rows of 256 bytes: neurons 0, 1 and 5 lie on the first page of 4 KiB, 200 and 201 on the 13th."""
    run = object.__new__(DejaVu)
    run.shape = SimpleNamespace(hidden=128, gated=gated)
    run.policy, run.meter = SimpleNamespace(page_kib=SimpleNamespace(value=4)), Meter()
    assert run._pages(np.array([0, 1, 5, 200, 201])) == 2 * matrices * 4096
    assert run.meter.events == {"pages fetched": 2 * matrices}
    assert run._pages(np.array([], np.int64)) == 0
