"""FlexGen: the search against its cost model in plain Python, and the schedule by hand."""

from dataclasses import asdict, replace
from itertools import product
from types import SimpleNamespace

import pytest
from baseline_support import ends, system
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import flexgen as oracle
from steps import prompt, token

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
from ndpsim.llm.step import Step
from ndpsim.machine.cpu import cpu_picoseconds
from ndpsim.machine.dense_step import StepTimes, dense_step
from ndpsim.systems.offloading import flexgen
from ndpsim.systems.offloading.flexgen import FlexGen
from ndpsim.systems.offloading.flexgen_search import CardShares, Pass, Problem, search
from ndpsim.systems.parts.host_weights import Sizes

SHAPE = load_shape("relu-lm")  # four layers
EMBEDDING = 2 * SHAPE.outer_parameters()
HEAD = 2 * SHAPE.vocab * SHAPE.hidden
LAYER = 2 * SHAPE.layer_parameters()
KV = SHAPE.kv_bytes_per_token() // SHAPE.layers

sizes = st.integers(1, 10**9)
passes = st.builds(
    Pass,
    compute_s=st.floats(0, 0.1),
    attention_s=st.floats(0, 0.1),
    host_s=st.floats(0, 1.0),
    weights=sizes,
    hidden=sizes,
    read=sizes,
    written=sizes,
    exchanged=sizes,
)
problems = st.builds(
    Problem,
    prompt=passes,
    token=passes,
    layers=st.integers(1, 100),
    passes=st.integers(1, 300),
    rate=st.floats(1e9, 1e11),
    weights=st.integers(1, 10**11),
    cache=st.integers(1, 10**11),
    hidden=st.integers(1, 10**10),
    stage=sizes,
    card=st.integers(10**9, 10**11),
    host=st.integers(10**9, 10**12),
)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_no_policy_that_fits_is_faster_than_the_one_found(problem):
    numbers, prompt, token = asdict(problem), asdict(problem.prompt), asdict(problem.token)
    tenths = [i / 10 for i in range(11)]
    others = [
        oracle.seconds(numbers, prompt, token, *shares)
        for shares in product(tenths, tenths, tenths, (False, True))
        if oracle.fits(numbers, *shares)
    ]
    try:
        found = search(problem)
    except InputError:
        assert not others
        return
    took = oracle.seconds(numbers, prompt, token, *found)
    assert took == pytest.approx(float(problem.seconds(found)))
    assert all(took <= other * (1 + 1e-9) for other in others)
    assert oracle.fits({**numbers, "card": problem.card * 1.000001, "host": problem.host * 1.000001}, *found)


def by_hand(made, times, first, last):
    """A forward pass with half of the weights on the card and all else there."""

    def copied(size):
        return int((2e-6 + 0.5 * size / made.rate) * 1e12) if size else 0

    arriving = [LAYER, *[LAYER] * (SHAPE.layers - 1), HEAD, 0 if last else EMBEDDING]
    computing = [times.embedding, *[times.layer] * SHAPE.layers, times.head]
    total = copied(EMBEDDING) if first else 0
    return total + sum(max(copied(size), time) for size, time in zip(arriving, computing, strict=True))


@pytest.mark.parametrize("link", [60.0, 0.5])
def test_weights_arrive_while_the_layer_before_computes(link):
    made = system(FlexGen, SHAPE, policy={"link_gb_per_s": link})
    made.shares = CardShares(0.5, 1.0, 1.0, False)
    first, *tokens = ends(made)
    for number, (begin, end) in enumerate(zip([first, *tokens], tokens, strict=False)):
        times = dense_step(made.devices.gpu, SHAPE, Step.decode(1, 16 + number), eager=True)
        assert end - begin == pytest.approx(by_hand(made, times, False, number == 2), abs=20)
    times = dense_step(made.devices.gpu, SHAPE, Step.prefill(1, 16), eager=True)
    assert first == pytest.approx(by_hand(made, times, True, False), abs=20)
    assert (made.meter.operation["weights"] > 0.5 * tokens[-1]) == (link == 0.5)
    assert made.meter.link["h2d"] == 4 * (EMBEDDING + 4 * LAYER + HEAD) // 2  # to the byte


