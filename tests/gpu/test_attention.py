"""Times of attention: against plain simulations of what they summarise, the data sheet, and measurements."""

import csv
import heapq
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ndpsim.gpu.attention import ATTENTION, PARAMETERS
from ndpsim.gpu.attention_kernel import AttentionDevice, fill_times, makespan, split_parts
from ndpsim.gpu.card import card_names, load_card
from ndpsim.gpu.efficiency import prior
from ndpsim.gpu.kernels import DTYPES, kernels

SHARED = Path(__file__).parents[3] / "shared" / "data" / "gpu"
CARDS = {name: load_card(name) for name in card_names()}
GQA = {"heads": 32, "kv_heads": 8, "head_dim": 128}
LOW, HIGH = (np.array([getattr(parameter, bound) for parameter in PARAMETERS]) for bound in ("low", "high"))

names = st.sampled_from(sorted(CARDS))
lengths = st.one_of(st.integers(1, 400), st.integers(1, 40_000))


@st.composite
def shapes(draw):
    kv_heads = draw(st.sampled_from([1, 2, 4, 8, 32]))
    shape = {"kv_heads": kv_heads, "heads": kv_heads * draw(st.sampled_from([1, 2, 3, 8, 16]))}
    shape["head_dim"] = draw(st.sampled_from([32, 64, 80, 128, 192, 256]))
    kind = draw(st.sampled_from(["prefill", "decode", "mixed"]))
    if kind != "decode":
        shape |= {"prefills": draw(st.integers(1, 16)), "queries": draw(lengths), "past": draw(lengths)}
    if kind != "prefill":
        shape |= {"decodes": draw(st.integers(1, 300)), "context": draw(lengths)}
    return shape


def times_of(name, rows, dtype="fp16", efficiencies=None):
    card = CARDS[name]
    values = prior(ATTENTION, card) if efficiencies is None else efficiencies
    return ATTENTION.times(kernels([("attention", dtype, row) for row in rows]), card, values)


def time_of(name, shape, dtype="fp16"):
    return times_of(name, [shape], dtype)[0]


def real_work(shape):
    """Return operations of the pairs that the causal mask keeps, and numbers of the cached keys and values."""
    prefills, queries, past = (shape.get(key, 0) for key in ("prefills", "queries", "past"))
    decodes, context = (shape.get(key, 0) for key in ("decodes", "context"))
    pairs = prefills * queries * (past + (queries + 1) / 2) + decodes * context
    cached = prefills * (past + queries) + decodes * context
    return 4 * pairs * shape["heads"] * shape["head_dim"], 2 * cached * shape["kv_heads"] * shape["head_dim"]


@given(names, shapes(), st.sampled_from(sorted(DTYPES)), st.lists(st.floats(0, 1), min_size=9, max_size=9))
@example(
    "a100-40",
    {"kv_heads": 1, "heads": 16, "head_dim": 32, "prefills": 2, "queries": 4895, "past": 679},
    "fp32",
    [0.0] * 9,
)
@settings(max_examples=300, deadline=None)
def test_nothing_is_faster_than_the_data_sheet(name, shape, dtype, where):
    efficiencies = LOW * (HIGH / LOW) ** np.array(where)
    found = times_of(name, [shape], dtype, efficiencies)[0]
    card, kind = CARDS[name], DTYPES[dtype]
    operations, numbers = real_work(shape)
    assert np.isfinite(found)
    assert found >= operations / card.rate(kind.rate)
    assert found >= numbers * kind.activation / card.memory_rate


