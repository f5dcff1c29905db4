from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_support import assert_reads, executed, machine, numbers, same_bits, streams
from oracles import decode_step as oracle

from ndpsim.compiler.attention import Attention, CacheShape, cache_image, place_cache
from ndpsim.dimm.timing import time_program
from ndpsim.dram.ndp.rank_state import N_RD, N_WR
from ndpsim.errors import InputError


@st.composite
def tokens(draw):
    """Draw a cache with something in it, and the next token of each sequence."""
    kv_heads, group = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = CacheShape(draw(st.integers(1, 4)), draw(st.integers(1, 150)), kv_heads * group, kv_heads,
                       2 * draw(st.integers(1, 40)))  # fmt: skip
    dimms = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    contexts = rng.integers(1, shape.capacity + 1, shape.sequences)
    contexts[rng.random(shape.sequences) < rng.choice([0.0, 0.3])] = 0
    stored = (shape.sequences, kv_heads, shape.capacity, shape.head_width)
    keys, values = numbers(rng, "f16", *stored), numbers(rng, "f16", *stored)
    new_keys, new_values = numbers(rng, "f16", *stored[:2], stored[3]), numbers(rng, "f16", *stored[:2], stored[3])
    queries = numbers(rng, "f16", shape.sequences, shape.heads, shape.head_width)
    if rng.random() < 0.5:
        queries /= np.float16(np.sqrt(shape.head_width))  # without it, one token often has all the weight
    placement = place_cache(shape, machine(dimms), first_atom=int(rng.integers(0, 1000)))
    unit = machine(dimms, placement=str(rng.choice(["interleaved", "row", "striped"])))
    return SimpleNamespace(
        shape=shape, machine=unit, placement=placement, attention=Attention(unit, placement), contexts=contexts,
        keys=keys, values=values, new_keys=new_keys, new_values=new_values, queries=queries,
    )  # fmt: skip


def run_of(case):
    """Return the result and the memory afterwards."""
    images = cache_image(case.placement, case.keys, case.values)
    host_input = case.attention.host_input(case.queries, case.new_keys, case.new_values, case.contexts)
    host_out = executed(case.attention.compile(case.contexts), case.machine, images, host_input)
    return case.attention.result(host_out, case.contexts), images


def appended(case):
    """The cache with the new token of each sequence in its place."""
    keys, values = case.keys.copy(), case.values.copy()
    for sequence, context in enumerate(case.contexts):
        if context:
            keys[sequence, :, context - 1] = case.new_keys[sequence]
            values[sequence, :, context - 1] = case.new_values[sequence]
    return keys, values


def groups(case):
    """Yield every group that runs: its sequence, its query heads, queries, keys, values and context."""
    keys, values = appended(case)
    for sequence, context in enumerate(case.contexts):
        for head in range(case.shape.kv_heads if context else 0):
            queries = slice(head * case.shape.group, (head + 1) * case.shape.group)
            arrays = (case.queries[sequence, queries], keys[sequence, head], values[sequence, head])
            yield sequence, queries, arrays, int(context)


@settings(max_examples=60, deadline=None)
@given(tokens())
def test_attention_gives_what_the_oracle_gives_bit_for_bit(case):
    expected = np.zeros((case.shape.sequences, case.shape.heads, case.shape.head_width), np.float32)
    for sequence, queries, arrays, context in groups(case):
        expected[sequence, queries] = oracle.attention(*arrays, context)
    result, images = run_of(case)
    assert same_bits(result, expected)
    for mine, other in zip(images, cache_image(case.placement, *appended(case)), strict=True):
        assert [region.tobytes() for region in mine] == [region.tobytes() for region in other]


@settings(max_examples=80, deadline=None)
@given(tokens())
def test_attention_lies_within_the_stated_bound_of_the_exact_result(case):
    result, _ = run_of(case)
    for sequence, queries, arrays, context in groups(case):
        exact, bound = oracle.attention_and_bound(*arrays, context)
        assert (np.abs(result[sequence, queries] - exact) <= bound).all()


@settings(max_examples=50, deadline=None)
@given(tokens())
def test_keys_and_values_are_read_once_for_a_group_and_two_rows_are_written(case):
    run = time_program(case.attention.compile(case.contexts), case.machine)
    own = [case.contexts[pairs[:, 0]] for pairs in case.placement.pairs]
    row_bytes = case.shape.row_atoms * 64
    assert_reads(run, [2 * int(lengths.sum()) * row_bytes for lengths in own])
    written = (run.counters[:, :, N_WR].sum(axis=1) * 64).tolist()
    assert written == [2 * int((lengths > 0).sum()) * row_bytes for lengths in own]


