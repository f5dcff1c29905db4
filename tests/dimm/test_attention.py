"""The instruction set covers attention: append to the KV cache, scores, softmax, weighted sum, for grouped heads."""

import numpy as np
import pytest

from ndpsim.dimm.config import load_machine
from ndpsim.dimm.executor import execute, new_states
from ndpsim.dimm.timing import time_program
from ndpsim.isa.source import read_source

HEAD, TOKENS, HEADS = 64, 45, 4
ATOMS = HEAD * 2 // 64
PROGRAM = f"""
.dimm 0
.region keys 0 {64 * ATOMS} rw
.region values 4096 {64 * ATOMS} rw
mat.f16 m0, 0, 64, {HEAD}, {ATOMS}
mat.f16 m1, 4096, 64, {HEAD}, {ATOMS}
range l0, {TOKENS - 1}, 1            ; the new token's row
range l1, 0, {TOKENS}                ; all tokens so far
hin [0x0], {HEAD * 2}                ; k of the new token
st m0, l0, [0x0]
hin [0x0], {HEAD * 2}                ; v of the new token
st m1, l0, [0x0]
hin [0x0], {HEADS * HEAD * 2}        ; queries of a group of heads, scaled by the host
dot m0, l1, [0x0], [0x1000], {HEADS}
softmax [0x1000], [0x1000], {TOKENS}, {HEADS}
cvt.f32.f16 [0x1000], [0x2000], {TOKENS * HEADS}
fill [0x3000], 0.0, {HEADS * HEAD}
axpy m1, l1, [0x2000], [0x3000], {HEADS}
hout [0x3000], {HEADS * HEAD * 4}
end
"""


@pytest.fixture
def program():
    return read_source(PROGRAM, load_machine(dimms=1).to_json(), "attention")


def test_grouped_query_attention_over_a_kv_cache(program):
    rng = np.random.default_rng(3)
    keys, values = (rng.standard_normal((64, HEAD)).astype(np.float16) for _ in range(2))
    queries = (rng.standard_normal((HEADS, HEAD)) / 8).astype(np.float16)
    (state,) = new_states(program, 262144)
    for region, cache in zip(state.regions, (keys, values), strict=True):
        region[:] = cache.copy().view(np.uint8).reshape(-1)
        region[(TOKENS - 1) * HEAD * 2 : TOKENS * HEAD * 2] = 0xFF  # NaNs, until the new token is stored
    state.host_in = keys[TOKENS - 1].tobytes() + values[TOKENS - 1].tobytes() + queries.tobytes()
    assert execute(program, [state]) is None
    got = np.frombuffer(bytes(state.host_out), np.float32).reshape(HEADS, HEAD)
    scores = queries.astype(float) @ keys[:TOKENS].astype(float).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    assert np.abs(got - weights @ values[:TOKENS].astype(float)).max() < 1e-3


def test_attention_reads_the_cache_once_and_writes_one_row_each(program):
    run = time_program(program, load_machine(dimms=1))
    commands = run.summary()["commands"]
    assert commands["RD"] == 2 * TOKENS * ATOMS
    assert commands["WR"] == 2 * ATOMS
