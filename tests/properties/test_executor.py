"""On random programs and memory, the fast executor and the reference interpreter end in the same state, bit for bit."""

from copy import deepcopy

import numpy as np
from dimm_support import assert_same_state, to_program
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.interpreter import Dimm, run

from ndpsim.dimm.executor import execute
from ndpsim.isa.encoding import encode
from ndpsim.isa.spec import isa

BUFFER = 2048
MASKS = 7  # entries of a list section that are row numbers; what follows are masks


def random_bytes(rng, size):
    """Bytes that are mostly moderate FP16/FP32 numbers, and sometimes any bits at all."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return rng.integers(0, 256, size, np.uint8).tobytes()
    if kind == 1:
        return (rng.standard_normal(size // 4 + 1) * 4).astype(np.float32).tobytes()[:size]
    if kind == 2:
        special = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 1, 0x7F7FFFFF, 0x3F800000], np.uint32)
        return rng.choice(special, size // 4 + 1).tobytes()[:size]
    return (rng.standard_normal(size // 2 + 1) * 3).astype(np.float16).tobytes()[:size]


class Writer:
    """Draws instructions that are valid more often than not."""

    def __init__(self, rng, dimm, dimms):
        self.rng, self.dimm, self.dimms = rng, dimm, dimms

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *choices):
        return choices[self.rng.integers(0, len(choices))]

    def number(self, lo, hi):
        return int(self.rng.integers(lo, hi + 1))

    def operands(self, name):
        """Draw a value for every field of an instruction."""
        instruction = isa().instructions[name]
        return {field.name: self.value(name, instruction, field) for field in instruction.fields}

    def value(self, name, instruction, field):
        if self.chance(0.01):
            return self.number(0, min((1 << field.width) - 1, 1 << 40))
        if field.name in ("type", "to"):
            choices = [isa().types[t].code for t in instruction.types]
            if name == "cvt" and self.chance(0.5):
                return isa().types["f32"].code
            return int(self.rng.choice(choices))
        if field.kind == "address":
            slot = {"src": 0, "src2": 512, "dst": 1024}[field.name]
            return slot + 4 * self.number(0, 12) if self.chance(0.9) else 4 * self.number(0, BUFFER // 4)
        if field.name in ("mat", "list"):
            return self.number(0, 2)
        if field.name == "batch":
            return self.number(1, 3)
        if field.name == "peer":
            return max(0, self.dimm + self.pick(-1, 1))
        if field.name == "bytes":
            return 4 * self.number(0, 6)
        if field.name == "count":
            return self.number(0, MASKS) if name == "list" else self.number(0, 5 if name == "range" else 70)
        if field.name == "first":
            return self.number(MASKS, MASKS + 2) if name == "mask" else self.number(0, 2)
        if field.name == "base":
            return self.pick(0, 1, 100, 101)
        if field.name == "rows":
            return self.number(1, 6)
        if field.name == "cols":
            return self.pick(1, 2, 4, 7, 31, 32, 64, self.number(1, 140))
        if field.name == "stride":
            return self.number(1, 6)
        if field.name == "value":
            return self.number(0, (1 << 32) - 1)
        raise AssertionError(field.name)

    def program(self, length):
        """Set up registers, then draw instructions; most programs end well."""
        words = []
        for i in range(3):
            words.append(encode("mat", {
                "type": isa().types[self.pick("f16", "bf16", "i8")].code, "mat": i, "base": self.pick(0, 1, 100),
                "rows": self.number(1, 6), "cols": self.pick(1, 4, 32, 64, self.number(1, 130)),
                "stride": self.number(5, 6),
            }))  # fmt: skip
            words.append(encode("range", {"list": i, "first": 0, "count": self.number(0, 4)}))
            if self.chance(0.4):
                words.append(encode("mask", {"list": i, "first": self.number(MASKS, MASKS + 2)}))
        names = [n for n in isa().instructions if n not in ("end", "bar", "send", "recv")]
        for _ in range(length):
            name = self.pick(*names)
            words.append(encode(name, self.operands(name)))
            if self.chance(0.01):
                words[-1] ^= 1 << self.number(0, 127)
        if self.chance(0.95):
            words.append(encode("end", {}))
        return words


@st.composite
def dimm_sets(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 3))
    length = draw(st.integers(0, 12))
    dimms = []
    for number in range(count):
        masks = rng.integers(rng.random() < 0.9, rng.choice([2, 2, 4, 8]), 8)
        lists = rng.integers(0, 5, MASKS).tolist() + masks.tolist()
        regions = [(0, 40, bool(rng.integers(0, 2))), (100, 40, True)]
        dimms.append(Dimm(
            words=Writer(rng, number, count).program(length),
            lists=lists,
            regions=regions,
            memory=[bytearray(random_bytes(rng, 40 * 64)) for _ in regions],
            host_in=random_bytes(rng, int(rng.integers(0, 200))),
            buffer=bytearray(random_bytes(rng, BUFFER)),
        ))  # fmt: skip
    for _ in range(draw(st.integers(0, 3)) if count > 1 else 0):
        link(rng, dimms)
    return dimms


def link(rng, dimms):
    """Insert a barrier on all DIMMs, or a message between neighbours, at random places; some can never match."""
    if rng.random() < 0.3:
        for dimm in dimms:
            dimm.words.insert(int(rng.integers(6, len(dimm.words) + 1)), encode("bar", {}))
        return
    a = int(rng.integers(0, len(dimms) - 1))
    sender, receiver = (a, a + 1) if rng.random() < 0.5 else (a + 1, a)
    size = 4 * int(rng.integers(0, 8))
    got = size if rng.random() < 0.9 else size + 4
    send = encode("send", {"src": 4 * int(rng.integers(0, 64)), "bytes": size, "peer": receiver})
    recv = encode("recv", {"dst": 4 * int(rng.integers(0, 64)), "bytes": got, "peer": sender})
    dimms[sender].words.insert(int(rng.integers(6, len(dimms[sender].words) + 1)), send)
    dimms[receiver].words.insert(int(rng.integers(6, len(dimms[receiver].words) + 1)), recv)


@settings(max_examples=400, deadline=None)
@given(dimm_sets())
def test_executor_and_interpreter_end_in_the_same_state(dimms):
    program, states = to_program(deepcopy(dimms))
    trap = execute(program, states)
    expected = run(dimms)
    assert (trap and (trap.dimm, trap.index, trap.name)) == (
        expected and (expected.dimm, expected.index, expected.name)
    )
    assert_same_state(states, dimms)


@st.composite
def masked_products(draw):
    """Draw a program of one `dot` or `axpy` whose rows take part in some sequences each, and that ends well."""
    kind = draw(st.sampled_from(["f16", "bf16", "i8"]))
    name = draw(st.sampled_from(["dot", "axpy"]))
    batch, n, cols = draw(st.sampled_from([1, 2, 3, 16, 31, 32])), draw(st.integers(1, 6)), draw(st.integers(1, 140))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    masks = rng.integers(1, 1 << batch, n)
    words = [
        encode("mat", {"type": isa().types[kind].code, "mat": 0, "base": 0, "rows": 5, "cols": cols, "stride": 5}),
        encode("list", {"list": 0, "first": 0, "count": n}),
        encode("mask", {"list": 0, "first": n}),
        encode(name, {"mat": 0, "list": 0, "src": 0, "dst": 1 << 15, "batch": batch}),
        encode("end", {}),
    ]
    return Dimm(
        words=words,
        lists=[*rng.integers(0, 5, n).tolist(), *masks.tolist()],
        regions=[(0, 25, False)],
        memory=[bytearray(random_bytes(rng, 25 * 64))],
        buffer=bytearray(random_bytes(rng, 1 << 16)),
    )


@settings(max_examples=60, deadline=None)
@given(masked_products())
def test_executor_and_interpreter_give_a_row_to_the_same_sequences(dimm):
    program, states = to_program(deepcopy([dimm]))
    assert execute(program, states) is None
    assert run([dimm]) is None
    assert_same_state(states, [dimm])
