"""The NDP instruction set in plain Python: one scalar at a time, and written from isa/ndp.toml alone.

It is the slow twin of the executor in `ndpsim.dimm` and shares no code with it.
"""

import tomllib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SPEC = tomllib.loads((Path(__file__).parents[2] / "isa" / "ndp.toml").read_text(encoding="utf-8"))
ATOM: int = SPEC["isa"]["dram_atom"]
ALIGNMENT: int = SPEC["isa"]["buffer_alignment"]
LANES: int = SPEC["isa"]["partial_sums"]
ENTRY_BITS: int = SPEC["isa"]["entry_bits"]
FIELDS: dict[str, dict] = SPEC["field"]
BY_OPCODE: dict[int, dict] = {record["opcode"]: record for record in SPEC["instruction"]}
TYPE_NAMES: dict[int, str] = {record["code"]: record["name"] for record in SPEC["type"]}
SIZE: dict[str, int] = {record["name"]: record["bits"] // 8 for record in SPEC["type"]}

Number = np.float32 | int
F = np.float32


@dataclass
class Dimm:
    """The initial state of one DIMM, which `run` turns into its final state."""

    words: list[int]
    lists: list[int] = field(default_factory=list)
    regions: list[tuple[int, int, bool]] = field(default_factory=list)  # base atom, atoms, writable
    memory: list[bytearray] = field(default_factory=list)  # the bytes of each region
    host_in: bytes = b""
    buffer: bytearray = field(default_factory=lambda: bytearray(1024))
    host_out: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Trap:
    """What stopped a program: the DIMM, the index of its instruction, and the name of the trap."""

    dimm: int
    index: int
    name: str


@dataclass(frozen=True)
class Matrix:
    type: str
    base: int
    rows: int
    cols: int
    stride: int

    @property
    def row_bytes(self) -> int:
        return self.cols * SIZE[self.type]

    def row_address(self, row: int) -> int:
        return (self.base + row * self.stride) * ATOM


@dataclass(frozen=True)
class Instruction:
    mnemonic: str
    traps: list[str]
    fields: dict[str, int]
    type: str = ""
    to: str = ""

    def __getitem__(self, name: str) -> int:
        return self.fields[name]


def run(dimms: list[Dimm]) -> Trap | None:
    """Run the programs of all DIMMs to their end or to the first trap; changes `dimms` in place."""
    units = [Unit(number, dimm, len(dimms)) for number, dimm in enumerate(dimms)]
    for unit in units:
        unit.units = units
    with np.errstate(all="ignore"):
        while True:
            moved = False
            for unit in units:
                steps, trap = unit.turn()
                if trap:
                    return Trap(unit.number, unit.index, trap)
                moved = moved or steps > 0
            if not moved:
                break
    for unit in units:
        if not unit.ended:
            return Trap(unit.number, unit.index, "deadlock")
    return None


def decode(word: int) -> Instruction | None:
    """Take a 128-bit word apart; None if it is illegal."""
    record = BY_OPCODE.get(word & 0xFF)
    if record is None:
        return None
    values, rest = {}, word & ~0xFF
    for name in record["fields"]:
        lo, ones = FIELDS[name]["lo"], (1 << FIELDS[name]["width"]) - 1
        values[name] = (word >> lo) & ones
        rest &= ~(ones << lo)
    if rest:
        return None
    types = {name: TYPE_NAMES.get(values[name], "undefined") for name in ("type", "to") if name in values}
    if not all(name in record.get("types", SIZE) for name in types.values()):
        return None
    return Instruction(record["mnemonic"], record["traps"], values, **types)


class Unit:
    """The near-data unit of one DIMM while its program runs."""

    def __init__(self, number: int, dimm: Dimm, dimms: int) -> None:
        self.number = number
        self.dimm = dimm
        self.index = 0
        self.ended = False
        self.at_barrier = False
        self.barrier_open = False
        self.consumed = 0  # bytes of the host stream in
        self.matrices: list[Matrix | None] = [None] * 16
        self.lists: list[Sequence[int] | None] = [None] * 16
        self.masks: list[Sequence[int] | None] = [None] * 16  # of the lists that have masks
        self.units: list[Unit] = []
        self.inbox: dict[int, deque[bytes]] = {n: deque() for n in (number - 1, number + 1) if 0 <= n < dimms}

    def turn(self) -> tuple[int, str | None]:
        """Run until the program ends, traps or waits: the number of instructions done, and the trap."""
        steps = 0
        while not self.ended:
            if self.index == len(self.dimm.words):
                return steps, "no_end"
            instruction = decode(self.dimm.words[self.index])
            if instruction is None:
                return steps, "illegal"
            for trap in instruction.traps:
                if self.traps(trap, instruction):
                    return steps, trap
            if self.waits(instruction):
                break
            self.execute(instruction)
            self.index += 1
            steps += 1
        return steps, None

    def waits(self, i: Instruction) -> bool:
        if i.mnemonic == "recv":
            return not self.inbox[i["peer"]]
        if i.mnemonic == "bar":
            if self.barrier_open:
                self.barrier_open = False
                return False
            self.at_barrier = True
            if not all(unit.at_barrier for unit in self.units):
                return True
            for unit in self.units:
                unit.at_barrier = False
                unit.barrier_open = unit is not self
        return False

    def matrix(self, i: Instruction) -> Matrix:
        """Matrix register that `unset` has already been checked for, or the matrix that `mat` is about to set."""
        if i.mnemonic == "mat":
            return Matrix(i.type, i["base"], i["rows"], i["cols"], i["stride"])
        matrix = self.matrices[i["mat"]]
        assert matrix is not None
        return matrix

    def entries(self, i: Instruction) -> Sequence[int]:
        """List register that `unset` has already been checked for."""
        entries = self.lists[i["list"]]
        assert entries is not None
        return entries

    def takes_part(self, i: Instruction) -> Callable[[int, int], bool]:
        """Whether the entry k of an instruction's list takes part in sequence b."""
        masks = self.masks[i["list"]]
        return lambda k, b: masks is None or masks[k] // 2**b % 2 == 1

    def region(self, matrix: Matrix) -> int | None:
        """Index of the one region that holds all bytes of a matrix with at least one row."""
        start, end = matrix.row_address(0), matrix.row_address(matrix.rows - 1) + matrix.row_bytes
        for index, (base, atoms, _) in enumerate(self.dimm.regions):
            if base * ATOM <= start and end <= (base + atoms) * ATOM:
                return index
        return None

    def operands(self, i: Instruction) -> dict[str, tuple[int, int]]:
        """Address and size in bytes of every buffer operand."""
        sizes: dict[str, int] = {}
        if i.mnemonic in ("dot", "axpy"):
            matrix, n, batch = self.matrix(i), len(self.entries(i)), i["batch"]
            outputs, inputs = (n, matrix.cols) if i.mnemonic == "dot" else (matrix.cols, n)
            sizes = {"src": batch * inputs * SIZE[matrix.type], "dst": batch * outputs * 4}
        elif i.mnemonic == "ld":
            sizes = {"dst": len(self.entries(i)) * self.matrix(i).row_bytes}
        elif i.mnemonic == "st":
            sizes = {"src": len(self.entries(i)) * self.matrix(i).row_bytes}
        elif i.mnemonic == "cvt":
            sizes = {"src": i["count"] * SIZE[i.type], "dst": i["count"] * SIZE[i.to]}
        elif i.mnemonic == "fill":
            sizes = {"dst": i["count"] * 4}
        elif i.mnemonic in ("add", "mul"):
            sizes = {"src": i["count"] * 4, "src2": i["count"] * 4, "dst": i["count"] * 4}
        elif i.mnemonic in ("relu", "silu", "gelu"):
            sizes = {"src": i["count"] * 4, "dst": i["count"] * 4}
        elif i.mnemonic == "softmax":
            sizes = {"src": i["batch"] * i["count"] * 4, "dst": i["batch"] * i["count"] * 4}
        elif i.mnemonic == "softpart":
            values = i["batch"] * i["count"] * 4
            sizes = {"src": values, "src2": i["batch"] * 16, "dst": values}
        elif i.mnemonic == "scale":
            values = i["batch"] * i["count"] * 4
            sizes = {"src": values, "src2": i["batch"] * 4, "dst": values}
        elif i.mnemonic in ("sum", "max"):
            sizes = {"src": i["batch"] * i["count"] * 4, "dst": i["batch"] * 4}
        elif i.mnemonic in ("hin", "recv"):
            sizes = {"dst": i["bytes"]}
        elif i.mnemonic in ("hout", "send"):
            sizes = {"src": i["bytes"]}
        return {name: (i[name], size) for name, size in sizes.items()}

    def traps(self, trap: str, i: Instruction) -> bool:
        """Whether a trap that the instruction lists holds, given that those listed before it do not."""
        if trap == "operand":
            if i.mnemonic == "mat":
                row_bytes = i["cols"] * SIZE[i.type]
                return i["cols"] == 0 or (i["rows"] > 1 and i["stride"] * ATOM < row_bytes)
            if i.mnemonic == "cvt":
                return (i.type == "f32") == (i.to == "f32")
            return i["batch"] == 0
        if trap == "unset":
            return ("mat" in i.fields and self.matrices[i["mat"]] is None) or self.lists[i["list"]] is None
        if trap == "misaligned":
            if i.mnemonic in ("ld", "st") and self.matrix(i).row_bytes % ALIGNMENT:
                return True
            return any(i.fields.get(name, 0) % ALIGNMENT for name in ("src", "src2", "dst", "bytes"))
        if trap == "buffer":
            return any(address + size > len(self.dimm.buffer) for address, size in self.operands(i).values())
        if trap == "overlap":
            return self.forbidden_overlap(i)
        if trap == "region":
            matrix = self.matrix(i)
            if matrix.rows == 0:
                return False
            region = self.region(matrix)
            return region is None or (i.mnemonic == "st" and not self.dimm.regions[region][2])
        if trap == "list":
            entries = len(self.entries(i)) if i.mnemonic == "mask" else i["count"]
            return i["first"] + entries > len(self.dimm.lists)
        if trap == "mask":
            return self.forbidden_mask(i)
        if trap == "row":
            return any(entry >= self.matrix(i).rows for entry in self.entries(i))
        if trap == "starved":
            return self.consumed + i["bytes"] > len(self.dimm.host_in)
        if trap == "peer":
            return i["peer"] not in self.inbox
        if trap == "length":
            messages = self.inbox[i["peer"]]
            return len(messages) > 0 and len(messages[0]) != i["bytes"]
        assert trap == "deadlock"  # only a whole round of turns can tell: see `run`
        return False

    def forbidden_mask(self, i: Instruction) -> bool:
        if i.mnemonic == "mask":
            return 0 in self.dimm.lists[i["first"] : i["first"] + len(self.entries(i))]
        masks = self.masks[i["list"]]
        return masks is not None and (i["batch"] > ENTRY_BITS or any(mask >= 2 ** i["batch"] for mask in masks))

    def forbidden_overlap(self, i: Instruction) -> bool:
        operands = self.operands(i)
        dst, dst_bytes = operands["dst"]
        for name in ("src", "src2"):
            if name not in operands:
                continue
            src, src_bytes = operands[name]
            share_a_byte = src_bytes > 0 and dst_bytes > 0 and src < dst + dst_bytes and dst < src + src_bytes
            coincide = src == dst and src_bytes == dst_bytes
            may_coincide = i.mnemonic in ("cvt", "add", "mul", "relu", "silu", "gelu", "softmax", "scale")
            may_coincide = may_coincide or (i.mnemonic == "softpart" and name == "src")
            if share_a_byte and not (coincide and may_coincide):
                return True
        if i.mnemonic == "softpart":  # its state is a result as well
            (src, src_bytes), (state, state_bytes) = operands["src"], operands["src2"]
            return src_bytes > 0 and src < state + state_bytes and state < src + src_bytes
        return False

    def get(self, kind: str, address: int) -> Number:
        return unpack(kind, bytes(self.dimm.buffer[address : address + SIZE[kind]]))

    def put(self, kind: str, address: int, value: Number) -> None:
        self.dimm.buffer[address : address + SIZE[kind]] = pack(kind, value)

    def vector(self, kind: str, address: int, count: int) -> list[Number]:
        return [self.get(kind, address + i * SIZE[kind]) for i in range(count)]

    def put_vector(self, kind: str, address: int, values: list[Number]) -> None:
        for i, value in enumerate(values):
            self.put(kind, address + i * SIZE[kind], value)

    def row(self, matrix: Matrix, row: int) -> tuple[bytearray, int]:
        """Bytes of the region that holds a row, and where in them the row starts."""
        region = self.region(matrix)
        assert region is not None
        return self.dimm.memory[region], matrix.row_address(row) - self.dimm.regions[region][0] * ATOM

    def row_values(self, matrix: Matrix, row: int) -> list[Number]:
        memory, start = self.row(matrix, row)
        size = SIZE[matrix.type]
        return [unpack(matrix.type, bytes(memory[start + j * size :][:size])) for j in range(matrix.cols)]

    def execute(self, i: Instruction) -> None:
        buffer, name = self.dimm.buffer, i.mnemonic
        if name == "end":
            self.ended = True
        elif name == "mat":
            self.matrices[i["mat"]] = self.matrix(i)
        elif name == "list":
            self.lists[i["list"]] = self.dimm.lists[i["first"] : i["first"] + i["count"]]
            self.masks[i["list"]] = None
        elif name == "range":
            self.lists[i["list"]] = range(i["first"], i["first"] + i["count"])
            self.masks[i["list"]] = None
        elif name == "mask":
            self.masks[i["list"]] = self.dimm.lists[i["first"] : i["first"] + len(self.entries(i))]
        elif name == "dot":
            self.dot(i)
        elif name == "axpy":
            self.axpy(i)
        elif name in ("ld", "st"):
            matrix = self.matrix(i)
            for k, row in enumerate(self.entries(i)):
                memory, start = self.row(matrix, row)
                for byte in range(matrix.row_bytes):
                    if name == "ld":
                        buffer[i["dst"] + k * matrix.row_bytes + byte] = memory[start + byte]
                    else:
                        memory[start + byte] = buffer[i["src"] + k * matrix.row_bytes + byte]
        elif name == "cvt":
            source = self.vector(i.type, i["src"], i["count"])
            self.put_vector(i.to, i["dst"], [convert(i.to, value) for value in source])
        elif name == "fill":
            for k in range(i["count"]):
                buffer[i["dst"] + 4 * k : i["dst"] + 4 * k + 4] = i["value"].to_bytes(4, "little")
        elif name in ("add", "mul"):
            kind = i.type or "f32"
            pairs = zip(self.vector(kind, i["src"], i["count"]), self.vector(kind, i["src2"], i["count"]), strict=True)
            self.put_vector(kind, i["dst"], [a + b if name == "add" else a * b for a, b in pairs])
        elif name in ("relu", "silu", "gelu"):
            function = {"relu": relu, "silu": silu, "gelu": gelu}[name]
            self.put_vector("f32", i["dst"], [function(F(x)) for x in self.vector("f32", i["src"], i["count"])])
        elif name in ("softmax", "sum", "max"):
            for b in range(i["batch"]):
                x = self.vector("f32", i["src"] + b * i["count"] * 4, i["count"])
                if name == "softmax":
                    self.put_vector("f32", i["dst"] + b * i["count"] * 4, softmax(x))
                else:
                    self.put("f32", i["dst"] + b * 4, sum_in_lanes(x) if name == "sum" else largest(x))
        elif name == "softpart":
            self.softpart(i)
        elif name == "scale":
            for b in range(i["batch"]):
                factor, at = self.get("f32", i["src2"] + 4 * b), 4 * b * i["count"]
                x = self.vector("f32", i["src"] + at, i["count"])
                self.put_vector("f32", i["dst"] + at, [value * factor for value in x])
        elif name == "hin":
            buffer[i["dst"] : i["dst"] + i["bytes"]] = self.dimm.host_in[self.consumed : self.consumed + i["bytes"]]
            self.consumed += i["bytes"]
        elif name == "hout":
            self.dimm.host_out += buffer[i["src"] : i["src"] + i["bytes"]]
        elif name == "send":
            self.units[i["peer"]].inbox[self.number].append(bytes(buffer[i["src"] : i["src"] + i["bytes"]]))
        elif name == "recv":
            buffer[i["dst"] : i["dst"] + i["bytes"]] = self.inbox[i["peer"]].popleft()
        else:
            assert name == "bar"  # `waits` has done it

    def softpart(self, i: Instruction) -> None:
        batch = i["batch"]
        for b in range(batch):
            at = [i["src2"] + 4 * (row * batch + b) for row in range(4)]
            x = self.vector("f32", i["src"] + 4 * b * i["count"], i["count"])
            e, *state = softmax_part(x, self.get("f32", at[0]), self.get("f32", at[1]))
            self.put_vector("f32", i["dst"] + 4 * b * i["count"], e)
            for place, value in zip(at, state, strict=True):
                self.put("f32", place, value)

    def dot(self, i: Instruction) -> None:
        matrix, rows, takes_part = self.matrix(i), self.entries(i), self.takes_part(i)
        kind = matrix.type
        for b in range(i["batch"]):
            x = self.vector(kind, i["src"] + b * matrix.cols * SIZE[kind], matrix.cols)
            for k, row in enumerate(rows):
                result: Number = 0
                if takes_part(k, b):
                    products = [w * x[j] for j, w in enumerate(self.row_values(matrix, row))]
                    result = sum(map(int, products)) if kind == "i8" else sum_in_lanes(products)
                self.put("i32" if kind == "i8" else "f32", i["dst"] + (b * len(rows) + k) * 4, result)

    def axpy(self, i: Instruction) -> None:
        matrix, rows, takes_part = self.matrix(i), self.entries(i), self.takes_part(i)
        kind, result = matrix.type, "i32" if matrix.type == "i8" else "f32"
        for b in range(i["batch"]):
            a = self.vector(kind, i["src"] + b * len(rows) * SIZE[kind], len(rows))
            start = i["dst"] + b * matrix.cols * 4
            y = self.vector(result, start, matrix.cols)
            for k, row in enumerate(rows):
                if not takes_part(k, b):
                    continue
                for j, w in enumerate(self.row_values(matrix, row)):
                    y[j] = y[j] + a[k] * w
            self.put_vector(result, start, y)


def float_of_bits(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


def unpack(kind: str, raw: bytes) -> Number:
    """Little-endian bytes as an integer, or as the binary32 that equals them."""
    if kind in ("i8", "i32"):
        return int.from_bytes(raw, "little", signed=True)
    bits = int.from_bytes(raw, "little")
    if kind == "f16":
        return F(np.uint16(bits).view(np.float16))
    return float_of_bits(bits << 16 if kind == "bf16" else bits)


def pack(kind: str, value: Number) -> bytes:
    """Round a binary32 to its type, with canonical NaNs; wrap an integer."""
    size = SIZE[kind]
    if kind in ("i8", "i32"):
        bits = int(value) % (1 << (8 * size))
    elif np.isnan(value):
        bits = {"f16": 0x7E00, "bf16": 0x7FC0, "f32": 0x7FC00000}[kind]
    elif kind == "f16":
        bits = int(np.float16(value).view(np.uint16))
    else:
        bits = int(F(value).view(np.uint32))
        if kind == "bf16":
            bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return bits.to_bytes(size, "little")


def convert(to: str, value: Number) -> Number:
    """Make a value fit for `pack` to a type: only a float that becomes an integer needs rounding and saturation."""
    if to in ("f16", "bf16", "f32"):
        return F(value)
    if np.isnan(value):
        return 0
    most = (1 << (8 * SIZE[to] - 1)) - 1
    if np.isinf(value):
        return most if value > 0 else -most - 1
    return max(-most - 1, min(most, int(np.rint(value))))


def sum_in_lanes(x: list) -> np.float32:
    partial = [F(0)] * LANES
    for i, value in enumerate(x):
        partial[i % LANES] = partial[i % LANES] + value
    half = LANES // 2
    while half >= 1:
        for lane in range(half):
            partial[lane] = partial[lane] + partial[lane + half]
        half //= 2
    return partial[0]


def largest(x: list) -> np.float32:
    if any(np.isnan(value) for value in x):
        return F("nan")
    m = F("-inf")
    for value in x:
        if value > m:
            m = value
    return m


def exp(x: np.float32) -> np.float32:
    if np.isnan(x):
        return F("nan")
    if x > F(88.72283):
        return F("inf")
    if x < F(-87.33654):
        return F(0)
    k = np.rint(x * F(1.44269504))
    r = (x - k * F(0.693359375)) - k * F(-2.12194440e-4)
    p = F(1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + F(c)
    y = ((p * (r * r)) + r) + F(1)
    k1 = int(k) // 2
    k2 = int(k) - k1
    return (y * F(2.0**k1)) * F(2.0**k2)


def relu(x: np.float32) -> np.float32:
    if np.isnan(x):
        return x
    return x if x > 0 else F(0)


def silu(x: np.float32) -> np.float32:
    return x / (F(1) + exp(-x))


def gelu(x: np.float32) -> np.float32:
    u = F(0.79788456) * (x + F(0.044715) * ((x * x) * x))
    t = F(1) - F(2) / (exp(F(2) * u) + F(1))
    return (F(0.5) * x) * (F(1) + t)


def softmax(x: list) -> list:
    m = largest(x)
    e = [exp(value - m) for value in x]
    r = F(1) / sum_in_lanes(e)
    return [value * r for value in e]


def softmax_part(x: list, m: np.float32, s: np.float32) -> tuple:
    """Exponentials of one part, and the new maximum, sum, factor and reciprocal."""
    n = largest([m, *x])
    c = exp(m - n)
    e = [exp(value - n) for value in x]
    total = s * c + sum_in_lanes(e)
    return e, n, total, c, F(1) / total
