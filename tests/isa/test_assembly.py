import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.isa.assembly import assemble, disassemble
from ndpsim.isa.encoding import float_bits
from ndpsim.isa.spec import isa

WORDS = st.integers(0, (1 << 128) - 1)


@st.composite
def plausible_words(draw):
    """Random bits in the fields of an instruction; most are defined."""
    instruction = draw(st.sampled_from(list(isa().instructions.values())))
    word = instruction.opcode
    for field in instruction.fields:
        codes = [isa().types[name].code for name in instruction.types] if field.kind == "type" else None
        word |= draw(st.sampled_from(codes) if codes else st.integers(0, (1 << field.width) - 1)) << field.lo
    return word


@settings(max_examples=500, deadline=None)
@given(st.lists(plausible_words() | WORDS, max_size=5))
def test_assembling_a_disassembly_gives_the_words_back(words):
    assert assemble(disassemble(words)) == words


@settings(max_examples=200, deadline=None)
@given(plausible_words(), st.randoms())
def test_spaces_comments_and_empty_lines_change_nothing(word, random):
    head, _, operands = disassemble([word]).strip().partition(" ")
    for mark in "[],":
        operands = operands.replace(mark, " " * random.randint(0, 2) + mark + " " * random.randint(0, 2))
    assert assemble(f"\n  ; first a comment\n\t{head}   {operands} ; and another\n\n") == [word]


def test_nothing_assembles_to_nothing():
    assert assemble("") == assemble("; only a comment\n\n") == []
    assert disassemble([]) == ""


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("1", 0x3F800000), ("-0.0", 0x80000000), ("0.1", float_bits(0.1)), ("1e-45", 1), ("1.5e+3", 0x44BB8000),
        ("inf", 0x7F800000), ("-inf", 0xFF800000), ("0x7fc00001", 0x7FC00001), ("0X3F800000", 0x3F800000),
    ],
)  # fmt: skip
def test_constants_are_numbers_or_bit_patterns(text, bits):
    assert assemble(f"fill [0x0], {text}, 1") == assemble(f"fill [0], 0x{bits:08x}, 1")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("hlt", "hlt: no such instruction; known are end, bar, mat, "),
        ("relu.f32 [0], [4], 1", "expected 'relu [{src}], [{dst}], {count}', found 'relu.f32 [0], [4], 1'"),
        ("relu [0], [4]", "expected 'relu [{src}], [{dst}], {count}', found 'relu [0], [4]'"),
        ("relu [0], [4], 1, 2", "expected 'relu [{src}], [{dst}], {count}', found 'relu [0], [4], 1, 2'"),
        ("relu 0, 4, 1", "expected 'relu [{src}], [{dst}], {count}', found 'relu 0, 4, 1'"),
        ("end now", "expected 'end', found 'end now'"),
        ("relu [four], [4], 1", "relu: src: expected a buffer address, found 'four'"),
        ("relu [0], [4], many", "relu: count: expected a whole number, found 'many'"),
        ("relu [0], [4], -1", "relu: count: expected 0 to 16777215, found -1"),
        ("relu [0x1000000], [4], 1", "relu: src: expected 0 to 16777215, found 16777216"),
        ("dot l0, l0, [0], [4], 1", "dot: mat: expected a register m0 to m15, found 'l0'"),
        ("dot m0, m0, [0], [4], 1", "dot: list: expected a register l0 to l15, found 'm0'"),
        ("dot m16, l0, [0], [4], 1", "dot: mat: expected 0 to 15, found 16"),
        ("mat.f32 m0, 0, 1, 1, 1", "mat: type: expected f16 or bf16 or i8, found 'f32'"),
        ("cvt.f32.f64 [0], [4], 1", "cvt: type: expected f16 or bf16 or i8 or i32 or f32, found 'f64'"),
        ("fill [0], zero, 1", "fill: value: expected a number or a bit pattern 0x..., found 'zero'"),
        ("fill [0], 0x1ffffffff, 1", "fill: value: expected 0 to 4294967295, found 8589934591"),
        (".word", "expected '.word' and a number, found '.word'"),
        (".word zero", "expected '.word' and a number, found '.word zero'"),
        (f".word {1 << 128:#x}", f".word: expected 128 bits, found {1 << 128:#x}"),
        (".word -1", ".word: expected 128 bits, found -0x1"),
    ],
)
def test_an_error_names_the_file_the_line_and_what_was_expected(line, sentence):
    with pytest.raises(InputError) as error:
        assemble(f"; a program\nbar\n\n{line}\nend", "prog.s")
    assert str(error.value).startswith(f"prog.s: line 4: {sentence}")
    assert "\n" not in str(error.value)
