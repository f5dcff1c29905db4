"""Where neurons lie, how they move and how they are dealt, against the plain definition of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.machine.rows import NeuronRows, deal


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from([1, 2, 5, 31, 32, 33, 64, 65, 256]),
    st.lists(st.tuples(st.integers(0, (1 << 256) - 1), st.integers(0, 7)), min_size=1, max_size=100),
)
def test_needed_neurons_are_dealt_to_their_dimms_in_order(dimms, sequences, neurons):
    needs = [need % (1 << sequences) for need, _ in neurons]
    dimm = np.array([d % dimms for _, d in neurons], np.uint8)
    row = np.arange(len(neurons), dtype=np.uint32) * 3
    packed = np.zeros((sequences, -(-len(neurons) // 64) * 64), np.bool_)
    packed[:, : len(neurons)] = [[need >> s & 1 for need in needs] for s in range(sequences)]
    rows, masks = deal(np.packbits(packed, axis=1, bitorder="little").view(np.uint64), dimm, row, dimms)
    for d in range(dimms):
        own = [n for n in range(len(neurons)) if needs[n] and dimm[n] == d]
        assert rows.parts()[d].tolist() == [int(row[n]) for n in own]
        for word in range(-(-sequences // 32) if sequences > 1 else 0):
            assert masks[word].parts()[d].tolist() == [needs[n] >> 32 * word & 0xFFFFFFFF for n in own]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 2)), max_size=30), max_size=4))
def test_neurons_that_move_never_share_a_row(rounds):
    rows = NeuronRows((np.arange(20) % 3).astype(np.uint8), 3, 9)
    plain, free = (np.arange(20) % 3).tolist(), [9 - 7, 9 - 7, 9 - 6]
    for moves in rounds:
        moved = rows.move(np.array([n for n, _ in moves], np.int64), np.array([d for _, d in moves], np.uint8))
        for (neuron, target), went in zip(moves, moved.tolist(), strict=True):
            assert went == (free[target] > 0)
            if went:
                free[plain[neuron]] += 1
                free[target] -= 1
                plain[neuron] = target
    assert rows.dimm.tolist() == plain and rows.room.tolist() == free
    places = set(zip(rows.dimm.tolist(), rows.row.tolist(), strict=True))
    assert len(places) == 20 and all(row < 9 for _, row in places)


def test_rows_go_on_from_their_state():
    first, second = (NeuronRows((np.arange(20) % 3).astype(np.uint8), 3, 9) for _ in range(2))
    first.move(np.array([3, 4, 5]), np.array([2, 2, 2], np.uint8))
    second.restore(first.state())
    for rows in (first, second):
        rows.move(np.array([3, 1, 2]), np.array([0, 2, 0], np.uint8))
    assert second.row.tolist() == first.row.tolist() and second.dimm.tolist() == first.dimm.tolist()


def test_too_many_neurons_for_the_rows_of_a_dimm_are_refused():
    with pytest.raises(InputError, match="expected at most 9 neurons of a group on a DIMM, found 10"):
        NeuronRows(np.zeros(10, np.uint8), 2, 9)


def test_neurons_take_the_first_rows_of_their_dimm_and_the_lowest_free_row_is_taken_next():
    """Neurons 0, 2 and 3 on DIMM 0, 1 and 4 on DIMM 1; each has 5 rows."""
    rows = NeuronRows(np.array([0, 1, 0, 0, 1], np.uint8), 2, 5)
    assert rows.row.tolist() == [0, 0, 1, 2, 1]
    assert rows.room.tolist() == [2, 3]
    assert rows.free.tolist() == [[4, 3, 0, 0, 0], [4, 3, 2, 0, 0]]
    moved = rows.move(np.array([2, 0]), np.array([1, 1], np.uint8))
    assert moved.tolist() == [True, True]
    assert rows.dimm.tolist() == [1, 1, 1, 0, 1] and rows.row.tolist() == [3, 0, 2, 2, 1]
    assert rows.room.tolist() == [4, 1]
    assert rows.free[0, :4].tolist() == [4, 3, 1, 0]  # rows that were left are taken first
    assert rows.move(np.array([1]), np.array([0], np.uint8)).tolist() == [True]
    assert (rows.dimm[1], rows.row[1]) == (0, 0)


def test_a_state_is_a_copy():
    rows = NeuronRows(np.array([0, 1, 0], np.uint8), 2, 5)
    state = rows.state()
    rows.move(np.array([0]), np.array([1], np.uint8))
    assert {name: one.tolist() for name, one in state.items()} == {
        "dimm": [0, 1, 0], "row": [0, 0, 1], "free": [[4, 3, 2, 0, 0], [4, 3, 2, 1, 0]], "room": [3, 4]
    }  # fmt: skip
    rows.restore(state)
    assert rows.dimm.tolist() == [0, 1, 0] and rows.room.tolist() == [3, 4] and rows.row.tolist() == [0, 0, 1]


def test_neurons_beyond_the_first_word_are_dealt_by_hand():
    """Neurons 0, 63, 64 and 130 of three words; two sequences, two DIMMs."""
    dimm, row = np.zeros(192, np.uint8), np.arange(192, dtype=np.uint32) * 10
    dimm[[63, 130]] = 1
    cold = np.array([[1 | 1 << 63, 1, 0], [1, 0, 1 << 2]], np.uint64)
    rows, masks = deal(cold, dimm, row, 2)
    assert [part.tolist() for part in rows.parts()] == [[0, 640], [630, 1300]]
    (word,) = masks
    assert [part.tolist() for part in word.parts()] == [[0b11, 0b01], [0b01, 0b10]]


def test_a_dimm_may_have_exactly_as_many_neurons_as_rows():
    rows = NeuronRows(np.zeros(9, np.uint8), 2, 9)
    assert rows.room.tolist() == [0, 9] and rows.row.tolist() == list(range(9))
    assert not rows.move(np.array([0]), np.array([0], np.uint8)).any()


def test_sequences_beyond_the_32nd_have_bits_in_a_word_of_their_own():
    """40 sequences; neuron 3 is needed by the first, the 32nd and the last, neuron 5 by the 33rd alone."""
    cold = np.zeros((40, 1), np.uint64)
    cold[[0, 31, 39], 0] = 1 << 3
    cold[32, 0] = 1 << 5
    rows, (low, high) = deal(cold, np.array([0] * 5 + [1] * 3, np.uint8), np.arange(8, dtype=np.uint32), 2)
    assert [part.tolist() for part in rows.parts()] == [[3], [5]]
    assert [part.tolist() for part in low.parts()] == [[1 | 1 << 31], [0]]
    assert [part.tolist() for part in high.parts()] == [[1 << 7], [1]]


def test_there_is_a_word_of_bits_for_each_32_sequences_and_no_more():
    dimm, row = np.zeros(64, np.uint8), np.arange(64, dtype=np.uint32)
    for sequences, words in ((1, 1), (2, 1), (32, 1), (33, 2), (64, 2), (65, 3)):
        _, masks = deal(np.full((sequences, 1), 5, np.uint64), dimm, row, 1)
        assert len(masks) == words
        if sequences > 1:
            bits = sum(int(mask.parts()[0][0]).bit_count() for mask in masks)
            assert bits == sequences
