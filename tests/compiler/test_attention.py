from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_support import PEAK_BYTES_PER_PS, assert_reads, executed, machine, numbers, same_bits, streams
from oracles import decode_step as oracle
from oracles import interpreter
from oracles.interpreter import Dimm

from ndpsim.compiler.attention import AttentionCompiler
from ndpsim.compiler.kv_cache import CacheShape, cache_image, place_cache
from ndpsim.dimm.timing import time_program
from ndpsim.dram.ndp.rank_state import N_RD, N_WR
from ndpsim.errors import InputError
from ndpsim.isa.encoding import array_to_words


@st.composite
def tokens(draw):
    """Draw a cache with something in it, and the next token of each sequence."""
    kv_heads, group = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = CacheShape(draw(st.integers(1, 4)), draw(st.integers(1, 300)), kv_heads * group, kv_heads,
                       2 * draw(st.integers(1, 40)))  # fmt: skip
    room = draw(st.none() | st.integers(1, 200))  # for the scores of so many tokens
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
    unit = machine(dimms, 262144 if room is None else buffer_for(shape, room),
                   str(rng.choice(["interleaved", "row", "striped"])))  # fmt: skip
    return SimpleNamespace(
        shape=shape, machine=unit, placement=placement, attention=AttentionCompiler(unit, placement), contexts=contexts,
        keys=keys, values=values, new_keys=new_keys, new_values=new_values, queries=queries,
        tile=shape.capacity if room is None or in_one_piece(shape, unit) else room if room < 64 else room // 64 * 64,
    )  # fmt: skip


def around(shape):
    """Bytes of a buffer beside scores: new key and value, queries, results in FP32."""
    return 2 * (2 + shape.group) * shape.head_width + 4 * shape.group * shape.head_width


