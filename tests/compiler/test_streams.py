"""Kept streams are those that would be encoded anew, whatever was asked for before."""

import numpy as np
import pytest

from ndpsim.compiler import streams
from ndpsim.compiler.streams import Streams
from ndpsim.isa.program import Joined


def _encoded(dimm, rows):
    """Some words that no other DIMM or number of rows has."""
    return np.full((1 + (dimm + rows) % 3, 2), 1000 * dimm + rows, np.uint64)


def _rows(counts):
    return Joined.of([np.zeros(count, np.uint32) for count in counts])


@pytest.mark.parametrize("kept", [1 << 17, 20])
def test_streams_are_those_of_each_dimm_and_number_of_rows(monkeypatch, kept):
    monkeypatch.setattr(streams, "_WORDS_KEPT", kept)
    asked = []

    def encode(dimm, rows):
        asked.append((dimm, rows))
        return _encoded(dimm, rows)

    made, rng = Streams(encode, 3), np.random.default_rng(1)
    drawn = [(0, 0, 0), (40, 0, 7), (7, 40, 0), *rng.integers(0, 12, (60, 3)).tolist()]
    for counts in drawn:
        found, expected = made.of(_rows(counts)), Joined.of([_encoded(*own) for own in enumerate(counts)])
        assert found.values.tolist() == expected.values.tolist() and found.starts.tolist() == expected.starts.tolist()
    different = {own for counts in drawn for own in enumerate(counts)}
    assert set(asked) == different
    assert (len(asked) == len(different)) == (kept > 20)


def test_what_is_returned_is_the_callers_own():
    made = Streams(_encoded, 2)
    made.of(_rows((3, 4))).values[:] = 0
    assert made.of(_rows((3, 4))).values[0, 0] == 3