@settings(max_examples=50, deadline=None)
@given(tokens())
def test_pairs_are_spread_evenly_and_never_share_memory(case):
    shape, placement = case.shape, case.placement
    counts = [len(pairs) for pairs in placement.pairs]
    assert max(counts) - min(counts) <= 1
    everything = sorted(tuple(pair) for pairs in placement.pairs for pair in pairs.tolist())
    assert everything == [(s, h) for s in range(shape.sequences) for h in range(shape.kv_heads)]
    for bases, regions in zip(placement.bases, placement.regions, strict=True):
        size = shape.capacity * shape.token_atoms
        assert all(b - a == size for a, b in zip(bases.tolist(), bases.tolist()[1:], strict=False))
        assert [(region.base, region.end) for region in regions] == (
            [(bases[0], bases[-1] + size)] if len(bases) else []
        )


def test_a_pair_is_lowered_to_these_instructions():
    unit = machine(2)
    placement = place_cache(CacheShape(2, 64, 4, 1, 64), unit, first_atom=100)
    first, second = streams(Attention(unit, placement).compile(np.array([5, 0])))
    assert first == [
        "mat.f16 m0, 100, 64, 64, 4",
        "mat.f16 m1, 102, 64, 64, 4",
        "range l0, 4, 1",
        "range l1, 0, 5",
        "hin [0x0], 768",
        "st m0, l0, [0x0]",
        "st m1, l0, [0x80]",
        "dot m0, l1, [0x100], [0x700], 4",
        "softmax [0x700], [0x700], 5, 4",
        "cvt.f32.f16 [0x700], [0xb00], 20",
        "fill [0x300], 0.0, 256",
        "axpy m1, l1, [0xb00], [0x300], 4",
        "hout [0x300], 1024",
        "end",
    ]
    assert second == ["end"]


@pytest.mark.parametrize("context", [128, 256, 1024])
def test_even_a_short_context_is_read_from_all_ranks_alike(context):
    unit = machine(8)
    attention = Attention(unit, place_cache(CacheShape(1, 4096, 64, 8, 128), unit))
    counters = time_program(attention.compile(np.array([context])), unit).counters
    assert counters[:, :, N_RD].tolist() == [[2 * context * 4 // 4] * 4] * 8


def test_one_compiler_serves_every_context():
    unit = machine(1)
    attention = Attention(unit, place_cache(CacheShape(1, 64, 4, 1, 64), unit))
    before = streams(attention.compile(np.array([64])))
    attention.compile(np.array([3]))
    assert streams(attention.compile(np.array([64]))) == before


def refusal(function, *arguments):
    with pytest.raises(InputError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((0, 64, 4, 1, 64), "KV cache: sequences: expected 1 to 1048576, found 0"),
        ((1, 0, 4, 1, 64), "KV cache: capacity: expected 1 to 16777215, found 0"),
        ((1, 64, 4, 1, 0), "KV cache: head_width: expected 1 to 1048575, found 0"),
        ((1, 64, 4, 1, 63), "KV cache: head_width: expected an even number, found 63"),
        ((1, 64, 5, 2, 64), "KV cache: heads: expected 1 to 255 times the 2 KV heads, found 5"),
        ((1, 64, 512, 2, 64), "KV cache: heads: expected 1 to 255 times the 2 KV heads, found 512"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(shape, sentence):
    assert refusal(CacheShape, *shape) == sentence


@pytest.mark.parametrize(
    ("contexts", "sentence"),
    [
        ([5], "contexts: expected 2 whole numbers, one a sequence"),
        ([5.0, 5.0], "contexts: expected 2 whole numbers, one a sequence"),
        ([5, 65], "contexts: expected 0 to 64 tokens, found 65"),
        ([-1, 5], "contexts: expected 0 to 64 tokens, found -1"),
    ],
)
def test_contexts_that_cannot_be_are_refused(contexts, sentence):
    unit = machine(2)
    attention = Attention(unit, place_cache(CacheShape(2, 64, 4, 1, 64), unit))
    assert refusal(attention.compile, np.array(contexts)) == sentence


def test_a_capacity_whose_scores_do_not_fit_is_refused():
    unit = machine(1)
    full = Attention(unit, place_cache(CacheShape(1, 5322, 8, 1, 128), unit))
    assert len(streams(full.compile(np.array([5322])))[0]) == 14
    assert refusal(Attention, unit, place_cache(CacheShape(1, 5400, 8, 1, 128), unit)) == (
        f"cache: capacity: 8 query heads over 5400 tokens need {512 + 2048 + 4096 + 6 * 8 * 5400} bytes "
        f"of a buffer that has 262144; use a smaller capacity"
    )


def test_a_cache_too_large_for_the_dimms_is_refused():
    assert "use more DIMMs" in refusal(place_cache, CacheShape(64, 1 << 22, 8, 8, 128), machine(1))