def test_a_cache_that_does_not_fit_is_attended_to_on_the_host():
    batch, length = 8, 100
    cache = batch * 104 * KV * 4
    room = (3 * LAYER + EMBEDDING + 0.3 * cache) * 1e-9
    made = system(FlexGen, SHAPE, batch=batch, prompt=length, gpu_weights_gb=room, policy={"link_gb_per_s": 0.05})
    assert made.shares.host_attention and made.shares.cache < 1
    start = prompt(made)
    before = made.meter.busy["cpu", "attention"]
    assert before == 0  # the prompt's own keys and values are on the card
    assert sum(time for (device, _), time in made.meter.busy.items() if device == "cpu") == 0
    token(made, 0, start)
    whole = cpu_picoseconds(made.devices.config.cpu, batch * 100 * KV, 4 * batch * 101 * SHAPE.attention_width)
    exchange = 2 * 2 * SHAPE.attention_width * batch / 0.05e9 * 1e12
    expected = SHAPE.layers * (1 - made.shares.cache) * (whole + exchange)
    assert made.meter.busy["cpu", "attention"] == pytest.approx(expected, rel=1e-6)
    on_card = dense_step(made.devices.gpu, SHAPE, Step.decode(batch, 100), eager=True).attention
    assert made.meter.busy["gpu", "attention"] == SHAPE.layers * int(made.shares.cache * on_card)


def test_sequences_pass_a_layer_in_sub_batches_whose_activations_fit():
    each = 2 * 16 * (9 * SHAPE.hidden + (1 + SHAPE.gated) * SHAPE.ffn + SHAPE.heads * 16)
    made = system(FlexGen, SHAPE, batch=12, gpu_weights_gb=(24564 << 20) * 1e-9 - 5 * each * 1e-9)
    assert made.sub_batch == 4  # five would fit, but do not divide twelve
    part = dense_step(made.devices.gpu, SHAPE, Step.decode(4, 16), eager=True)
    assert made.times(Step.decode(12, 16)) == StepTimes(*(3 * time for time in part))
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected .* for the activations of a prompt, found 0\.0"):
        system(FlexGen, SHAPE, gpu_weights_gb=(24564 << 20) * 1e-9 - 0.5 * each * 1e-9)


def test_the_schedule_costs_what_the_search_thought():
    made = system(FlexGen, load_shape("opt-30b"), batch=2, prompt=128, output=9)
    found = ends(made)
    middle = found[5] - found[4]  # the token in the middle of the output
    one = made._pass(Step.decode(2, 128 + 4), made.times(Step.decode(2, 128 + 4)))
    thought = made.shape.layers * one.lanes(made.shares, made.rate).longest * 1e12
    outside = (1 - made.shares.weights) * 2 * (2 * made.shape.outer_parameters()) / made.rate * 1e12
    assert middle == pytest.approx(thought + outside, rel=2e-3)


def test_what_fits_nowhere_is_refused():
    with pytest.raises(InputError, match=r"gpu\.weights_gb: expected room for two layers"):
        system(FlexGen, SHAPE, gpu_weights_gb=LAYER * 1e-9)


def test_a_pass_through_a_layer_by_hand():
    """Two sequences with 10 and 20 tokens in the cache; a layer has 64 bytes of keys and 64 of values a token.

    The host reads 30 * 128 bytes at 1 GB/s in 3.84 us and computes 4 * 32 * 32 operations in less, behind 1 us.
    """
    value = SimpleNamespace
    made = object.__new__(FlexGen)
    made.shape = value(attention_width=32, hidden=100, layers=3, kv_bytes_per_token=lambda: 3 * 128)
    cpu = {"memory_gb_per_s": 2.0, "memory_share": 0.5, "gflops": 100.0, "start_us": 1.0}
    cpu = value(**{name: value(value=one) for name, one in cpu.items()})
    made.devices, made.sizes = value(config=value(cpu=cpu)), value(layer=5000)
    times = StepTimes(embedding=1, qkv=2_000_000, attention=3_000_000, projection=5_000_000, ffn=7_000_000, head=1)
    found = made._pass(Step((1, 1), (10, 20)), times)
    assert found == Pass(
        compute_s=pytest.approx(14e-6), attention_s=pytest.approx(3e-6), host_s=pytest.approx(4.84e-6), weights=5000,
        hidden=2 * 100 * 2, read=30 * 128, written=2 * 128, exchanged=2 * 2 * 32 * 2,
    )  # fmt: skip
    prompt = made._pass(Step((10, 20), (0, 0)), times)
    assert prompt == Pass(
        compute_s=pytest.approx(17e-6), attention_s=0.0, host_s=0.0, weights=5000, hidden=2 * 100 * 30, read=0,
        written=30 * 128, exchanged=0,
    )  # fmt: skip


