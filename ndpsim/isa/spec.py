"""The instruction set as data: `isa/ndp.toml`, read once and checked, with every name that other modules need.

Nothing about an instruction is written down twice: encoder, decoder, assembler, manual and the kernels' constants
all come from here.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ndpsim.data import isa_dir
from ndpsim.errors import InputError
from ndpsim.tables import Table, read_toml, table_from

FIELD_KINDS = ("opcode", "type", "matrix", "list", "integer", "address", "float")
TIMING_CLASSES = ("control", "channel", "link", "barrier", "stream", "vector")
DIVISIONS = ("none", "element", "vector")
OPERANDS = ("values", "vectors", "state", "columns", "rows", "matrix", "bytes")


@dataclass(frozen=True)
class Field:
    """A named bit range of the instruction word: bits `lo` to `lo + width - 1`."""

    name: str
    lo: int
    width: int
    kind: str
    doc: str

    @property
    def mask(self) -> int:
        """The field's bits inside the word."""
        return ((1 << self.width) - 1) << self.lo


@dataclass(frozen=True)
class ElementType:
    """An element type, its code in the `type` field and its width in bits."""

    name: str
    code: int
    bits: int


@dataclass(frozen=True)
class Instruction:
    """One record of the instruction set.

    operands: the field of each buffer operand, and what it is, one of OPERANDS; in_place: whether the result may
    coincide with a source.
    """

    mnemonic: str
    opcode: int
    fields: tuple[Field, ...]
    types: tuple[str, ...]
    syntax: str
    meaning: str
    traps: tuple[str, ...]
    timing: str
    passes: int
    divisions: str
    operands: tuple[tuple[str, str], ...]
    in_place: bool

    @property
    def mask(self) -> int:
        """All bits that this instruction may set, the opcode's included."""
        return sum(field.mask for field in self.fields) | 0xFF


@dataclass(frozen=True)
class Isa:
    """The whole instruction set; look instructions up by mnemonic or by opcode."""

    version: int
    width_bits: int
    buffer_alignment: int
    atom_bytes: int
    partial_sums: int
    entry_bits: int
    fields: dict[str, Field]
    types: dict[str, ElementType]
    traps: dict[str, tuple[int, str]]
    timing: dict[str, str]
    prose: dict[str, str]
    instructions: dict[str, Instruction]

    @property
    def by_opcode(self) -> dict[int, Instruction]:
        """Instructions by opcode."""
        return {instruction.opcode: instruction for instruction in self.instructions.values()}

    def trap_name(self, code: int) -> str:
        """Return the name of the trap with this code."""
        return next(name for name, (number, _) in self.traps.items() if number == code)


@cache
def isa() -> Isa:
    """Return the instruction set that ships with ndpsim."""
    return load_isa(isa_dir() / "ndp.toml")


def load_isa(path: Path) -> Isa:
    """Read and check an instruction set.

    Raises InputError naming every instruction that overlaps another, uses a field that does not exist, sets one bit
    twice, or is incomplete.
    """
    raw = read_toml(path)
    table_from(_IsaForm, raw, path.name)
    return _build(raw, path.name)


class _HeadForm(Table, strict=True):
    name: str
    version: int
    width_bits: int
    buffer_alignment: int
    dram_atom: int
    partial_sums: int
    entry_bits: int


class _FieldForm(Table, strict=True):
    lo: int
    width: int
    kind: str
    doc: str


class _TypeForm(Table, strict=True):
    name: str
    code: int
    bits: int


class _TrapForm(Table, strict=True):
    code: int
    doc: str


class _InstructionForm(Table, extra="allow"):
    """The form of what an instruction has; what it must have, and its opcode, `_build` looks at."""

    mnemonic: str = ""
    opcode: Any = None
    fields: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    syntax: str = ""
    meaning: str = ""
    traps: tuple[str, ...] = ()
    timing: str = ""
    passes: int = 0
    divisions: str = ""


class _IsaForm(Table, strict=True):
    isa: _HeadForm
    prose: dict[str, str]
    field: dict[str, _FieldForm]
    type: list[_TypeForm]
    trap: dict[str, _TrapForm]
    timing: dict[str, str]
    instruction: list[_InstructionForm]


