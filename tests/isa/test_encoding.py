import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import interpreter

from ndpsim.dimm import decode as columns
from ndpsim.dimm.decode import LEGAL, decode_fields
from ndpsim.errors import InputError
from ndpsim.isa.encoding import (
    array_to_words,
    decode,
    encode,
    encoder,
    float_bits,
    float_from_bits,
    relocated,
    words_to_array,
)
from ndpsim.isa.spec import isa

WORDS = st.integers(0, (1 << 128) - 1)


@st.composite
def instructions(draw):
    """A mnemonic with operands whose types are defined."""
    instruction = draw(st.sampled_from(list(isa().instructions.values())))
    codes = [isa().types[name].code for name in instruction.types]
    return instruction.mnemonic, {
        field.name: draw(st.sampled_from(codes) if field.kind == "type" else st.integers(0, (1 << field.width) - 1))
        for field in instruction.fields
    }


@st.composite
def near_misses(draw):
    """A word with a defined opcode and random bits in its fields, in few others, or everywhere."""
    instruction = draw(st.sampled_from(list(isa().instructions.values())))
    rest = draw(WORDS) & draw(st.sampled_from([instruction.mask, (1 << 128) - 1])) & ~0xFF
    return rest | instruction.opcode


@settings(max_examples=300, deadline=None)
@given(instructions())
def test_decode_is_the_inverse_of_encode(case):
    mnemonic, operands = case
    instruction, decoded = decode(encode(mnemonic, operands))
    assert (instruction.mnemonic, decoded) == case
    assert encoder(mnemonic)(*(operands[field.name] for field in instruction.fields)) == encode(mnemonic, operands)


@settings(max_examples=500, deadline=None)
@given(near_misses() | WORDS)
def test_encode_is_the_inverse_of_decode(word):
    decoded = decode(word)
    if decoded is not None:
        assert encode(decoded[0].mnemonic, decoded[1]) == word


def assert_same_decoding(words):
    legal = decode_fields(words_to_array(words))[:, LEGAL]
    for word, ours_is_legal in zip(words, legal.tolist(), strict=True):
        ours, theirs = decode(word), interpreter.decode(word)
        assert (ours is None) == (theirs is None) == (ours_is_legal == 0)
        if ours is not None:
            assert (ours[0].mnemonic, ours[1]) == (theirs.mnemonic, theirs.fields)


@settings(max_examples=300, deadline=None)
@given(st.lists(near_misses() | WORDS, min_size=1, max_size=8))
def test_all_decoders_agree_on_random_words(words):
    assert_same_decoding(words)


@settings(max_examples=60, deadline=None)
@given(instructions())
def test_all_decoders_agree_on_every_single_bit_flip(case):
    word = encode(*case)
    assert_same_decoding([word, *(word ^ 1 << bit for bit in range(128))])


def test_a_word_of_an_unused_opcode_is_undefined():
    for opcode in set(range(256)) - set(isa().by_opcode):
        assert decode(opcode) is None


def test_a_bit_that_must_be_zero_makes_a_word_undefined():
    for instruction in isa().instructions.values():
        code = isa().types[instruction.types[0]].code if instruction.types else 0
        operands = {field.name: code if field.kind == "type" else 0 for field in instruction.fields}
        word = encode(instruction.mnemonic, operands)
        assert decode(word) is not None
        for bit in range(128):
            if not instruction.mask >> bit & 1:
                assert decode(word | 1 << bit) is None


@pytest.mark.parametrize("mnemonic", [i.mnemonic for i in isa().instructions.values() if i.types])
def test_a_type_that_the_instruction_does_not_take_makes_a_word_undefined(mnemonic):
    instruction = isa().instructions[mnemonic]
    good = isa().types[instruction.types[0]].code
    for kind in [field.name for field in instruction.fields if field.kind == "type"]:
        for code in set(range(16)) - {isa().types[name].code for name in instruction.types}:
            operands = {field.name: good if field.kind == "type" else 0 for field in instruction.fields}
            assert decode(encode(mnemonic, operands | {kind: code})) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(near_misses() | WORDS, max_size=6))
