"""Row operations one at a time, from their description: bytes at the rates of DRAM and L2, clocks of the SMs."""

BYTES = {"fp16": 2, "bf16": 2, "int8": 1, "int8-weights": 2, "int4-weights": 2, "fp32": 4}
READS = {"gated_activation": 2, "add": 2}
BUFFERS = {"gated_activation": 3, "add": 3, "rotary": 1, "embedding": 1}
CLOCKS = {"softmax": 0.55, "layernorm": 0.4, "rmsnorm": 0.9, "gated_activation": 1.0, "rotary": 0.6, "embedding": 1.0}
ELEMENTWISE = ("activation", "add", "copy")


def microseconds(op, dtype, shape, card, values):
    """Time of one kernel; `values` are the efficiencies by name."""
    m, n = shape["m"], shape["n"]
    output = m * n * BYTES[dtype]
    residual = shape.get("residual", 0)
    read, written = (READS.get(op, 1) + residual) * output, (1 + residual) * output
    time = values["launch_us"]
    if op == "embedding":
        steps = 2 + (m if m <= 16 else 0)
        time += steps * 600 / card.clock_mhz
        if shape.get("rotation", 0):
            read = 0
    cache = card.l2_mb * 1e6
    from_dram = read * misses(BUFFERS.get(op, 2) * output, values["l2_kept"] * cache) + written * misses(written, cache)
    dram_rate = card.memory_gb_per_s * 1e3 * values["memory_share"]
    l2_rate = max(dram_rate, card.l2_bytes_per_clock * card.clock_mhz * values["l2_share"])
    memory = from_dram / dram_rate + (read + written - from_dram) / l2_rate
    lanes = {"softmax": 1, "rotary": 1, "embedding": values["gather_lanes"]}.get(op, values["lanes"])
    blocks = m * n / 1024 if op in ELEMENTWISE else m
    busy = min(card.sms, max(1, blocks))
    compute = m * n * CLOCKS.get(op, 0.4) / lanes / busy / card.clock_mhz
    return time + (memory**4 + compute**4) ** 0.25


def misses(buffers, cache):
    """Share of accesses that miss."""
    return 1 - 1 / (1 + (buffers / cache) ** 2.5)
