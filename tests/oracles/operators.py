"""Slow counts of the work and the bytes of a step: loops over layers, tokens, heads and values of a model file.

Works on the content of the file, with formulas of its own; nothing of the package is used.
"""

from collections import Counter


def row(width, precision):
    """Bytes of a row, value by value."""
    if precision == "fp16":
        return sum(2 for _ in range(width))
    if precision == "int8":
        return sum(1 for _ in range(width)) + 2
    half_bytes = scales = 0
    for value in range(width):
        half_bytes += 1
        if value % 128 == 0:
            scales += 1
    return (half_bytes + half_bytes % 2) // 2 + 2 * scales


def layer_tensors(m):
    """(name, rows, columns) of every tensor of a layer; a column count of None is a vector."""
    queries, keys = m["heads"] * m["head_width"], m["kv_heads"] * m["head_width"]
    tensors = [("qkv", queries, m["hidden"]), ("qkv", keys, m["hidden"]), ("qkv", keys, m["hidden"])]
    tensors += [("output", m["hidden"], queries), ("down", m["hidden"], m["ffn"])]
    if m["gated"]:
        tensors += [("gate_up", m["ffn"], m["hidden"]), ("gate_up", m["ffn"], m["hidden"])]
    else:
        tensors += [("up", m["ffn"], m["hidden"])]
    kinds = {"qkv": "qkv", "output": "output", "down": "ffn", "up": "ffn", "gate_up": "ffn"}
    tensors += [(name, rows, None) for name, rows, _ in list(tensors) if kinds[name] in m["biases"]]
    if m["positions"] == "relative":
        tensors += [("before all steps", queries, m["hidden"]), ("attention", queries, None)]
        tensors += [("attention", queries, None)]
    norms = ["attention_norm"] if m["block"] == "parallel_one_norm" else ["attention_norm", "ffn_norm"]
    for norm in norms:
        tensors += [(norm, m["hidden"], None)] * (2 if m["norm"] == "layer" else 1)
    return tensors


def outer_tensors(m):
    tensors = [("embedding", m["vocab"], m["hidden"])]
    if not m["tied_embedding"]:
        tensors.append(("lm_head", m["vocab"], m["hidden"]))
    if m["positions"] == "learned":
        tensors.append(("position_embedding", m["context"] + m["position_offset"], m["hidden"]))
    return tensors + [("final_norm", m["hidden"], None)] * (2 if m["norm"] == "layer" else 1)


def parameters(m):
    layers = [layer_tensors(m) for _ in range(m["layers"])]
    return sum(rows * (columns or 1) for tensors in [outer_tensors(m), *layers] for _, rows, columns in tensors)


def stored_bytes(m, precision):
    total = sum(2 * rows * (columns or 1) for _, rows, columns in outer_tensors(m))
    for _ in range(m["layers"]):
        for _, rows, columns in layer_tensors(m):
            total += sum(2 if columns is None else row(columns, precision) for _ in range(rows))
    return total


def kv_bytes_per_token(m, precision):
    vectors = 0
    for _layer in range(m["layers"]):
        for _head in range(m["kv_heads"]):
            vectors += 2
    return vectors * row(m["head_width"], precision)


class Tally:
    """FLOPs and bytes by operator, all layers together."""

    def __init__(self, activations):
        self.counts = Counter()
        self.activations = activations

    def add(self, name, field, amount):
        self.counts[name, field] += amount

    def reads(self, name, *widths):
        for width in widths:
            self.add(name, "input_bytes", row(width, self.activations))

    def writes(self, name, *widths):
        for width in widths:
            self.add(name, "output_bytes", row(width, self.activations))