def test_decoded_rows_have_the_bits_of_every_field(words):
    ops = decode_fields(words_to_array(words))
    for name, field in isa().fields.items():
        column = getattr(columns, "COUNT" if name == "bytes" else name.upper())
        assert ops[:, column].tolist() == [(word >> field.lo) % (1 << field.width) for word in words]


@settings(deadline=None)
@given(st.lists(WORDS))
def test_words_and_arrays_are_two_forms_of_one_thing(words):
    array = words_to_array(words)
    assert array.dtype == np.uint64 and array.shape == (len(words), 2)
    assert array_to_words(array) == words


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False))
def test_float_bits_are_those_of_binary32(value):
    assert float_from_bits(float_bits(value)) == value
    assert float_bits(value) == int.from_bytes(np.float32(value).tobytes(), "little")


@pytest.mark.parametrize(
    ("mnemonic", "operands", "sentence"),
    [
        ("hin", {"dst": 1 << 24, "bytes": 4}, "hin: dst: expected 0 to 16777215, found 16777216"),
        ("hin", {"dst": -4, "bytes": 4}, "hin: dst: expected 0 to 16777215, found -4"),
        ("hin", {"dst": 4}, "hin: operand bytes is missing"),
        ("hin", {"dst": 4, "bytes": 4, "peer": 1}, "hin: unknown operand peer"),
        ("end", {"op": 1}, "end: unknown operand op"),
    ],
)
def test_operands_that_an_instruction_cannot_hold_are_refused(mnemonic, operands, sentence):
    with pytest.raises(InputError) as error:
        encode(mnemonic, operands)
    assert str(error.value) == sentence


@settings(max_examples=100, deadline=None)
@given(instructions(), st.data())
def test_every_field_refuses_what_is_too_wide(case, data):
    mnemonic, operands = case
    if operands:
        name = data.draw(st.sampled_from(sorted(operands)))
        limit = 1 << isa().fields[name].width
        wrong = operands | {name: data.draw(st.sampled_from([limit, -1, limit << 40]))}
        sentence = f"{mnemonic}: {name}: expected 0 to {limit - 1}, found {wrong[name]}"
        with pytest.raises(InputError) as error:
            encode(mnemonic, wrong)
        assert str(error.value) == sentence
        with pytest.raises(InputError) as error:
            encoder(mnemonic)(*(wrong[field.name] for field in isa().instructions[mnemonic].fields))
        assert str(error.value) == sentence


def test_an_unknown_instruction_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="hlt: no such instruction; known are end, bar, mat, "):
        encode("hlt", {})


def test_relocation_moves_every_matrix_and_nothing_else():
    mat = {"type": 0, "mat": 3, "base": 7, "rows": 5, "cols": 32, "stride": 1}
    words = [encode("mat", mat), encode("list", {"list": 0, "first": 7, "count": 2}), encode("mat", mat | {"base": 0})]
    before = words_to_array(words)
    moved = relocated(before, 100)
    expected = [encode("mat", mat | {"base": 107}), words[1], encode("mat", mat | {"base": 100})]
    assert array_to_words(moved) == expected
    assert array_to_words(before) == words


@pytest.mark.parametrize(("atoms", "fits"), [((1 << 32) - 8, True), ((1 << 32) - 7, False)])
def test_a_matrix_behind_the_last_address_is_refused(atoms, fits):
    words = words_to_array([encode("mat", {"type": 0, "mat": 0, "base": 7, "rows": 1, "cols": 32, "stride": 1})])
    if fits:
        assert decode(array_to_words(relocated(words, atoms))[0])[1]["base"] == 7 + atoms
    else:
        with pytest.raises(InputError, match="mat: base: expected 0 to 4294967295"):
            relocated(words, atoms)
