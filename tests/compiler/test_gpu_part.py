"""Where a program is marked: at the first instruction that waits for the GPU's partial result."""

import numpy as np
import pytest
from operator_support import machine, streams

from ndpsim.compiler.feed_forward import FeedForward
from ndpsim.compiler.placement import LayerShape, place
from ndpsim.compiler.projection import Projection

BLOCK = LayerShape(64, 3000, "relu", False)
MATRIX = LayerShape(64, 3000, None)
BUFFER = 48 * 1024  # less than 16 sums of 3,000 values in FP32, 192,000 bytes, which are cut into tiles of columns


def program(kind, shape, rows, gpu=True):
    unit = machine(2, BUFFER)
    shares = [np.arange(rows, dtype=np.uint32), np.arange(0, dtype=np.uint32)]
    return kind(unit, place(shape, unit)).compile(shares, 16, gpu=gpu)


@pytest.mark.parametrize(("kind", "shape"), [(Projection, MATRIX), (FeedForward, BLOCK)])
def test_without_rows_all_tiles_wait_for_the_gpu_from_the_first_on(kind, shape):
    made = program(kind, shape, 0)
    lines = streams(made)[0]
    own = [at for at, line in enumerate(lines) if line.startswith("hin")]
    assert len([line for line in lines if line.startswith("hout")]) > 1  # several tiles
    assert made.mark == own[0]
    assert all(line.startswith("fill") for line in lines[: made.mark])


@pytest.mark.parametrize(("kind", "shape"), [(Projection, MATRIX), (FeedForward, BLOCK)])
def test_with_rows_the_last_tile_waits_behind_what_the_dimm_computes(kind, shape):
    made = program(kind, shape, 5)
    lines = streams(made)[0]
    last = max(at for at, line in enumerate(lines) if line.startswith("axpy"))
    assert made.mark == min(at for at, line in enumerate(lines) if line.startswith("hin") and at > last)


@pytest.mark.parametrize(("kind", "shape"), [(Projection, MATRIX), (FeedForward, BLOCK)])
def test_without_a_gpu_nothing_is_marked(kind, shape):
    assert program(kind, shape, 5, gpu=False).mark == -1