def test_the_search_is_told_of_the_prompt_of_the_token_in_the_middle_and_of_all_sizes(monkeypatch):
    told = []

    def search(problem):
        told.append(problem)
        return CardShares(1.0, 1.0, 1.0, False)

    monkeypatch.setattr(flexgen, "search", search)
    made = system(FlexGen, SHAPE, batch=3, prompt=20, output=9)
    (problem,) = told
    first, middle = Step.prefill(3, 20), Step.decode(3, 24)
    assert problem.prompt == made._pass(first, made.times(first))
    assert problem.token == made._pass(middle, made.times(middle))
    assert (problem.layers, problem.passes) == (4, 8)
    assert problem.rate == made.link.gb_per_s * 1e9
    assert problem.hidden == 2 * SHAPE.hidden * 3 * 20
    assert (problem.weights, problem.cache) == (made.sizes.weights, made.sizes.cache)
    assert problem.stage == max(LAYER, EMBEDDING, HEAD)
    assert (problem.card, problem.host) == (made.sizes.card, made.sizes.host)


@pytest.mark.parametrize(("host", "told"), [(1e12, "no"), (9e8, "no; dimm.count: more")])
def test_what_would_be_enough_is_told_of_the_side_that_lacks_it(monkeypatch, host, told):
    def search(problem):
        raise InputError("no")

    monkeypatch.setattr(flexgen, "search", search)
    monkeypatch.setattr(flexgen, "dimms_enough", lambda size, devices: "dimm.count: more")
    sizes = Sizes.of

    def smaller(job, devices):
        return replace(sizes(job, devices), host=int(host))

    monkeypatch.setattr(flexgen.Sizes, "of", staticmethod(smaller))
    with pytest.raises(InputError) as caught:
        system(FlexGen, load_shape("llama2-7b"), batch=1, prompt=16)
    assert str(caught.value) == told


@pytest.mark.parametrize(("room", "count"), [(6, 6), (5.999, 3), (3, 3), (2.999, 2), (1, 1)])
def test_a_prompts_activations_are_counted_by_hand(room, count):
    """7 tokens of a gated model: 2 bytes of 9 * 100 + 2 * 300 + 5 * 7 values each, 21,490 bytes a sequence."""
    made = FlexGen.__new__(FlexGen)
    made.shape = SimpleNamespace(hidden=100, ffn=300, heads=5, gated=True)
    made.job = SimpleNamespace(prompt=7, batch=6)
    made.sizes = SimpleNamespace(card=10**9)
    memory = 10**9 + int(room * 21_490)
    made.devices = SimpleNamespace(gpu=SimpleNamespace(card=SimpleNamespace(memory_bytes=memory)))
    assert made._sub_batch() == count


def test_a_sequence_too_large_for_the_card_is_told_what_to_leave_it():
    made = FlexGen.__new__(FlexGen)
    made.shape = SimpleNamespace(hidden=10**6, ffn=10**6, heads=1, gated=False)
    made.job = SimpleNamespace(prompt=100, batch=1)
    made.sizes = SimpleNamespace(card=9 * 10**9)
    made.devices = SimpleNamespace(gpu=SimpleNamespace(card=SimpleNamespace(memory_bytes=10 * 10**9)))
    with pytest.raises(InputError, match=r"expected 2\.0 GB .* found 1\.0; .*: at most 8\.00, or fewer"):
        made._sub_batch()


def test_the_host_computes_a_product_and_a_sum_for_each_query_and_for_each_value(monkeypatch):
    asked = []

    def cpu_picoseconds(cpu, size, operations):
        asked.append((size, operations))
        return 7

    made = system(FlexGen, SHAPE, batch=2, prompt=16)
    monkeypatch.setattr(flexgen, "cpu_picoseconds", cpu_picoseconds)
    step = Step((1, 1), (10, 20))
    made._pass(step, made.times(step))
    assert asked == [(30 * KV, 4 * (11 + 21) * SHAPE.attention_width)]
