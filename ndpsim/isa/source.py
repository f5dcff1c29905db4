"""Whole programs as text: assembly for each DIMM, with directives for what the file format holds beside instructions.

.machine {...}              the machine, as one line of JSON (else the caller's)
.dimm 0                     what follows belongs to DIMM 0
.region weights 0 64 ro     name, first atom, atoms, ro or rw
.list 3, 1, 4               entries of the list section, appended
"""

import numpy as np

from ndpsim.errors import InputError
from ndpsim.isa.assembly import assemble, disassemble_word
from ndpsim.isa.encoding import array_to_words, words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region

_PER_LINE = 16


class _Part:
    """What has been read for one DIMM."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.lists: list[int] = []
        self.regions: list[Region] = []


def program_text(program: Program) -> str:
    """Write a program as text that `read_source` turns back into the same program."""
    lines = [f".machine {program.machine}"]
    for number, dimm in enumerate(program.dimms):
        lines += ["", f".dimm {number}"]
        lines += [f".region {r.name} {r.base} {r.atoms} {'rw' if r.writable else 'ro'}" for r in dimm.regions]
        entries = dimm.lists.tolist()
        lines += [".list " + ", ".join(map(str, entries[i : i + _PER_LINE])) for i in range(0, len(entries), _PER_LINE)]
        lines += [disassemble_word(word) for word in array_to_words(dimm.words)]
    return "\n".join(lines) + "\n"


def source_machine(text: str) -> str | None:
    """Return the machine that a source names, or None."""
    for line in text.splitlines():
        if line.startswith(".machine "):
            return line.removeprefix(".machine ").strip()
    return None


def read_source(text: str, machine: str, file: str) -> Program:
    """Assemble a whole program. Raises InputError naming the file, the line and what was expected."""
    parts: dict[int, _Part] = {}
    current = 0
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.split(";", 1)[0].strip()
        if not code or code.startswith(".machine "):
            continue
        try:
            directive, _, rest = code.partition(" ")
            if directive == ".dimm":
                current = _number(rest, "a DIMM number", 255)
                if current in parts:
                    raise InputError(f".dimm: {current} was described before")
                parts[current] = _Part()
                continue
            part = parts.setdefault(current, _Part())
            if directive == ".region":
                part.regions.append(_region(code))
            elif directive == ".list":
                part.lists += [_number(entry, "a row number or a mask", (1 << 32) - 1) for entry in rest.split(",")]
            else:
                part.words += assemble(code)
        except InputError as error:
            raise InputError(f"{file}: line {number}: {str(error).removeprefix('assembly: line 1: ')}") from None
    if not parts or sorted(parts) != list(range(len(parts))):
        raise InputError(f"{file}: expected programs for DIMMs 0, 1, ... without a gap, found {sorted(parts)}")
    try:
        return _program(machine, [parts[i] for i in range(len(parts))])
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _program(machine: str, parts: list[_Part]) -> Program:
    return Program.of(
        machine,
        tuple(DimmProgram(words_to_array(p.words), np.array(p.lists, np.uint32), tuple(p.regions)) for p in parts),
    )


def _number(text: str, what: str, most: int) -> int:
    try:
        value = int(text.strip(), 0)
    except ValueError:
        raise InputError(f"expected {what}, found '{text.strip()}'") from None
    if not 0 <= value <= most:
        raise InputError(f"expected {what} from 0 to {most}, found {value}")
    return value


def _region(code: str) -> Region:
    parts = code.split()
    if len(parts) != 5 or parts[4] not in ("ro", "rw"):
        raise InputError(f"expected '.region NAME FIRST_ATOM ATOMS ro|rw', found '{code}'")
    base, atoms = (_number(part, "a number of atoms", (1 << 40) - 1) for part in parts[2:4])
    return Region(parts[1], base, atoms, parts[4] == "rw")