def _build(raw: dict[str, Any], file: str) -> Isa:
    width = raw["isa"]["width_bits"]
    faults: list[str] = []
    fields = {name: Field(name=name, **entry) for name, entry in raw["field"].items()}
    types = {entry["name"]: ElementType(**entry) for entry in raw["type"]}
    traps = {name: (entry["code"], entry["doc"]) for name, entry in raw["trap"].items()}
    for field in fields.values():
        if field.lo < 0 or field.width < 1 or field.lo + field.width > width:
            faults.append(f"field {field.name}: bits {field.lo}+{field.width} do not fit in {width} bits")
        if field.kind not in FIELD_KINDS:
            faults.append(f"field {field.name}: kind {field.kind!r} is none of {', '.join(FIELD_KINDS)}")
    if len({t.code for t in types.values()}) < len(types):
        faults.append("two element types share a code")
    if len({code for code, _ in traps.values()}) < len(traps):
        faults.append("two traps share a code")
    instructions: dict[str, Instruction] = {}
    for number, entry in enumerate(raw["instruction"], start=1):
        name = entry.get("mnemonic", f"instruction {number}")
        if missing := _REQUIRED_KEYS - set(entry):
            faults.append(f"{name}: missing entries {', '.join(sorted(missing))}")
            continue
        faults += _instruction_faults(entry, fields, types, traps, instructions)
        instructions[name] = Instruction(
            mnemonic=name,
            opcode=entry["opcode"],
            fields=tuple(fields[f] for f in entry["fields"] if f in fields),
            types=tuple(entry.get("types", ())),
            syntax=entry["syntax"],
            meaning=entry["meaning"].strip("\n"),
            traps=tuple(entry["traps"]),
            timing=entry["timing"],
            passes=entry.get("passes", 0),
            divisions=entry.get("divisions", "none"),
            operands=tuple(entry.get("operands", {}).items()),
            in_place=entry.get("in_place", False),
        )
    if faults:
        raise InputError(f"{file}: " + "; ".join(faults))
    return Isa(
        version=raw["isa"]["version"],
        width_bits=width,
        buffer_alignment=raw["isa"]["buffer_alignment"],
        atom_bytes=raw["isa"]["dram_atom"],
        partial_sums=raw["isa"]["partial_sums"],
        entry_bits=raw["isa"]["entry_bits"],
        fields=fields,
        types=types,
        traps=traps,
        timing=raw["timing"],
        prose=raw["prose"],
        instructions=instructions,
    )


_REQUIRED_KEYS = {"mnemonic", "opcode", "fields", "syntax", "meaning", "traps", "timing"}
_INSTRUCTION_KEYS = _REQUIRED_KEYS | {"types", "passes", "divisions", "operands", "in_place"}


def _instruction_faults(
    entry: dict[str, Any],
    fields: dict[str, Field],
    types: dict[str, ElementType],
    traps: dict[str, tuple[int, str]],
    earlier: dict[str, Instruction],
) -> list[str]:
    name = entry["mnemonic"]
    faults = []
    if unknown := set(entry) - _INSTRUCTION_KEYS:
        faults.append(f"{name}: unknown entries {', '.join(sorted(unknown))}")
    if type(entry["opcode"]) is not int:
        return [*faults, f"{name}: opcode: expected a whole number, found {entry['opcode']!r}"]
    if name in earlier:
        faults.append(f"{name}: defined twice")
    for other in earlier.values():
        if other.opcode == entry["opcode"]:
            faults.append(f"{name}: its encoding overlaps {other.mnemonic}, opcode {entry['opcode']:#04x}")
    if not 0 <= entry["opcode"] < 1 << fields["op"].width:
        faults.append(f"{name}: opcode {entry['opcode']:#x} is wider than {fields['op'].width} bits")
    used = fields["op"].mask
    for field_name in entry["fields"]:
        if field_name not in fields:
            faults.append(f"{name}: unknown field {field_name!r}")
            continue
        if used & fields[field_name].mask:
            faults.append(f"{name}: field {field_name} overlaps another field")
        used |= fields[field_name].mask
        if f"{{{field_name}}}" not in entry["syntax"]:
            faults.append(f"{name}: its syntax does not mention {field_name}")
    for kind, names, known in (("type", entry.get("types", ()), types), ("trap", entry["traps"], traps)):
        faults += [f"{name}: unknown {kind} {n!r}" for n in names if n not in known]
    if ("type" in entry["fields"]) != bool(entry.get("types")):
        faults.append(f"{name}: 'types' must be given exactly where the type field is used")
    if entry["timing"] not in TIMING_CLASSES:
        faults.append(f"{name}: timing class {entry['timing']!r} is none of {', '.join(TIMING_CLASSES)}")
    if (entry["timing"] == "vector") != ("passes" in entry):
        faults.append(f"{name}: 'passes' must be given exactly for the timing class vector")
    if entry.get("divisions", "none") not in DIVISIONS:
        faults.append(f"{name}: divisions must be one of {', '.join(DIVISIONS)}")
    return faults + _operand_faults(entry, fields)


def _operand_faults(entry: dict[str, Any], fields: dict[str, Field]) -> list[str]:
    """Check that each buffer operand is described, and fits the other fields and the timing class."""
    name, operands, timing = entry["mnemonic"], entry.get("operands", {}), entry["timing"]
    faults = []
    if timing not in TIMING_CLASSES or not set(entry["fields"]) <= set(fields):
        return []  # that is said already
    addresses = [one for one in entry["fields"] if one in fields and fields[one].kind == "address"]
    if set(operands) != set(addresses):
        faults.append(f"{name}: operands: expected {', '.join(addresses) or 'none'}, found {', '.join(operands)}")
    for field, shape in operands.items():
        if shape not in OPERANDS:
            faults.append(f"{name}: operands: {field}: {shape!r} is none of {', '.join(OPERANDS)}")
    shapes = set(operands.values())
    wanted = {"stream": {"columns", "rows", "matrix"}, "channel": {"bytes"}, "link": {"bytes"}}
    if not shapes <= wanted.get(timing, {"values", "vectors", "state"}):
        faults.append(f"{name}: operands: {', '.join(sorted(shapes))} do not go with the timing class {timing}")
    if type(entry.get("in_place", False)) is not bool:
        faults.append(f"{name}: in_place: expected true or false, found {entry['in_place']!r}")
    if timing in ("stream", "channel", "link") and not addresses:
        faults.append(f"{name}: operands: expected a buffer operand in the timing class {timing}")
    return faults
