"""The conformance programs of isa/conformance: read, assembled and laid out as the initial and final states of DIMMs.

Addresses in a case count bytes: `at` in `buffer` from the start of the buffer, `at` in the data of a region from the
start of the DRAM, not of the region. A DIMM gives its instructions as `program` (assembly) or, for what assembly cannot
say, as `words` (hexadecimal strings of 128 bits).
"""

import copy
import re
import struct
import tomllib
from dataclasses import dataclass
from pathlib import Path

from oracles.interpreter import ATOM, FIELDS, SPEC, Dimm, Trap

DIRECTORY = Path(__file__).parents[2] / "isa" / "conformance"
KEYS = {
    "file": {"case"},
    "case": {"name", "why", "buffer_bytes", "dimm", "trap"},
    "dimm": {"program", "words", "lists", "regions", "buffer", "host_in", "after"},
    "region": {"base", "atoms", "writable", "data"},
    "data": {"at", "type", "values"},
    "after": {"buffer", "regions", "host_out"},
    "trap": {"dimm", "index", "name"},
}
FORMATS = {"f16": "<e", "f32": "<f", "i8": "<b", "i32": "<i", "u32": "<I", "bits16": "<H", "bits32": "<I"}
OPERANDS = {"matrix": r"m(\d+)", "list": r"l(\d+)", "type": r"(\w+)", "float": r"(\S+)"}
NUMBER = r"(0x[0-9a-fA-F]+|\d+)"


@dataclass
class Case:
    """One program with the states before and after it."""

    instruction: str  # the file that it stands in
    name: str
    why: str
    programs: list[str | None]  # assembly of each DIMM
    before: list[Dimm]
    after: list[Dimm]
    trap: Trap | None

    def __str__(self) -> str:
        return f"{self.instruction}: {self.name}"


def load(directory: Path = DIRECTORY) -> list[Case]:
    """Read all cases of a directory, in the order of file names."""
    return [case_of(path.stem, record) for path in sorted(directory.glob("*.toml")) for record in read(path)]


def read(path: Path) -> list[dict]:
    """Read the cases of one file as they stand there; a key that no case has is an error."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    check(document, "file", str(path))
    for case in document["case"]:
        where = f"{path}: {case.get('name')}"
        check(case, "case", where)
        check(case.get("trap", {}), "trap", where)
        for dimm in case["dimm"]:
            check(dimm, "dimm", where)
            check(dimm.get("after", {}), "after", where)
            for region in dimm.get("regions", []):
                check(region, "region", where)
    return document["case"]


def check(record: dict, kind: str, where: str) -> None:
    unknown = sorted(record.keys() - KEYS[kind])
    if unknown:
        raise ValueError(f"{where}: {kind}: no key is called {', '.join(unknown)}")


def case_of(instruction: str, record: dict) -> Case:
    buffer_bytes = record.get("buffer_bytes", 1024)
    before = [before_of(dimm, buffer_bytes) for dimm in record["dimm"]]
    after = [after_of(dimm, start) for dimm, start in zip(record["dimm"], before, strict=True)]
    return Case(
        instruction=instruction,
        name=record["name"],
        why=record["why"],
        programs=[dimm.get("program") for dimm in record["dimm"]],
        before=before,
        after=after,
        trap=Trap(**record["trap"]) if "trap" in record else None,
    )


def before_of(record: dict, buffer_bytes: int) -> Dimm:
    if ("program" in record) == ("words" in record):
        raise ValueError("a DIMM needs either a program or words")
    regions = [(region["base"], region["atoms"], region["writable"]) for region in record.get("regions", [])]
    dimm = Dimm(
        words=[int(word, 16) for word in record["words"]] if "words" in record else assemble(record["program"]),
        lists=list(record.get("lists", [])),
        regions=regions,
        memory=[bytearray(atoms * ATOM) for _, atoms, _ in regions],
        host_in=b"".join(data_bytes(data) for data in record.get("host_in", [])),
        buffer=bytearray(buffer_bytes),
    )
    for region in record.get("regions", []):
        write_memory(dimm, region.get("data", []))
    write(dimm.buffer, 0, record.get("buffer", []))
    return dimm


def after_of(record: dict, before: Dimm) -> Dimm:
    after, changes = copy.deepcopy(before), record.get("after", {})
    write(after.buffer, 0, changes.get("buffer", []))
    write_memory(after, changes.get("regions", []))
    after.host_out = bytearray(b"".join(data_bytes(data) for data in changes.get("host_out", [])))
    return after


def write_memory(dimm: Dimm, pieces: list[dict]) -> None:
    for piece in pieces:
        for (base, atoms, _), memory in zip(dimm.regions, dimm.memory, strict=True):
            if base * ATOM <= piece["at"] < (base + atoms) * ATOM:
                write(memory, base * ATOM, [piece])
                break
        else:
            raise ValueError(f"no region holds the DRAM address {piece['at']}")


def write(target: bytearray, base: int, pieces: list[dict]) -> None:
    for piece in pieces:
        check(piece, "data", f"data at {piece['at']}")
        start, content = piece["at"] - base, data_bytes(piece)
        if start + len(content) > len(target):
            raise ValueError(f"data at {piece['at']} reach beyond the end")
        target[start : start + len(content)] = content


def data_bytes(piece: dict) -> bytes:
    """Little-endian bytes of `values`; what a 16-bit type cannot hold exactly is an error."""
    return b"".join(element_bytes(piece["type"], value) for value in piece["values"])


def element_bytes(kind: str, value: float) -> bytes:
    if kind == "bf16":
        low, high = struct.unpack("<HH", struct.pack("<f", value))
        rounded = struct.unpack("<f", struct.pack("<f", value))[0]
        if low or rounded != value:
            raise ValueError(f"{value} is no BF16 number")
        return struct.pack("<H", high)
    raw = struct.pack(FORMATS[kind], value)
    if kind == "f16" and value == value and struct.unpack("<e", raw)[0] != value:
        raise ValueError(f"{value} is no FP16 number")
    return raw


def assemble(text: str) -> list[int]:
    """Translate assembly, one instruction a line, by the `syntax` lines of isa/ndp.toml."""
    return [assemble_line(line.strip()) for line in text.splitlines() if line.strip()]


def assemble_line(line: str) -> int:
    for record in SPEC["instruction"]:
        names = re.findall(r"{(\w+)}", record["syntax"])
        match = re.fullmatch(pattern(record["syntax"]), line)
        if match is None:
            continue
        word = record["opcode"]
        for name, text in zip(names, match.groups(), strict=True):
            value = operand(FIELDS[name]["kind"], text)
            if value >> FIELDS[name]["width"]:
                raise ValueError(f"{line}: {name} does not fit its {FIELDS[name]['width']} bits")
            word |= value << FIELDS[name]["lo"]
        return word
    raise ValueError(f"no instruction: {line}")


def pattern(syntax: str) -> str:
    """Turn a syntax line into the regular expression that reads it."""
    parts = []
    for literal, name in re.findall(r"([^{]*)(?:{(\w+)})?", syntax):
        parts.append(re.escape(literal).replace(r"\ ", r"\s+").replace(r",\s+", r"\s*,\s*"))
        if name:
            parts.append(OPERANDS.get(FIELDS[name]["kind"], NUMBER))
    return "".join(parts)


def operand(kind: str, text: str) -> int:
    if kind == "type":
        return {record["name"]: record["code"] for record in SPEC["type"]}[text]
    if kind == "float" and not text.startswith("0x"):
        return struct.unpack("<I", struct.pack("<f", float(text)))[0]
    return int(text, 0)
