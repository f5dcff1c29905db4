"""Where neurons lie, how they move and how they are dealt, against the plain definition of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.machine.rows import Rows, deal


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
    rows = Rows((np.arange(20) % 3).astype(np.uint8), 3, 9)
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
    first, second = (Rows((np.arange(20) % 3).astype(np.uint8), 3, 9) for _ in range(2))
    first.move(np.array([3, 4, 5]), np.array([2, 2, 2], np.uint8))
    second.restore(first.state())
    for rows in (first, second):
        rows.move(np.array([3, 1, 2]), np.array([0, 2, 0], np.uint8))
    assert second.row.tolist() == first.row.tolist() and second.dimm.tolist() == first.dimm.tolist()


def test_too_many_neurons_for_the_rows_of_a_dimm_are_refused():
    with pytest.raises(InputError, match="expected at most 9 neurons of a group on a DIMM, found 10"):
        Rows(np.zeros(10, np.uint8), 2, 9)
