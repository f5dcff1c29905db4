"""Tuples laid out for kernels once are the tuples, and keep their arrays no longer than they live."""

import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest

from ndpsim.held import Held
from ndpsim.jit import njit


class _Part(NamedTuple):
    flag: bool
    numbers: np.ndarray
    gaps: tuple[int, int]


class _Whole(NamedTuple):
    size: int
    first: _Part
    second: _Part
    words: np.ndarray


def _whole() -> _Whole:
    first = _Part(True, np.arange(6).reshape(2, 3), (-1, 1 << 60))
    second = _Part(False, np.arange(4)[:, None], (3, 4))
    return _Whole(-7, first, second, np.arange(5, dtype=np.uint32))


@njit
def _add(whole, step):
    """Add to every array, and return all numbers."""
    whole.first.numbers[:] += step
    whole.second.numbers[:] += step
    whole.words[:] += np.uint32(step)
    flags = 2 * int(whole.first.flag) + int(whole.second.flag)
    sums = whole.first.numbers.sum(), whole.second.numbers.sum(), whole.words.sum()
    return whole.size, flags, whole.first.gaps, whole.second.gaps, sums


@njit
def _add_held(held, step):
    return _add(held.value, step)


def test_a_kernel_reads_and_writes_what_is_held_as_if_it_had_been_passed():
    plain, value = _whole(), _whole()
    held = Held(value)
    for step in (1, 5):
        assert _add_held(held, step) == _add(plain, step)
    assert _add_held(held, 0) == (-7, 2, (-1, 1 << 60), (3, 4), (15 + 36, 6 + 24, 10 + 30))
    assert (value.first.numbers == plain.first.numbers).all() and (value.words == plain.words).all()


def test_values_of_two_types_do_not_share_a_layout():
    @njit
    def last(held):
        return held.value[1]

    assert last(Held((1, 2))) == 2
    assert last(Held((np.zeros(3), 5))) == 5
    assert last(Held((1, 2.5))) == 2.5


@pytest.mark.parametrize("calls", [0, 3])
def test_arrays_are_free_when_what_holds_them_is_gone(calls):
    value = _whole()
    kept = weakref.ref(value.first.numbers)
    held = Held(value)
    for _ in range(calls):
        _add_held(held, 1)
    del value
    gc.collect()
    assert kept() is not None
    del held
    gc.collect()
    assert kept() is None