@given(names, st.lists(shapes(), min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_kernel_takes_the_same_time_in_any_company(name, rows):
    assert times_of(name, rows).tolist() == [time_of(name, row) for row in rows]


@given(names, shapes(), st.integers(2, 4))
@settings(max_examples=300, deadline=None)
def test_more_sequences_do_not_take_less_time(name, shape, times):
    more = {key: value * times if key in ("prefills", "decodes") else value for key, value in shape.items()}
    # A split that suits the SMs better may win back what more sequences cost.
    assert time_of(name, more) >= 0.8 * time_of(name, shape)


@given(names, shapes())
@settings(max_examples=200, deadline=None)
def test_what_the_l2_holds_is_not_slower_than_dram_where_its_rate_is_higher(name, shape):
    card = CARDS[name]
    efficiencies = prior(ATTENTION, card)
    assume(card.l2_rate * efficiencies[6] > card.memory_rate)
    cold, resident = times_of(name, [shape, {**shape, "rotation": 1}], efficiencies=efficiencies)
    assert resident <= cold * (1 + 1e-12)


@given(names, st.integers(1, 64), lengths)
@settings(max_examples=50, deadline=None)
def test_a_prefill_of_one_token_is_a_decode(name, sequences, past):
    prefill = time_of(name, {**GQA, "prefills": sequences, "queries": 1, "past": past})
    assert prefill == time_of(name, {**GQA, "decodes": sequences, "context": past + 1})


def list_schedule(lengths, slots):
    """Return when the last block ends if each goes to the slot that is free first, in the order given."""
    ends = [0.0] * slots
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


@given(
    st.integers(1, 64), st.integers(1, 64), st.floats(1, 100), st.floats(1, 4), st.integers(0, 32), st.floats(1, 400),
    st.sampled_from([108, 128, 142]),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_the_makespan_is_that_of_a_simulated_schedule(heads, tiles, first, growth, decodes, single, slots):
    last = first * (growth if tiles > 1 else 1)
    chunk = np.linspace(first, last, tiles).tolist()
    simulated = list_schedule(([single] * decodes + chunk) * heads, slots)
    found = makespan(float(heads * tiles), first, last, float(heads * decodes), single, float(slots), False)
    assert found == pytest.approx(simulated, rel=0.6)


def test_the_makespan_errs_little_on_the_average():
    generator = np.random.default_rng(1)
    ratios = []
    for _ in range(1500):
        heads, tiles, decodes = generator.integers(1, 65), generator.integers(1, 33), generator.integers(0, 33)
        first, single = generator.uniform(1, 50), math.exp(generator.uniform(0, 6))
        last = first + generator.uniform(0, 1) * tiles
        simulated = list_schedule(([single] * decodes + np.linspace(first, last, tiles).tolist()) * heads, 128)
        found = makespan(float(heads * tiles), first, last, float(heads * decodes), single, 128.0, False)
        ratios.append(found / simulated)
    assert np.mean(np.abs(np.array(ratios) - 1)) < 0.05
    assert abs(np.mean(ratios) - 1) < 0.03


def flash_parts(blocks, slots, steps):
    """Return num_splits_heuristic of FlashAttention 2, as its flash_api.cpp has it."""
    if blocks >= 0.8 * slots:
        return 1
    most = min(128, slots // 2, steps)
    eligible = [n for n in range(1, most + 1) if n == 1 or -(-steps // n) != -(-steps // (n - 1))]
    filled = {n: blocks * n / slots / math.ceil(blocks * n / slots) for n in eligible}
    return min(n for n in eligible if filled[n] >= 0.85 * max(filled.values()))


@given(st.integers(1, 300), st.sampled_from([160, 216, 256, 284]), st.integers(1, 1200))
@settings(max_examples=500, deadline=None)
def test_keys_are_split_as_flash_attention_splits_them(blocks, slots, steps):
    assert split_parts(float(blocks), float(slots), float(steps)) == flash_parts(blocks, slots, steps)


def test_version_2_splits_the_keys_of_groups_and_version_3_of_all():
    groups, heads = ({"kv_heads": 8, "heads": n, "head_dim": 128, "decodes": 1, "context": 32768} for n in (16, 8))
    assert time_of("a100-80", heads) > 3 * time_of("a100-80", groups)
    assert time_of("h100", heads) == pytest.approx(time_of("h100", groups), rel=0.05)


def test_decodes_read_a_group_once_alone_and_once_a_head_beside_a_prefill():
    decodes = {"decodes": 128, "context": 16384}
    card = CARDS["rtx4090"]
    numbers = 2 * 128 * 16384 * 8 * 128
    once = numbers * 2 / (card.memory_rate * prior(ATTENTION, card)[5])
    assert time_of("rtx4090", {**GQA, **decodes}) == pytest.approx(once, rel=0.05)
    assert time_of("rtx4090", {**GQA, **decodes, "prefills": 1, "queries": 128}) == pytest.approx(4 * once, rel=0.05)


def test_a_power_limit_is_the_time_of_long_prefills_and_leaves_decodes_alone():
    values = prior(ATTENTION, CARDS["l40s"])
    ample, scarce = (CARDS["l40s"].model_copy(update={"power_w": watts}) for watts in (1000, 200))
    prefill, decode = {**GQA, "prefills": 4, "queries": 8192}, {**GQA, "decodes": 64, "context": 8192}
    table = kernels([("attention", "fp16", prefill), ("attention", "fp16", decode)])
    fast, slow = (ATTENTION.times(table, card, values).tolist() for card in (ample, scarce))
    assert slow[0] == pytest.approx(real_work(prefill)[0] * values[7] / 200e6, rel=0.05)
    assert slow[0] > 1.5 * fast[0]
    assert slow[1] == fast[1]


def test_integers_of_half_the_size_read_in_half_the_time():
    long = {**GQA, "decodes": 256, "context": 16384}
    assert time_of("rtx4090", long, "int8") == pytest.approx(time_of("rtx4090", long) / 2, rel=0.05)


def test_the_kernel_is_the_python_that_it_is_compiled_from():
    device = AttentionDevice(False, 128.0, 2520.0, 102400.0, 9e5, 72e6, 2e6, 45e7, 4.0, 0.4, 1.5, 0.8, 2.5, 2.0, 1e-3)
    rows = [
        [32, 8, 128, 1, 512, 1000, 16, 3000, 0],
        [32, 8, 128, 0, 0, 0, 3, 9000, 1],
        [8, 8, 64, 4, 4096, 0, 0, 0, 1],
        [8, 1, 256, 2, 1, 77, 1, 99, 0],
    ]
    shape, element, rate = np.array(rows, np.float64), np.full(4, 2.0), np.full(4, 165e6)
    compiled, plain = np.empty(4), np.empty(4)
    fill_times(shape, element, rate, device, compiled)
    getattr(fill_times, "py_func", fill_times)(shape, element, rate, device, plain)
    assert compiled.tolist() == plain.tolist()


@pytest.mark.slow
def test_a_million_kernels_take_about_a_second():
    generator = np.random.default_rng(0)
    one = kernels([("attention", "fp16", {**GQA, "decodes": 4, "context": 8192})])
    table = type(one)(*(np.repeat(column, 200_000, axis=0) for column in one))
    table.column("context")[:] = generator.integers(1, 16384, len(table))
    table.column("decodes")[:] = generator.integers(1, 64, len(table))
    values = prior(ATTENTION, CARDS["rtx4090"])
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        ATTENTION.times(table, CARDS["rtx4090"], values)
        best = min(best, time.perf_counter() - start)
    assert len(table) / best > 400_000  # a core that is shared; alone it is 1.5 million a second


@pytest.mark.skipif(not SHARED.exists(), reason="measurements are not part of the project")
def test_the_priors_come_close_to_the_rtx_4090():
    rows, measured = [], []
    with (SHARED / "lss_rtx4090_llama31-8b_attention.csv").open() as lines:
        for line in csv.DictReader(lines):
            queries, past, decodes, context = (
                int(line[key]) for key in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
            )
            row = dict(GQA)
            if queries:
                row |= {"prefills": 1, "queries": queries, "past": past}
            if decodes:
                row |= {"decodes": decodes, "context": context + 1}
            if decodes < 2:
                row["rotation"] = 1
            rows.append(row)
            measured.append(float(line["time_us"]))
    error = np.abs(times_of("rtx4090", rows, "bf16") / np.array(measured) - 1)
    decode, prefill = (np.array([key in row for row in rows]) for key in ("decodes", "prefills"))
    assert error[decode & ~prefill].mean() < 0.08
    assert error[prefill & ~decode].mean() < 0.05
    assert error[prefill & decode].mean() < 0.07
