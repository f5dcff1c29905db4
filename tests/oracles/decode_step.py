"""The operators of a decode step in plain Python, bit for bit, and how exact they have to be.

Written from the prose of isa/ndp.toml and from what ndpsim/compiler promises in words: a DIMM adds its rows in the
order of its list, partial results meet as p0 + (p1 + (p2 + ...)), DIMMs without a row left out, and the GPU's comes
last. `masks` are, per DIMM, one number for each of its rows: its bit b says whether the row works for sequence b. A
DIMM with rows, but none for a sequence, still gives +0.
"""

import numpy as np

from oracles.interpreter import F, softmax, softmax_part
from oracles.layer import ACTIVATION, ROUNDING, UNDERFLOW, UNIT, canonical, dot, rounded, values


def scaled_rows(width, shares, gpu):
    """Add up (scale factors [n], rows [n, width]) of every DIMM with a row; gpu: float32[width] or None."""
    total = None
    for a, rows in reversed(shares):
        y = np.zeros(width, F)
        for scale, row in zip(a, rows, strict=True):
            y = y + scale * row
        y = all_canonical(y)
        total = y if total is None else all_canonical(y + total)
    total = np.zeros(width, F) if total is None else total
    return total if gpu is None else all_canonical(total + gpu)


def all_canonical(y):
    """Give every NaN the one pattern that is stored."""
    return np.where(np.isnan(y), canonical(F("nan")), y)


