import re

import pytest

from ndpsim.data import isa_dir
from ndpsim.errors import InputError
from ndpsim.isa.manual import manual
from ndpsim.isa.spec import isa, load_isa

SHIPPED = (isa_dir() / "ndp.toml").read_text(encoding="utf-8")


def record(mnemonic):
    """The text of one instruction."""
    return re.search(rf'\[\[instruction\]\]\nmnemonic = "{mnemonic}"\n.*?(?=\[\[instruction\]\]|\Z)', SHIPPED, re.S)[0]


def with_change(mnemonic, old, new):
    """The instruction set with one thing changed in one instruction."""
    before = record(mnemonic)
    assert before.count(old) == 1
    return SHIPPED.replace(before, before.replace(old, new))


def refusal(tmp_path, text):
    path = tmp_path / "mutant.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_isa(path)
    assert "\n" not in str(error.value) and str(error.value).startswith("mutant.toml: ")
    return str(error.value).removeprefix("mutant.toml: ")


def test_the_shipped_instruction_set_loads():
    assert load_isa(isa_dir() / "ndp.toml") == isa()


def test_there_are_at_most_26_instructions():
    assert len(isa().instructions) <= 26


def test_the_manual_is_not_stale():
    assert (isa_dir() / "MANUAL.md").read_text(encoding="utf-8") == manual(isa())


def test_every_trap_but_the_implicit_ones_is_raised_by_an_instruction():
    raised = {trap for instruction in isa().instructions.values() for trap in instruction.traps}
    assert raised | {"illegal", "no_end"} == set(isa().traps)


def test_traps_are_found_by_code():
    assert [isa().trap_name(code) for code, _ in isa().traps.values()] == list(isa().traps)


MUTANTS = {
    "overlapping field bits": (
        "hin", 'fields = ["dst", "bytes"]\nsyntax = "hin [{dst}], {bytes}"',
        'fields = ["dst", "bytes", "stride"]\nsyntax = "hin [{dst}], {bytes}, {stride}"',
        "hin: field stride overlaps another field",
    ),
    "field twice": ("hin", '["dst", "bytes"]', '["dst", "bytes", "dst"]', "hin: field dst overlaps another field"),
    "field on the opcode": (
        "bar", 'fields = []\nsyntax = "bar"', 'fields = ["op"]\nsyntax = "bar {op}"',
        "bar: field op overlaps another field",
    ),
    "overlapping opcodes": ("gelu", "0x36", "0x35", "gelu: its encoding overlaps silu, opcode 0x35"),
    "too wide opcode": ("gelu", "0x36", "0x136", "gelu: opcode 0x136 is wider than 8 bits"),
    "negative opcode": ("gelu", "0x36", "-1", "gelu: opcode -0x1 is wider than 8 bits"),
    "opcode as text": ("gelu", "0x36", '"0x36"', "gelu: opcode: expected a whole number, found '0x36'"),
    "unknown field": ("gelu", '"src", "dst"', '"src", "dest"', "gelu: unknown field 'dest'"),
    "unknown trap": ("gelu", '"buffer", "overlap"', '"buffer", "underlap"', "gelu: unknown trap 'underlap'"),
    "unknown type": ("add", '"f32", "i32"', '"f32", "i64"', "add: unknown type 'i64'"),
    "unknown timing class": (
        "hin", '"channel"', '"canal"',
        "hin: timing class 'canal' is none of control, channel, link, barrier, stream, vector",
    ),
    "unknown entry": ("gelu", "passes = 9", "passes = 9\ncolour = 3", "gelu: unknown entries colour"),
    "unknown kind of division": ("gelu", '"element"', '"pair"', "gelu: divisions must be one of none, element, vector"),
    "missing opcode": ("gelu", "opcode = 0x36\n", "", "gelu: missing entries opcode"),
    "missing meaning": ("bar", "meaning =", "# meaning =", "bar: missing entries meaning"),
    "missing passes": ("gelu", "passes = 9\n", "", "gelu: 'passes' must be given exactly for the timing class vector"),
    "passes without use": (
        "bar", 'timing = "barrier"', 'timing = "barrier"\npasses = 1',
        "bar: 'passes' must be given exactly for the timing class vector",
    ),
    "missing types": (
        "add", 'types = ["f32", "i32"]\n', "", "add: 'types' must be given exactly where the type field is used",
    ),
    "field not in the syntax": ("gelu", "gelu [{src}], ", "gelu ", "gelu: its syntax does not mention src"),
    "missing mnemonic": ("end", 'mnemonic = "end"\n', "", "instruction 1: missing entries mnemonic"),
    "name twice": ("gelu", 'mnemonic = "gelu"', 'mnemonic = "silu"', "silu: defined twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", MUTANTS.values(), ids=MUTANTS)
def test_a_wrong_instruction_is_refused_by_name(tmp_path, case):
    mnemonic, old, new, sentence = case
    assert refusal(tmp_path, with_change(mnemonic, old, new)) == sentence


def test_all_faults_are_reported_at_once(tmp_path):
    text = SHIPPED.replace("opcode = 0x36", "opcode = 0x136").replace('timing = "barrier"', 'timing = "fence"')
    sentence = refusal(tmp_path, text)
    assert "gelu: opcode 0x136 is wider" in sentence and "bar: timing class 'fence' is none of" in sentence


FILE_MUTANTS = {
    "field too wide": (
        "cols   = { lo = 88,  width = 20", "cols   = { lo = 120, width = 20",
        "field cols: bits 120+20 do not fit in 128 bits",
    ),
    "field of no width": (
        "cols   = { lo = 88,  width = 20", "cols   = { lo = 88,  width = 0",
        "field cols: bits 88+0 do not fit in 128 bits",
    ),
    "unknown kind of field": (
        'width = 20, kind = "integer",  doc = "elements', 'width = 20, kind = "whole",  doc = "elements',
        "field cols: kind 'whole' is none of opcode, type, matrix, list, integer, address, float",
    ),
    "a text where a number is expected": ('name = "i8"\ncode = 2', 'name = "i8"\ncode = "2"',
        "type.2.code: expected a valid integer, found '2'"),
    "two types with one code": ('name = "i8"\ncode = 2', 'name = "i8"\ncode = 1', "two element types share a code"),
    "two traps with one code": ("overlap    = { code = 5", "overlap    = { code = 4", "two traps share a code"),
    "no width": ("width_bits = 128", "", "isa.width_bits: expected a value, found none"),
    "no field table": ("[field]", "[fields]", "field: expected a value, found none; fields: expected only known keys"),
    "a list where a table is expected": ("[trap]", "[[trap]]", "trap: expected a table, found ["),
}  # fmt: skip


@pytest.mark.parametrize("case", FILE_MUTANTS.values(), ids=FILE_MUTANTS)
def test_a_wrong_table_is_refused(tmp_path, case):
    old, new, sentence = case
    assert SHIPPED.count(old) == 1
    assert refusal(tmp_path, SHIPPED.replace(old, new)).startswith(sentence)


def test_what_is_no_toml_is_refused(tmp_path):
    path = tmp_path / "mutant.toml"
    path.write_text(SHIPPED.replace("[isa]", "[isa"), encoding="utf-8")
    with pytest.raises(InputError, match=r"mutant\.toml: expected a TOML file, found: "):
        load_isa(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: expected a readable file, found: No such file"):
        load_isa(tmp_path / "nowhere.toml")
