"""Tuples laid out for kernels once are the tuples, and keep their arrays no longer than they live."""

import gc
import weakref

import numpy as np
import pytest

from ndpsim.dram.ndp.mac_array import Array
from ndpsim.jit import njit
from ndpsim.kernels.held import Held


def _whole():
    """A tuple of all that tuples hold, with classes of the package: processes without tests read the cached kernel."""
    first = Array(True, np.arange(6).reshape(2, 3), -1)
    second = Array(False, np.arange(4)[:, None], 1 << 60)
    return -7, first, (second, 2.5), np.arange(5, dtype=np.uint32)


@njit
def _add(whole, step):
    """Add to every array, and return all numbers."""
    size, first, (second, fraction), words = whole
    first.holds[:] += step
    second.holds[:] += step
    words[:] += np.uint32(step)
    flags = 2 * int(first.alternating) + int(second.alternating)
    sums = first.holds.sum(), second.holds.sum(), words.sum()
    return size, flags, first.sequences, second.sequences, fraction, sums


@njit
def _add_held(held, step):
    return _add(held.value, step)


def test_a_kernel_reads_and_writes_what_is_held_as_if_it_had_been_passed():
    plain, value = _whole(), _whole()
    held = Held(value)
    for step in (1, 5):
        assert _add_held(held, step) == _add(plain, step)
    assert _add_held(held, 0) == (-7, 2, -1, 1 << 60, 2.5, (15 + 36, 6 + 24, 10 + 30))
    assert (value[1].holds == plain[1].holds).all() and (value[3] == plain[3]).all()


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
    kept = weakref.ref(value[1].holds)
    held = Held(value)
    for _ in range(calls):
        _add_held(held, 1)
    del value
    gc.collect()
    assert kept() is not None
    del held
    gc.collect()
    assert kept() is None
