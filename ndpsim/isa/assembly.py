"""Assembly text: one instruction a line, `;` starts a comment; parser and printer both follow `syntax` in ndp.toml."""

import re
from functools import cache

from ndpsim.errors import InputError
from ndpsim.isa.encoding import decode, encode, float_bits, float_from_bits
from ndpsim.isa.spec import Field, Instruction, isa

_OPERAND = re.compile(r"\{(\w+)\}")


def assemble(text: str, file: str = "assembly") -> list[int]:
    """Assemble a program into 128-bit words.

    Raises InputError naming the file, the line and what was expected.
    """
    words = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.split(";", 1)[0].strip()
        if not code:
            continue
        try:
            words.append(_assemble_line(code))
        except InputError as error:
            raise InputError(f"{file}: line {number}: {error}") from None
    return words


def disassemble(words: list[int]) -> str:
    """Write words as assembly text, one line each; an undefined word becomes a `.word` line, which assembles back."""
    return "".join(f"{disassemble_word(word)}\n" for word in words)


def disassemble_word(word: int) -> str:
    """Write one word as assembly text, without a line end."""
    decoded = decode(word)
    if decoded is None:
        return f".word {word:#034x}"
    instruction, operands = decoded
    shown = {field.name: _show(field, operands[field.name]) for field in instruction.fields}
    return instruction.syntax.format(**shown)


def _assemble_line(code: str) -> int:
    head = code.split(None, 1)[0]
    if head == ".word":
        return _parse_word(code)
    instruction = isa().instructions.get(head.split(".", 1)[0])
    if instruction is None:
        raise InputError(f"{head}: no such instruction; known are {', '.join(isa().instructions)}")
    match = _pattern(instruction).fullmatch(code)
    if match is None:
        raise InputError(f"expected '{instruction.syntax}', found '{code}'")
    return encode(
        instruction.mnemonic,
        {field.name: _parse(instruction, field, match[field.name]) for field in instruction.fields},
    )


def _parse_word(code: str) -> int:
    try:
        word = int(code.split(None, 1)[1], 0)
    except (IndexError, ValueError):
        raise InputError(f"expected '.word' and a number, found '{code}'") from None
    if not 0 <= word < 1 << isa().width_bits:
        raise InputError(f".word: expected {isa().width_bits} bits, found {word:#x}")
    return word


@cache
def _pattern(instruction: Instruction) -> re.Pattern[str]:
    """Turn a syntax line into a pattern: spaces are free around punctuation, operands are captured by name."""
    pattern = ""
    for part in re.split(r"(\{\w+\}|\s+|[\[\],])", instruction.syntax):
        if operand := _OPERAND.fullmatch(part):
            pattern += (
                rf"(?P<{operand[1]}>[^\s,\[\].]+(?:\.[^\s,\[\]]*)?)"
                if operand[1] == "value"
                else (rf"(?P<{operand[1]}>[^\s,\[\].]+)")
            )
        elif part.isspace():
            pattern += r"\s+" if not pattern.endswith(r"\s*") else ""
        elif part in ("[", "]", ","):
            pattern += rf"\s*{re.escape(part)}\s*"
        else:
            pattern += re.escape(part)
    return re.compile(pattern.replace(r"\s+\s*", r"\s*").replace(r"\s*\s+", r"\s*"))


def _parse(instruction: Instruction, field: Field, text: str) -> int:
    try:
        if field.kind == "type":
            return _type_code(instruction, text)
        if field.kind in ("matrix", "list"):
            if text[0] != field.kind[0]:
                raise ValueError
            return int(text[1:])
        if field.kind == "float" and not text.lower().startswith("0x"):
            return float_bits(float(text))
        return int(text, 0)
    except ValueError:
        raise InputError(
            f"{instruction.mnemonic}: {field.name}: expected {_EXPECTED[field.kind]}, found '{text}'"
        ) from None


_EXPECTED = {
    "matrix": "a register m0 to m15",
    "list": "a register l0 to l15",
    "integer": "a whole number",
    "address": "a buffer address",
    "float": "a number or a bit pattern 0x...",
}


def _type_code(instruction: Instruction, text: str) -> int:
    if text not in instruction.types:
        raise InputError(f"{instruction.mnemonic}: type: expected {' or '.join(instruction.types)}, found '{text}'")
    return isa().types[text].code


def _show(field: Field, value: int) -> str:
    if field.kind == "type":
        return next(t.name for t in isa().types.values() if t.code == value)
    if field.kind in ("matrix", "list"):
        return f"{field.kind[0]}{value}"
    if field.kind == "address":
        return f"{value:#x}"
    if field.kind == "float":
        number = float_from_bits(value)
        exact = number == number and float_bits(number) == value
        return repr(number) if exact else f"{value:#010x}"
    return str(value)
