"""Slow twin of the time model of matrix products: one product at a time, in plain Python, quantities by their names."""

import math
from itertools import product

from ndpsim.gpu.gemm import (
    DEPTH,
    GATHER_BYTES,
    L2_SHARPNESS,
    RAMP_US,
    REDUCTION,
    SPLITS,
    TILE_LOSS,
    TILES,
    WAVE_CLOCKS,
    WRITE_BACK,
)

# Bytes of a weight and of an activation, and the rate that multiplies them.
FORMATS = {
    "fp16": (2, 2, "fp16_tflops"),
    "bf16": (2, 2, "fp16_tflops"),
    "int8": (1, 1, "int8_tops"),
    "int8-weights": (1, 2, "fp16_tflops"),
    "int4-weights": (0.5, 2, "fp16_tflops"),
    "fp32": (4, 4, "fp32_tflops"),
}


def microseconds(op, dtype, shape, card, efficiency):
    """Return the time of a product; `shape` and `efficiency` are dictionaries, of columns and of parameters."""
    m, n, k = shape["m"], shape["n"], shape["k"]
    weight, activation, rate = FORMATS[dtype]
    weights = n * k * weight
    if op == "sparse_gemm":  # every gathered row fetches bytes in vain
        gathered_row = shape.get("row") or k
        weights += n * k / gathered_row * GATHER_BYTES
    inputs, outputs = m * k * activation, m * n * activation

    l2_bytes = card.l2_mb * 1e6
    missed = outputs * _missing(weights + inputs + outputs, l2_bytes * WRITE_BACK)
    missed += inputs * _missing(weights + inputs, l2_bytes)
    copies = shape.get("rotation", 0)
    missed += weights * (_missing(copies * weights + inputs, l2_bytes) if copies else 1)
    hit = weights + inputs + outputs - missed
    dram_rate = card.memory_gb_per_s * 1e3 * efficiency["memory_share"]
    l2_rate = max(card.l2_bytes_per_clock * card.clock_mhz * efficiency["l2_share"], dram_rate)
    memory = missed / dram_rate + hit / l2_rate

    sm_rate = getattr(card, rate) * 1e6 / card.sms * efficiency["matrix_share"]
    candidates = []
    for (rows, columns), parts in product(TILES.tolist(), SPLITS.tolist()):
        half_empty = rows > 16 and m <= rows / 2
        too_thin = parts > 1 and k / parts < 2 * DEPTH
        if half_empty or too_thin:
            continue
        blocks = math.ceil(m / rows) * math.ceil(n / columns) * parts
        waves, steps = math.ceil(blocks / card.sms), math.ceil(k / parts / DEPTH)
        fetching = 1 + TILE_LOSS * (1 / rows + 1 / columns - 1 / 128)
        multiply = waves * steps * 2 * rows * columns * DEPTH * fetching / sm_rate
        latency = waves * (steps * efficiency["step_clocks"] + WAVE_CLOCKS) / card.clock_mhz
        time = (memory**4 + math.hypot(multiply, latency) ** 4) ** 0.25
        if parts > 1:
            time += efficiency["split_us"] + REDUCTION * 8 * m * n * parts / l2_rate
        candidates.append(time)

    fill = efficiency["fill_us"] * (efficiency["gemv_fill"] if m == 1 else 1)
    time = min(candidates) + efficiency["launch_us"] + fill
    return time + efficiency["ramp"] * RAMP_US * (1 - math.exp(-time / RAMP_US))


def _missing(working_set, l2_bytes):
    return 1 - 1 / (1 + (working_set / l2_bytes) ** L2_SHARPNESS)
