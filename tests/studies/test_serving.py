"""The replay of a serving run: its scheduler against a slow twin, and the measured run that ships."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.scheduler import serve

from ndpsim.errors import InputError
from ndpsim.gpu.model import GpuModel
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.graph import graph
from ndpsim.llm.step import Step
from ndpsim.machine.gpu import step_microseconds
from ndpsim.studies import serving as module
from ndpsim.studies.serving import Replay, Request, Serving, replay, requests_of, serving

ENGINE_US = 100
SMALL = Serving(
    source="made up", model="llama3.1-8b", card="rtx4090", requests="made-up.csv", token_budget=8, sequences=4,
    kv_tokens=64, block_tokens=4, engine_us=ENGINE_US, measured_s=1,
)  # fmt: skip


def step_us(batch):
    """A step takes longer for new tokens, and for cached ones."""
    return 1000 + 37 * sum(new for new, _ in batch) + sum(computed for _, computed in batch)


def replayed(definition, requests):
    """Replay requests with made-up steps, and return the result and what each step was made of."""
    batches = []

    def step(model, shape, batch):
        batches.append([(new, one.computed) for one, new in batch])
        assert batch and len(batches) < 10_000
        assert sum(new for _, new in batch) <= definition.token_budget and len(batch) <= definition.sequences
        return step_us(batches[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_step", step)
        patch.setattr(module, "requests_of", lambda _: requests)
        return replay(definition, model=SimpleNamespace(origin="made up")), batches


@st.composite
def runs(draw):
    block_tokens = draw(st.sampled_from([1, 2, 4, 16]))
    longest = draw(st.integers(2, 60))
    blocks = -(-longest // block_tokens) + draw(st.integers(0, 20))
    definition = SMALL.model_copy(
        update={
            "token_budget": draw(st.integers(1, 40)),
            "sequences": draw(st.integers(1, 6)),
            "kv_tokens": blocks * block_tokens + draw(st.integers(0, block_tokens - 1)),
            "block_tokens": block_tokens,
        }
    )
    arrivals = sorted(draw(st.lists(st.integers(0, 20), min_size=1, max_size=8)))
    requests = []
    for arrival in arrivals:
        prompt = draw(st.integers(1, longest - 1))
        requests.append(Request(arrival / 1024, prompt, draw(st.integers(1, longest - prompt)), 1.0))
    return definition, requests


@settings(max_examples=400, deadline=None)
@given(runs())
def test_steps_and_times_are_those_of_the_slow_twin(run):
    definition, requests = run
    found, batches = replayed(definition, requests)
    wanted_batches = []

    def step(batch):
        wanted_batches.append(batch)
        return step_us(batch) + ENGINE_US

    given_us, steps = serve(
        [(one.arrival_s * 1e6, one.input_tokens, one.output_tokens) for one in requests],
        definition.token_budget,
        definition.sequences,
        definition.kv_tokens // definition.block_tokens,
        definition.block_tokens,
        step,
    )
    assert batches == wanted_batches and found.steps == steps
    wanted = [(times[-1] - times[0]) / max(len(times) - 1, 1) / 1e3 for times in given_us]
    assert found.simulated_ms == pytest.approx(wanted, rel=1e-12)
    assert found.seconds == max(times[-1] for times in given_us) / 1e6


def test_a_lone_request_has_one_prefill_and_then_a_step_for_each_token():
    found, batches = replayed(SMALL, [Request(2.5, 6, 4, 1.0)])
    assert batches == [[(6, 0)], [(1, 6)], [(1, 7)], [(1, 8)]]
    decode_us = [step_us(batch) + ENGINE_US for batch in batches[1:]]
    assert found.simulated_ms == pytest.approx([sum(decode_us) / 3 / 1e3])
    assert found.seconds == pytest.approx(2.5 + (step_us(batches[0]) + ENGINE_US + sum(decode_us)) / 1e6)


def test_prompts_longer_than_the_budget_come_in_chunks_beside_running_sequences():
    _, batches = replayed(SMALL, [Request(0, 4, 3, 1.0), Request(0, 15, 2, 1.0)])
    assert batches == [[(4, 0), (4, 0)], [(1, 4), (7, 4)], [(1, 5), (4, 11)], [(1, 15)]]


def test_the_last_admitted_makes_room_and_computes_anew_only_what_was_overwritten():
    definition = SMALL.model_copy(update={"kv_tokens": 12, "token_budget": 100})  # three blocks of four tokens
    _, batches = replayed(definition, [Request(0, 3, 7, 1.0), Request(0, 4, 3, 1.0)])
    assert batches == [
        [(3, 0), (4, 0)],
        [(1, 3), (1, 4)],
        [(1, 4)],  # needs a block: the other's second one goes
        [(1, 5)],
        [(1, 6)],
        [(1, 7)],
        [(1, 8)],  # needs another one: the other's first one goes
        [(6, 0)],
    ]


def test_a_request_that_never_fits_is_refused():
    for kv_tokens in (11, 15):  # two and three blocks of four tokens
        definition = SMALL.model_copy(update={"kv_tokens": kv_tokens})
        with pytest.raises(
            InputError, match=f"kv_tokens: expected room for the longest request, 14, found {kv_tokens}"
        ):
            replayed(definition, [Request(0, 4, 4, 1.0), Request(0, 10, 4, 1.0)])


def test_requests_that_are_no_table_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "workloads_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=r"made-up\.csv: expected lines of four numbers, found"):
        requests_of(SMALL)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "made-up.csv").write_text("a,b,c,d\n0.5,3,4,x\n")
    with pytest.raises(InputError, match=r"made-up\.csv: expected lines of four numbers, found"):
        requests_of(SMALL)


def test_the_run_that_ships_has_300_requests_in_order_of_arrival():
    requests = requests_of(serving())
    assert len(requests) == 300
    assert [one.arrival_s for one in requests] == sorted(one.arrival_s for one in requests)
    assert all(one.output_tokens >= 1 and one.input_tokens >= 1 and one.measured_ms > 0 for one in requests)


@pytest.mark.slow
def test_the_mean_time_per_output_token_of_the_measured_run_is_met_within_5_percent():
    found = replay(serving())
    assert abs(found.error) < 0.05
    assert found.measured_ms.mean() == pytest.approx(33.4, abs=1)


def test_figures_of_a_replay_are_means_medians_and_quantiles_by_hand():
    """21 requests: simulated 0, 2, ..., 40 ms a token, measured a quarter more and 5."""
    simulated = np.arange(0.0, 42.0, 2.0)
    found = Replay(simulated, simulated * 1.25 + 5.0, 77, 12.5, 10.0, "a card")
    assert found.record() == {
        "card": "a card", "steps": 77, "simulated_s": 12.5, "measured_s": 10.0,
        "simulated_ms": {"mean": 20.0, "median": 20.0, "95th percentile": pytest.approx(38.0)},
        "measured_ms": {"mean": 30.0, "median": 30.0, "95th percentile": pytest.approx(52.5)},
        "mean_error": pytest.approx(20 / 30 - 1),
    }  # fmt: skip
    skewed = Replay(np.array([1.0, 2.0, 9.0]), np.array([2.0, 4.0, 4.0]), 1, 1.0, 1.0, "a card").record()
    assert skewed["simulated_ms"]["median"] == 2.0 and skewed["simulated_ms"]["mean"] == 4.0
    assert skewed["mean_error"] == pytest.approx(0.2)  # of the means, 4 and 10 / 3


def test_a_step_of_the_engine_is_that_of_its_new_and_cached_tokens():
    model, shape = GpuModel.load("rtx4090"), load_shape("relu-lm")
    batch = [(SimpleNamespace(computed=30), 1), (SimpleNamespace(computed=0), 16)]
    asked = Step((1, 16), (30, 0))
    assert module._step(model, shape, batch) == step_microseconds(model, shape, graph(shape, asked))


def test_requests_are_read_with_their_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "workloads_dir", lambda: tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "made-up.csv").write_text("a,b,c,d\n0.5,3,4,7.25\n1.5,30,1,8\n")
    assert requests_of(SMALL) == [Request(0.5, 3, 4, 7.25), Request(1.5, 30, 1, 8.0)]
