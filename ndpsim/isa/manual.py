"""The reference manual, generated from `isa/ndp.toml`; a test fails when `isa/MANUAL.md` is stale."""

from ndpsim.isa.spec import Instruction, Isa


def manual(isa: Isa) -> str:
    """Return the manual as Markdown."""
    parts = [
        f"# The NDP instruction set, version {isa.version}",
        "Generated from `ndp.toml` by `python tools/make_manual.py`; do not edit.",
        isa.prose["overview"].strip(),
        "## State",
        isa.prose["state"].strip(),
        "## Arithmetic",
        isa.prose["arithmetic"].strip(),
        "## Element types",
        _table(["name", "code", "bits"], [[t.name, str(t.code), str(t.bits)] for t in isa.types.values()]),
        "## Traps",
        _table(["name", "code", "raised by"], [[name, str(code), doc] for name, (code, doc) in isa.traps.items()]),
        "## Timing classes",
        _table(["class", "time"], [[name, text] for name, text in isa.timing.items()]),
        "## Fields",
        f"A word has {isa.width_bits} bits, stored little-endian. Bits that an instruction does not use must be zero.",
        _table(
            ["field", "bits", "meaning"],
            [[f.name, f"{f.lo + f.width - 1}:{f.lo}", f.doc] for f in isa.fields.values()],
        ),
        "## Instructions",
        _table(
            ["opcode", "syntax", "timing"],
            [[f"`{i.opcode:#04x}`", f"`{i.syntax}`", i.timing] for i in isa.instructions.values()],
        ),
        *[_section(i) for i in isa.instructions.values()],
    ]
    return "\n\n".join(parts) + "\n"


def _section(instruction: Instruction) -> str:
    lines = [f"### {instruction.mnemonic}", f"`{instruction.syntax}` - opcode `{instruction.opcode:#04x}`"]
    bits = ", ".join(f"{f.name} {f.lo + f.width - 1}:{f.lo}" for f in instruction.fields)
    lines.append(
        f"Fields: {bits or 'none'}." + (f" Types: {', '.join(instruction.types)}." if instruction.types else "")
    )
    lines.append(f"```\n{instruction.meaning}\n```")
    timing = f"Time: {instruction.timing}"
    if instruction.timing == "vector":
        timing += f", {instruction.passes} pass{'es' * (instruction.passes != 1)}"
        timing += {"none": "", "element": ", one division an element", "vector": ", one division a vector"}[
            instruction.divisions
        ]
    traps = ", ".join(instruction.traps) or "none beyond illegal"
    lines.append(f"{timing}. Traps: {traps}.")
    return "\n\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)