def buffer_for(shape, room):
    """Bytes of a buffer in which scores of `room` tokens have room, in FP32 and FP16, beside the state of the parts."""
    return around(shape) + 16 * shape.group + 4 * shape.group * room + -(-2 * shape.group * room // 4) * 4


def in_one_piece(shape, unit):
    """Whether the scores of a full cache fit the buffer."""
    scores = shape.group * shape.capacity
    return around(shape) + 4 * scores + -(-2 * scores // 4) * 4 <= unit.buffer_bytes


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
        expected[sequence, queries] = oracle.attention(*arrays, context, case.tile)
    result, images = run_of(case)
    assert same_bits(result, expected)
    for mine, other in zip(images, cache_image(case.placement, *appended(case)), strict=True):
        assert [region.tobytes() for region in mine] == [region.tobytes() for region in other]


@settings(max_examples=4, deadline=None)
@given(tokens())
def test_executor_and_interpreter_run_attention_to_the_same_bits(case):
    images = cache_image(case.placement, case.keys, case.values)
    host_input = case.attention.host_input(case.queries, case.new_keys, case.new_values, case.contexts)
    program = case.attention.compile(case.contexts)
    dimms = [
        Dimm(
            array_to_words(own.words),
            regions=[(region.base, region.atoms, region.writable) for region in own.regions],
            memory=[bytearray(image) for image in regions],
            host_in=data,
            buffer=bytearray(b"\x5a" * case.machine.buffer_bytes),
        )
        for own, regions, data in zip(program.dimms, images, host_input, strict=True)
    ]
    assert interpreter.run(dimms) is None
    host_out = executed(program, case.machine, images, host_input)
    assert [bytes(dimm.host_out) for dimm in dimms] == host_out
    memory = [[bytes(region) for region in dimm.memory] for dimm in dimms]
    assert memory == [[region.tobytes() for region in regions] for regions in images]


@settings(max_examples=80, deadline=None)
@given(tokens())
def test_attention_lies_within_the_stated_bound_of_the_exact_result(case):
    result, _ = run_of(case)
    for sequence, queries, arrays, context in groups(case):
        exact, bound = oracle.attention_and_bound(*arrays, context, case.tile)
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
    first, second = streams(AttentionCompiler(unit, placement).compile(np.array([5, 0])))
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
    attention = AttentionCompiler(unit, place_cache(CacheShape(1, 4096, 64, 8, 128), unit))
    counters = time_program(attention.compile(np.array([context])), unit).counters
    assert counters[:, :, N_RD].tolist() == [[2 * context * 4 // 4] * 4] * 8


def test_one_compiler_serves_every_context():
    unit = machine(1)
    attention = AttentionCompiler(unit, place_cache(CacheShape(1, 64, 4, 1, 64), unit))
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
    attention = AttentionCompiler(unit, place_cache(CacheShape(2, 64, 4, 1, 64), unit))
    assert refusal(attention.compile, np.array(contexts)) == sentence


def test_a_full_cache_runs_in_one_piece_up_to_the_last_token_that_fits_the_buffer():
    # 512 + 2048 + 4096 bytes for key and value, queries and results, 8 * 6 a token for scores
    for capacity, lines in [(5322, 14), (5323, 14 + 2 + 6 + 1)]:
        unit = machine(1)
        full = AttentionCompiler(unit, place_cache(CacheShape(1, capacity, 8, 1, 128), unit))
        assert len(streams(full.compile(np.array([capacity])))[0]) == lines


def test_a_pair_whose_scores_do_not_fit_is_lowered_to_tiles_of_whole_passes():
    unit = machine(1, around(CacheShape(1, 300, 4, 1, 64)) + 64 + 24 * 130)
    attention = AttentionCompiler(unit, place_cache(CacheShape(1, 300, 4, 1, 64), unit))
    assert streams(attention.compile(np.array([260]))) == [[
        "mat.f16 m0, 0, 300, 64, 4",
        "mat.f16 m1, 2, 300, 64, 4",
        "range l0, 259, 1",
        "range l1, 0, 128",
        "hin [0x0], 768",
        "st m0, l0, [0x0]",
        "st m1, l0, [0x80]",
        "fill [0x700], -inf, 4",
        "fill [0x710], 0.0, 4",
        "dot m0, l1, [0x100], [0x740], 4",
        "softpart [0x740], [0x700], [0x740], 128, 4",
        "cvt.f32.f16 [0x740], [0xf40], 512",
        "fill [0x300], 0.0, 256",
        "axpy m1, l1, [0xf40], [0x300], 4",
        "range l1, 128, 128",
        "dot m0, l1, [0x100], [0x740], 4",
        "softpart [0x740], [0x700], [0x740], 128, 4",
        "cvt.f32.f16 [0x740], [0xf40], 512",
        "scale [0x300], [0x720], [0x300], 64, 4",
        "axpy m1, l1, [0xf40], [0x300], 4",
        "range l1, 256, 4",
        "dot m0, l1, [0x100], [0x740], 4",
        "softpart [0x740], [0x700], [0x740], 4, 4",
        "cvt.f32.f16 [0x740], [0xf40], 16",
        "scale [0x300], [0x720], [0x300], 64, 4",
        "axpy m1, l1, [0xf40], [0x300], 4",
        "scale [0x300], [0x730], [0x300], 64, 4",
        "hout [0x300], 1024",
        "end",
    ]]  # fmt: skip


def test_contexts_of_one_token_to_many_tiles_run_beside_each_other():
    shape = CacheShape(5, 300, 2, 1, 64)
    unit = machine(1, buffer_for(shape, 64))
    text = streams(AttentionCompiler(unit, place_cache(shape, unit)).compile(np.array([64, 65, 0, 192, 193])))[0]
    assert [line.split(", ", 1)[1] for line in text if line.startswith("range l1")] == [
        "0, 64", "0, 64", "64, 1", "0, 64", "64, 64", "128, 64", "0, 64", "64, 64", "128, 64", "192, 1",
    ]  # fmt: skip
    assert [line.split(", ")[1] for line in text if line.startswith("mat.f16 m0")] == ["0", "1200", "3600", "4800"]


def test_tiles_follow_the_return_queue_of_the_machine():
    shape = CacheShape(1, 1000, 2, 1, 64)
    for queue, tile in [(16, 320), (32, 256), (128, 383)]:
        unit = machine(1, buffer_for(shape, 383), queue=queue)
        text = streams(AttentionCompiler(unit, place_cache(shape, unit)).compile(np.array([1000])))[0]
        assert f"range l1, {tile}, {min(tile, 1000 - tile)}" in text


def test_a_buffer_without_room_for_one_token_is_refused_with_what_would_be_enough():
    shape = CacheShape(1, 100, 255, 1, 256)
    placement, need = place_cache(shape, machine(1)), 2 * 257 * 256 + 4 * 255 * 256 + 255 * (16 + 6)
    least = -(-need // 64) * 64
    assert refusal(AttentionCompiler, machine(1), placement) == (
        f"dimm.unit.buffer_bytes: expected at least {least} for 255 query heads of 256 elements that share a KV head, "
        "found 262144"
    )
    AttentionCompiler(machine(1, least), placement)


def test_a_cache_too_large_for_the_dimms_is_refused():
    """512 pairs of 2 GiB: 16 fit a DIMM of 32 GiB."""
    assert refusal(place_cache, CacheShape(64, 1 << 22, 8, 8, 128), machine(1)) == (
        f"dimms: expected at least 32 for cache, which needs {512 << 31} bytes of each, found 1 of {1 << 35} bytes"
    )
    assert "dimms: expected more than 256 for" in refusal(
        place_cache, CacheShape(1, 1 << 24 - 1, 8, 1, 2048), machine(1)
    )


LLAMA3_8B = (1, 1 << 17, 32, 8, 128)
"""One sequence of 128 Ki tokens, with the heads of llama3.1-8b."""


def test_time_grows_linearly_with_the_context_up_to_128_ki_tokens():
    unit = machine(8)
    attention = AttentionCompiler(unit, place_cache(CacheShape(*LLAMA3_8B), unit))
    lengths = [1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17]  # the first two in one piece
    programs = [attention.compile(np.array([length])) for length in lengths]
    times = [time_program(program, unit).total_ps for program in programs]
    slopes = np.diff(times) / np.diff(lengths)
    assert np.allclose(slopes, slopes[0], rtol=0.02)
    assert 4 * 128 / slopes[-1] < PEAK_BYTES_PER_PS  # bytes of a key and a value of the one pair that each DIMM has
    assert max(len(program.dimms[0].words) for program in programs) < 100


def test_128_ki_tokens_are_attended_to_within_the_bound():
    """Four query heads that share keys and values, against float64, and against what NumPy gives in float32."""
    tokens, shape = 1 << 17, CacheShape(1, 1 << 17, 4, 1, 64)
    unit, rng = machine(1), np.random.default_rng(11)
    placement = place_cache(shape, unit)
    attention, contexts = AttentionCompiler(unit, placement), np.array([tokens])
    keys, values = numbers(rng, "f16", 1, 1, tokens, 64), numbers(rng, "f16", 1, 1, tokens, 64)
    queries = numbers(rng, "f16", 1, 4, 64) / np.float16(2)
    new = keys[:, :, -1].copy(), values[:, :, -1].copy()
    host_input = attention.host_input(queries, *new, contexts)
    images = cache_image(placement, keys, values)
    result = attention.result(executed(attention.compile(contexts), unit, images, host_input), contexts)[0]
    tile = int(streams(attention.compile(contexts))[0][3].rpartition(" ")[2])
    assert tokens > 10 * tile
    exact, bound = oracle.attention_and_bound(queries[0], keys[0, 0], values[0, 0], tokens, tile)
    assert (np.abs(result - exact) <= bound).all()
    scores = queries[0].astype(np.float32) @ keys[0, 0].astype(np.float32).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    plain = (weights / weights.sum(axis=1, keepdims=True)) @ values[0, 0].astype(np.float32)
    assert (np.abs(result - plain) <= 2 * bound).all()
    assert np.abs(result - exact).max() < 1e-3 * np.abs(exact).max()