def working(neurons, masks, b):
    """Of every DIMM with a row: the rows that work for sequence b."""
    if masks is None:
        return [own for own in neurons if len(own)]
    return [
        np.array([n for n, mask in zip(own, bits, strict=True) if mask // 2**b % 2], int)
        for own, bits in zip(neurons, masks, strict=True)
        if len(own)
    ]


def projection(weights, a, neurons, gpu, kind, masks=None):
    """Return y float32[batch, width]; neurons: per DIMM the channels that it adds, in their order."""
    wide, y = values(weights, kind), []
    for b, scale in enumerate(values(a, kind)):
        shares = [(scale[own], wide[own]) for own in working(neurons, masks, b)]
        y.append(scaled_rows(weights.shape[1], shares, None if gpu is None else gpu[b]))
    return np.array(y, F)


def partial_dots(row, x, cols):
    """A dot product in tiles of columns: ((t0 + t1) + t2) + ..."""
    parts = [dot(row[first : first + cols], x[first : first + cols]) for first in range(0, len(row), cols)]
    total = parts[0]
    for part in parts[1:]:
        total = canonical(total + part)
    return total


def block(weights, x, neurons, gpu, cols, *, kind, activation, gated, masks=None):
    """Return y float32[batch, width] of a feed-forward block whose inputs come in tiles of `cols` columns."""
    wide = {name: values(w, kind) for name, w in weights.items()}
    act, y = ACTIVATION[activation], []
    with np.errstate(all="ignore"):
        for b, vector in enumerate(values(x, kind)):
            shares = []
            for own in working(neurons, masks, b):
                scales = []
                for n in own:
                    h = canonical(act(partial_dots(wide["gate" if gated else "up"][n], vector, cols)))
                    if gated:
                        h = h * partial_dots(wide["up"][n], vector, cols)
                    scales.append(rounded(canonical(h), kind))
                shares.append((scales, wide["down"][own]))
            y.append(scaled_rows(x.shape[1], shares, None if gpu is None else gpu[b]))
    return np.array(y, F)


def attention(queries, keys, values_, context, tile):
    """Return y float32[group, width] of one group: float16 queries [group, width], keys and values [tokens, width].

    tile: how many tokens fit the buffer; a longer context is a softmax in parts of so many.
    """
    wide_keys, wide_values = keys[:context].astype(F), values_[:context].astype(F)
    y = []
    with np.errstate(all="ignore"):
        for query in queries.astype(F):
            scores = [dot(key, query) for key in wide_keys]
            if context <= tile:
                scales = [rounded(w, "f16") for w in softmax(scores)]
                y.append(scaled_rows(values_.shape[1], [(scales, wide_values)], None))
            else:
                y.append(in_parts(scores, wide_values, tile))
    return np.array(y, F)


def in_parts(scores, rows, tile):
    """Return y float32[width]: rows weighted with the softmax of their scores, which come in parts of `tile`."""
    m, s, y = F("-inf"), F(0), np.zeros(rows.shape[1], F)
    for first in range(0, len(scores), tile):
        e, m, s, c, r = (all_canonical(np.array(part, F)) for part in softmax_part(scores[first : first + tile], m, s))
        if first:
            y = all_canonical(y * c)
        for weight, row in zip(e, rows[first : first + tile], strict=True):
            y = y + rounded(weight, "f16") * row
        y = all_canonical(y)
    return all_canonical(y * r)


def shown(masks, batch):
    """1 where a row works for a sequence, else 0, [batch, rows] (or one number for all); rows of all DIMMs joined."""
    if masks is None:
        return np.float64(1)
    return np.array([[mask // 2**b % 2 for own in masks for mask in own] for b in range(batch)], np.float64)


def projection_and_bound(weights, a, neurons, gpu, kind, masks=None):
    """Return the exact y and how far from it the stated bounds allow y to be.

    N scaled rows and the sum over D DIMMs and the GPU add (N + 1 + D) u (sum |a w| + |g|), u = 2^-24, to first order; a
    hundredth more covers the rest.
    """
    rows = np.concatenate([np.asarray(own, int) for own in neurons])
    w, scales = (values(part, kind).astype(np.float64) for part in (weights, a))
    w, scales = w[rows], scales[:, rows] * shown(masks, len(a))
    added = np.zeros((len(a), weights.shape[1])) if gpu is None else gpu.astype(np.float64)
    reach = np.abs(scales) @ np.abs(w) + np.abs(added)
    return scales @ w + added, 1.01 * (len(rows) + 1 + len(neurons)) * UNIT * reach


def block_and_bound(weights, x, neurons, gpu, cols, kind, masks=None):
    """The same of a ReLU block without a gate, whose dot products come in tiles of `cols` columns.

    A dot product of n elements in T tiles is off by at most (ceil(n / 128) + 8 + T) u sum |w x|: each tile has no more
    additions than all of them together, and T tiles are added. ReLU does not enlarge it; rounding adds its own.
    """
    up, down, vectors = (values(part, kind).astype(np.float64) for part in (weights["up"], weights["down"], x))
    rows = np.concatenate([np.asarray(own, int) for own in neurons])
    up, down = up[rows], down[rows]
    width = vectors.shape[1]
    tiles = -(-width // cols)
    off = (-(-width // 128) + 8 + tiles) * UNIT * (np.abs(vectors) @ np.abs(up).T)
    a = np.maximum(vectors @ up.T, 0)
    off = off + ROUNDING[kind] * (a + off) + UNDERFLOW[kind]
    a, off = a * shown(masks, len(x)), off * shown(masks, len(x))
    added = np.zeros(vectors.shape) if gpu is None else gpu.astype(np.float64)
    reach = (a + off) @ np.abs(down) + np.abs(added)
    return a @ down + added, 1.01 * (off @ np.abs(down) + (len(rows) + 1 + len(neurons)) * UNIT * reach)


def attention_and_bound(queries, keys, values_, context, tile):
    """The same of one group; tile: as for `attention`.

    A score s is off by e = (ceil(n / 128) + 8) u sum |q k|. The difference to the greatest is rounded once more, so
    that exp is off by a factor of at most exp(2 max e + u |s - m|) times 1 + 4 u of the polynomial (it and its
    reduction stay within 2 units in the last place); sum, division and product add (ceil(tokens / 128) + 11) u. Results
    below exp(-87.3) are 0. Rounding to FP16 adds 2^-11 and 2^-25, the weighted sum (tokens + 1) u.

    In T tiles: the differences of a weight to the maximum of its tile, and of each maximum to the next one, add up to
    |s - m|, so that they are off by no more than before; but each of T exponentials brings its own 4 u and may be below
    exp(-87.3), and each product with a factor, of the weighted sum and of s, another u.
    """
    tiles = -(-context // tile)
    q, k, v = (part.astype(np.float64) for part in (queries, keys[:context], values_[:context]))
    scores = q @ k.T
    shifted = scores - scores.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    weights /= weights.sum(axis=1, keepdims=True)
    off = (-(-q.shape[1] // 128) + 8) * UNIT * (np.abs(q) @ np.abs(k).T).max(axis=1, keepdims=True)
    more = 2 * (tiles - 1)
    summed = -(-min(context, tile) // 128) + 11 + 2 * more
    relative = 2 * (2 * off + UNIT * np.abs(shifted) + (4 * tiles + more) * UNIT) + summed * UNIT
    wrong = weights * (relative + ROUNDING["f16"]) + UNDERFLOW["f16"] + tiles * np.exp(-87.3)
    return weights @ v, 1.01 * ((wrong @ np.abs(v)) + (context + 1) * UNIT * ((weights + wrong) @ np.abs(v)))
