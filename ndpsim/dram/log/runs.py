"""Runs of equal keys in sorted columns of a log."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def start_of_run(*keys: npt.NDArray[Any]) -> Ints:
    """Return for each place where its run of equal keys begins."""
    changed = np.zeros(len(keys[0]), np.bool_)
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    starts: Ints = np.maximum.accumulate(np.where(changed, np.arange(len(changed)), 0))
    return starts