def count(m, new, cached, logits, weights, activations, kv):
    """Return a Counter of (operator, field) with what a step does in all layers; fields as of `Operator`."""
    tally = Tally(activations)
    tokens = [(held, place) for fresh, held in zip(new, cached, strict=True) for place in range(fresh)]
    for _ in tokens:
        tally.add("embedding", "input_bytes", 4)
        tally.add("embedding", "weight_bytes", 2 * m["hidden"])
        tally.writes("embedding", m["hidden"])
        if m["positions"] == "learned":
            tally.add("position_embedding", "weight_bytes", 2 * m["hidden"])
            tally.add("position_embedding", "flops", m["hidden"])
            tally.reads("position_embedding", m["hidden"])
            tally.writes("position_embedding", m["hidden"])
    for _layer in range(m["layers"]):
        _layer_weights(tally, m, weights)
        for held, place in tokens:
            _token(tally, m, held, place)
        _cache(tally, m, new, cached, kv)
        if m["positions"] == "relative":
            _distances(tally, m, max(fresh + held for fresh, held in zip(new, cached, strict=True)))
    if logits:
        for _, _rows, _columns in [tensor for tensor in outer_tensors(m) if tensor[0] == "final_norm"]:
            tally.add("final_norm", "weight_bytes", 2 * m["hidden"])
        tally.add("lm_head", "weight_bytes", 2 * m["vocab"] * m["hidden"])
    for _ in range(logits):
        _norm(tally, m, "final_norm")
        _matvec(tally, "lm_head", m["vocab"], m["hidden"], False)
    return Counter({key: amount for key, amount in tally.counts.items() if amount})


def _layer_weights(tally, m, precision):
    in_steps = [tensor for tensor in layer_tensors(m) if tensor[0] != "before all steps"]
    for name, rows, columns in in_steps:
        for _ in range(rows):
            tally.add(name, "weight_bytes", 2 if columns is None else row(columns, precision))


def _token(tally, m, held, place):
    hidden, ffn = m["hidden"], m["ffn"]
    queries, keys = m["heads"] * m["head_width"], m["kv_heads"] * m["head_width"]
    _norm(tally, m, "attention_norm")
    _matvec(tally, "qkv", queries + 2 * keys, hidden, "qkv" in m["biases"])
    if m["positions"] == "rotary":
        for _head in range(m["heads"] + m["kv_heads"]):
            for _pair in range(m["head_width"] // 2):
                tally.add("rotary", "flops", 6)  # four products, a sum, a difference
        tally.reads("rotary", queries + keys)
        tally.writes("rotary", queries + keys)
    tally.reads("attention", queries + 2 * keys)
    tally.writes("attention", queries)
    for _head in range(m["heads"]):
        for _seen in range(held + place + 1):
            tally.add("attention", "flops", 2 * m["head_width"])  # the score
            tally.add("attention", "flops", 2 * m["head_width"])  # its share of the values
            if m["positions"] == "relative":
                tally.add("attention", "flops", 2 * m["head_width"])
    _matvec(tally, "output", hidden, queries, "output" in m["biases"])
    if m["block"] != "parallel_one_norm":
        _norm(tally, m, "ffn_norm")
    up = "gate_up" if m["gated"] else "up"
    width = ffn + ffn if m["gated"] else ffn
    _matvec(tally, up, width, hidden, "ffn" in m["biases"])
    for _ in range(ffn):
        tally.add("activation", "flops", {"relu": 1, "silu": 4, "gelu": 9}[m["activation"]])
        if m["gated"]:
            tally.add("activation", "flops", 1)
    tally.reads("activation", width)
    tally.writes("activation", ffn)
    _matvec(tally, "down", hidden, ffn, "ffn" in m["biases"])
    if m["block"] == "sequential":
        for name in ("attention_residual", "ffn_residual"):
            tally.add(name, "flops", hidden)
            tally.reads(name, hidden, hidden)
            tally.writes(name, hidden)
    else:
        tally.add("residual", "flops", hidden + hidden)
        tally.reads("residual", hidden, hidden, hidden)
        tally.writes("residual", hidden)


def _norm(tally, m, name):
    for _ in range(m["hidden"]):
        tally.add(name, "flops", 7 if m["norm"] == "layer" else 4)
    tally.reads(name, m["hidden"])
    tally.writes(name, m["hidden"])


def _matvec(tally, name, outputs, inputs, bias):
    for _ in range(outputs):
        tally.add(name, "flops", 2 * inputs + (1 if bias else 0))
    tally.reads(name, inputs)
    tally.writes(name, outputs)


def _cache(tally, m, new, cached, kv):
    for fresh, held in zip(new, cached, strict=True):
        for _head in range(m["kv_heads"]):
            for _vector in ("key", "value"):
                tally.add("attention", "kv_write_bytes", fresh * row(m["head_width"], kv))
                tally.add("attention", "kv_read_bytes", held * row(m["head_width"], kv))


def _distances(tally, m, longest):
    for _distance in range(longest):
        for _head in range(m["heads"]):
            tally.add("attention", "weight_bytes", 2 * m["head_width"])
