import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.isa.program import (
    MAGIC,
    VERSION,
    DimmProgram,
    Program,
    Region,
    from_bytes,
    read_program,
    to_bytes,
    write_program,
)

U32, U64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
NAMES = st.from_regex(r"[\w.-]{1,8}", fullmatch=True)


@st.composite
def dimm_programs(draw):
    words = np.array(draw(st.lists(st.tuples(U64, U64), max_size=6)), np.uint64).reshape(-1, 2)
    lists = np.array(draw(st.lists(U32, max_size=6)), np.uint32)
    bounds = sorted(draw(st.lists(U32, min_size=6, max_size=6)))
    pairs = zip(bounds[::2], bounds[1::2], strict=True)
    regions = [Region(draw(NAMES), base, end - base, draw(st.booleans())) for base, end in pairs]
    return DimmProgram(words, lists, tuple(draw(st.permutations(regions))[: draw(st.integers(0, 3))]))


PROGRAMS = st.builds(Program.of, st.text(), st.lists(dimm_programs(), min_size=1, max_size=4))
SMALL = Program.of("{}", (
    DimmProgram(np.array([[0x11, 7], [1, 0]], np.uint64), np.array([5, 6], np.uint32), (Region("w", 3, 4, True),)),
    DimmProgram(np.array([[1, 0]], np.uint64), np.array([], np.uint32), ()),
))  # fmt: skip


def refusal(data):
    """The one sentence with which a file's bytes are refused."""
    with pytest.raises(InputError) as error:
        from_bytes(data, "p.ndp")
    assert "\n" not in str(error.value) and str(error.value).startswith("p.ndp: ")
    return str(error.value).removeprefix("p.ndp: ")


def signed(header, sections=b"", version=VERSION):
    """A file whose checksum is right, whatever it holds."""
    body = struct.pack("<8sII", MAGIC, version, len(header)) + header + sections
    return body + hashlib.sha256(body).digest()


def assert_equal(a, b):
    assert a.machine == b.machine
    for mine, other in zip(a.dimms, b.dimms, strict=True):
        assert mine.words.dtype == other.words.dtype and np.array_equal(mine.words, other.words)
        assert mine.lists.dtype == other.lists.dtype and np.array_equal(mine.lists, other.lists)
        assert mine.regions == other.regions


@settings(max_examples=200, deadline=None)
@given(PROGRAMS)
def test_a_program_comes_back_from_its_bytes(program):
    assert_equal(from_bytes(to_bytes(program), "p.ndp"), program)


def test_a_program_comes_back_from_its_file(tmp_path):
    write_program(tmp_path / "p.ndp", SMALL)
    assert_equal(read_program(tmp_path / "p.ndp"), SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["p.ndp"]


def test_the_bytes_of_a_program_are_always_the_same():
    assert to_bytes(SMALL) == to_bytes(from_bytes(to_bytes(SMALL), "p.ndp"))


def test_every_single_flipped_bit_is_refused():
    data = to_bytes(SMALL)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert refusal(bytes(damaged))


def test_every_truncation_is_refused():
    data = to_bytes(SMALL)
    for length in range(len(data)):
        assert refusal(data[:length])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data):
    assert refusal(data) == "not an NDP program file"
    assert refusal(MAGIC + data)


def test_bytes_behind_the_end_are_refused():
    assert refusal(to_bytes(SMALL) + b"\0") == "the file is damaged or cut short (its checksum does not match)"


def test_another_version_is_refused():
    assert refusal(signed(b"{}", version=2)) == "version: expected 1, found 2"


def test_a_header_that_promises_less_than_the_file_holds_is_refused():
    header = b'{"machine":"","dimms":[{"instructions":1,"lists":0,"regions":[]}]}'
    assert from_bytes(signed(header, bytes(16)), "p.ndp").dimms[0].words.tolist() == [[0, 0]]
    assert refusal(signed(header, bytes(20))) == "header: not what version 1 defines: 4 bytes are left over"


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{", b"[]", b"3", b"null", b'{"machine":""}', b'{"machine":"","dimms":3}', b'{"machine":"","dimms":[]}',
        b'{"machine":"","dimms":[3]}', b'{"machine":"","dimms":[{}]}', b"\xff", b"[" * 100_000,
        b'{"machine":"","dimms":[{"instructions":1,"lists":0,"regions":[]}]}',
        b'{"machine":"","dimms":[{"instructions":-1,"lists":0,"regions":[]}]}',
        b'{"machine":"","dimms":[{"instructions":0,"lists":-1,"regions":[]}]}',
        b'{"machine":"","dimms":[{"instructions":1e999,"lists":0,"regions":[]}]}',
        b'{"machine":"","dimms":[{"instructions":1000000000000000000000,"lists":0,"regions":[]}]}',
        b'{"machine":"","dimms":[{"instructions":0,"lists":0,"regions":[["w",1]]}]}',
        b'{"machine":"","dimms":[{"instructions":0,"lists":0,"regions":["w"]}]}',
        b'{"dimms":[{"instructions":0,"lists":0,"regions":[]}]}',
    ],
    ids=lambda header: header[:70].decode("latin-1"),
)  # fmt: skip
def test_a_header_that_makes_no_sense_is_refused_even_if_the_checksum_is_right(header):
    assert refusal(signed(header)).startswith("header: not what version 1 defines")


def test_a_path_that_cannot_be_read_is_refused(tmp_path):
    for path, reason in ((tmp_path / "none.ndp", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as error:
            read_program(path)
        assert str(error.value) == f"{path}: cannot be read: {reason}"


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    path = tmp_path / "nowhere" / "p.ndp"
    with pytest.raises(InputError) as error:
        write_program(path, SMALL)
    assert str(error.value) == f"{path}: expected a place that can be written, found: No such file or directory"


def test_the_upload_counts_instructions_and_lists():
    assert [dimm.upload_bytes for dimm in SMALL.dimms] == [2 * 16 + 2 * 4, 16]
    assert SMALL.upload_bytes().tolist() == [2 * 16 + 2 * 4, 16]


@given(st.lists(dimm_programs(), min_size=1, max_size=4))
def test_a_program_joins_what_its_dimms_run_and_cuts_it_again(dimms):
    joined = Program.of("{}", dimms)
    assert joined.words.lengths() == [len(dimm.words) for dimm in dimms]
    for mine, other in zip(joined.dimms, dimms, strict=True):
        assert np.array_equal(mine.words, other.words) and np.array_equal(mine.lists, other.lists)
        assert mine.regions == other.regions


@pytest.mark.parametrize(
    ("regions", "reason"),
    [
        ((Region("a", 0, 4), Region("b", 3, 1)), "region b: expected it behind region a, from atom 4 on"),
        ((Region("a", -1, 4),), "region a: expected it behind the start of the memory"),
        ((Region("a", 0, -4),), "region a"),
        ((Region("two words", 0, 4),), "expected a name of letters"),
    ],
)
def test_regions_that_overlap_or_cannot_be_written_down_are_refused(regions, reason):
    with pytest.raises(InputError, match=reason):
        DimmProgram(np.zeros((0, 2), np.uint64), np.zeros(0, np.uint32), regions)
