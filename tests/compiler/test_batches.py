"""A batch in groups of sequences: all that is needed is computed once, whatever fits the buffer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_support import executed, machine, numbers, same_bits
from oracles import decode_step as oracle

from ndpsim.compiler.batches import groups_of
from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.merge import shares_of
from ndpsim.compiler.placement import LayerShape, memory_image, place
from ndpsim.compiler.projection import Projection
from ndpsim.errors import InputError
from ndpsim.isa.program import Joined

BATCHES = [1, 31, 32, 33, 64, 65, 255, 256]


def words_of(needs, sequences):
    """Bits of 32 sequences each, of DIMMs whose rows are needed by the sequences that `needs` has bits of."""
    return [
        [np.array([need >> 32 * word & 0xFFFFFFFF for need in own], np.uint32) for own in needs]
        for word in range(-(-sequences // 32))
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(BATCHES), st.lists(st.lists(st.integers(1, (1 << 256) - 1), max_size=8), min_size=1, max_size=3),
    st.integers(0, 40), st.booleans(),
)  # fmt: skip
def test_every_sequence_meets_the_rows_that_it_needs_once_and_in_order(sequences, drawn, most, joined):
    needs = [[need % ((1 << sequences) - 1) + 1 for need in own] for own in drawn]
    rows = [np.arange(len(own), dtype=np.uint32) * 3 for own in needs]
    masks = words_of(needs, sequences)
    given_rows = Joined.of(rows) if joined else rows
    given_masks = [Joined.of(word) if joined else word for word in masks]
    found, first = {}, 0
    for group in groups_of(given_rows, given_masks, sequences, lambda longest: most - longest):
        assert 1 <= group.sequences <= 32
        own, bits = (part.parts() if isinstance(part, Joined) else part for part in (group.rows, group.masks))
        assert group.sequences <= max(most - max(map(len, own)), 1) or group.sequences == 1
        for dimm, (listed, needed) in enumerate(zip(own, bits, strict=True)):
            assert len(masks) == 1 == -(-sequences // 32) or (needed > 0).all()
            for b in range(group.sequences):
                found[first + b, dimm] = [row for row, bit in zip(listed, needed, strict=True) if int(bit) >> b & 1]
        first += group.sequences
    assert first == sequences
    for (sequence, dimm), listed in found.items():
        assert listed == [3 * n for n, need in enumerate(needs[dimm]) if need >> sequence & 1]


def test_a_batch_that_fits_one_program_is_left_as_it_is():
    rows, masks = [np.arange(3, dtype=np.uint32)], [np.array([1, 2, 3], np.uint32)]
    (group,) = groups_of(rows, [masks], 32, lambda longest: 255)
    assert group.rows is rows and group.masks is masks and group.sequences == 32
    (group,) = groups_of(rows, None, 255, lambda longest: 300)
    assert group.rows is rows and group.masks is None and group.sequences == 255


@pytest.mark.parametrize(
    ("sequences", "most", "sizes"),
    [(256, 300, [255, 1]), (33, 16, [16, 16, 1]), (5, 0, [1] * 5), (256, 100, [100, 100, 56])],
)
def test_without_masks_groups_are_as_large_as_the_buffer_and_an_instruction_let_them_be(sequences, most, sizes):
    rows = [np.arange(7, dtype=np.uint32), np.arange(9, dtype=np.uint32)]
    asked = []
    groups = list(groups_of(rows, None, sequences, lambda longest: asked.append(longest) or most))
    assert [group.sequences for group in groups] == sizes and set(asked) == {9}
    assert all(group.rows is rows for group in groups)


def test_masks_of_another_batch_are_refused():
    rows = [np.arange(3, dtype=np.uint32)]
    with pytest.raises(InputError, match="masks: expected 2 for 33 sequences, found 1"):
        list(groups_of(rows, [[np.ones(3, np.uint32)]], 33, lambda longest: 255))


@pytest.mark.parametrize("kind", ["block", "projection"])
@pytest.mark.parametrize(("batch", "room"), [(40, 262144), (33, 4096), (12, 1400)])
def test_groups_give_what_the_oracle_gives_for_the_whole_batch_bit_for_bit(kind, batch, room):
    rng, unit = np.random.default_rng(batch), machine(2, room)
    shape = LayerShape(60, 40, "relu" if kind == "block" else None)
    placement = place(shape, unit)
    operator = (FeedForward if kind == "block" else Projection)(unit, placement)
    weights = {name: numbers(rng, "f16", 60, 40) for name in shape.matrices}
    x = numbers(rng, "f16", batch, 40 if kind == "block" else 60)
    gpu = rng.standard_normal((batch, 40)).astype(np.float32)
    shares = shares_of(placement, np.arange(0, 60, 2) if kind == "block" else np.arange(60))
    neurons = [held[rows] for held, rows in zip(placement.neurons, shares, strict=True)]
    needs = [[int.from_bytes(rng.bytes(32)) % ((1 << batch) - 1) + 1 for _ in rows] for rows in shares]
    results, sizes, first = [], [], 0
    for group in groups_of(shares, words_of(needs, batch), batch, lambda rows: operator.most_sequences(rows, True)):
        rows = group.rows.parts() if isinstance(group.rows, Joined) else group.rows
        own = slice(first, first + group.sequences)
        program = operator.compile(rows, group.sequences, gpu=True, masks=group.masks)
        host_input = operator.host_input(x[own], rows, gpu[own])
        host_out = executed(program, unit, memory_image(placement, weights), host_input)
        results.append(operator.result(host_out, rows, group.sequences, gpu=True))
        sizes.append(operator.plan(rows, group.sequences, True))
        first += group.sequences
    assert len(results) > 1
    if kind == "block":
        (cols,) = {plan.cols for plan in sizes}
        expected = oracle.block(weights, x, neurons, gpu, cols, kind="f16", activation="relu", gated=False, masks=needs)
    else:
        expected = oracle.projection(weights["up"], x, neurons, gpu, "f16", needs)
    assert same_bits(np.concatenate(results), expected)


@pytest.mark.parametrize(("rows", "gpu"), [(700, False), (8000, True), (8000, False)])
def test_the_most_sequences_are_those_that_compile_and_one_more_does_not(rows, gpu):
    unit = machine(1)
    block = FeedForward(unit, place(LayerShape(28672, 8192, "silu", gated=True), unit))
    most, shares = block.most_sequences(rows, gpu), [np.arange(rows, dtype=np.uint32)]
    block.compile(shares, most, gpu=gpu)
    with pytest.raises(InputError, match=f"batch: expected at most {most} for a buffer of 262144 bytes"):
        block.compile(shares, most + 1, gpu=gpu)
