import contextlib
import gzip
import random

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.dram.requests import text as trace_text
from ndpsim.dram.requests.request import MAX_ADDRESS, MAX_AFTER, MAX_CYCLE
from ndpsim.dram.requests.trace import array_trace, open_trace, write_trace
from ndpsim.errors import InputError

NAMES = ("t.trace", "t.trace.gz", "t.h5")
SOME = ([0x1F40, 8000, MAX_ADDRESS, 0], [0, 1, 0, 1], [5, 5, 120, MAX_CYCLE], [0, 1, 2, 0])


def columns(trace, size=3):
    """All requests as four lists; blocks are full but for the last."""
    blocks = list(trace.blocks(size))
    assert all(len(block.address) == size for block in blocks[:-1]) and all(len(block.address) for block in blocks)
    assert all([c.dtype for c in block] == [np.int64, np.uint8, np.int64, np.int64] for block in blocks)
    return tuple([int(v) for block in blocks for v in block[i]] for i in range(4))


def text(tmp_path, *lines, name="t.trace"):
    path = tmp_path / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def refused(path, *words):
    with pytest.raises(InputError) as error:
        list(open_trace(path).blocks())
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert all(word in message for word in words), message


@st.composite
def traces(draw):
    n = draw(st.integers(0, 40))
    rng = random.Random(draw(st.integers(0, 1 << 30)))
    address = [rng.getrandbits(rng.randrange(64)) for _ in range(n)]
    write = [rng.randrange(2) for _ in range(n)]
    arrival = sorted(rng.getrandbits(rng.randrange(49)) for _ in range(n)) if draw(st.booleans()) else None
    after = [rng.randrange(min(i, MAX_AFTER) + 1) for i in range(n)] if draw(st.booleans()) else None
    return address, write, arrival, after


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(traces(), st.integers(1, 50))
def test_a_trace_is_read_as_it_was_written(tmp_path_factory, name, trace, size):
    path = tmp_path_factory.mktemp("trace") / name
    write_trace(path, *trace)
    expected = tuple(column or [0] * len(trace[0]) for column in trace)
    read = open_trace(path)
    assert columns(read, size) == columns(read, size + 1) == columns(array_trace(*trace), size) == expected
    assert read.length == len(trace[0])
    if trace[0]:
        assert read.timed == (trace[2] is not None)
        assert read.dependent or not any(expected[3])


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_all_ranges_and_other_integer_types_are_written(tmp_path, name):
    types = (np.uint64, bool, np.uint64, np.uint16)
    write_trace(tmp_path / name, *(np.array(values, dtype) for values, dtype in zip(SOME, types, strict=True)))
    assert columns(open_trace(tmp_path / name)) == SOME


@pytest.mark.parametrize("name", NAMES)
def test_the_same_trace_gives_the_same_bytes(tmp_path, name):
    paths = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    for path in paths:
        write_trace(path, *SOME)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_text_is_what_the_manual_says(tmp_path):
    write_trace(tmp_path / "t.trace", [64, 128], [0, 1], [3, 9], [0, 1])
    assert (tmp_path / "t.trace").read_text() == "# requests: 2\n3 R 0x40\n9 W 0x80 @1\n"
    write_trace(tmp_path / "t.trace", [64, 128])
    assert (tmp_path / "t.trace").read_text() == "# requests: 2\nR 0x40\nR 0x80\n"


@pytest.mark.parametrize(
    ("lines", "expected", "timed"),
    [
        (["R 0x1f40", "W 8000", "R 64 @1"], ([0x1F40, 8000, 64], [0, 1, 0], [0, 0, 0], [0, 0, 1]), False),
        (["1 R 0XaBc", "1 W 007 @1", "9 R 0"], ([0xABC, 7, 0], [0, 1, 0], [1, 1, 9], [0, 1, 0]), True),
        (["r 1", "w 2", "read 3", "Write 4", "LD 5", "st 6"], ([1, 2, 3, 4, 5, 6], [0, 1, 0, 1, 0, 1]), False),
        (["0x40 R", "64 W"], ([64, 64], [0, 1]), False),
        (["0x40 READ 7", "0x80 WRITE 8"], ([64, 128], [0, 1], [7, 8]), True),
        (["0x40 READ 7", "80 WRITE 8"], ([64, 128], [0, 1], [7, 8]), True),
        (["0 WRITE 0", "64 READ 4", "fC READ 8"], ([0, 0x64, 0xFC], [1, 0, 0], [0, 4, 8]), True),
        (["10 P_MEM_WR 0", "20 BOFF 1", "30 P_FETCH 2"], ([16, 32, 48], [1, 1, 0], [0, 1, 2]), True),
        (["0x40 R 7", "80 W 9"], ([64, 128], [0, 1], [7, 9]), True),
        (["4 LD 0x40", "5 ST 128"], ([64, 128], [0, 1], [4, 5]), True),
        (["\ufeffR 64", "W 0x80"], ([64, 128], [0, 1]), False),
        (["", "# a comment", "  R\t64   # another", "\t", "R 65#third\r", "#"], ([64, 65], [0, 0]), False),
        (["# requests: 1", "R 64"], ([64], [0]), False),
        (["# no count", "# requests: 7", "R 64"], ([64], [0]), False),
        ([f"R {MAX_ADDRESS}", f"R {MAX_ADDRESS:#x}", f"R 0x{MAX_ADDRESS:030x}"], ([MAX_ADDRESS] * 3, [0] * 3), False),
    ],
)
def test_these_lines_are_understood(tmp_path, lines, expected, timed):
    trace = open_trace(text(tmp_path, *lines))
    found = columns(trace)
    zeros = [0] * len(expected[0])
    assert found == (*expected, *[zeros] * (4 - len(expected)))
    assert trace.timed == timed


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["R 64", "X 64"], "line 2: expected R|W address [@back], as line 1 has it, found 'X 64'"),
        (["R 64", "", "R"], "line 3: expected R|W address [@back], as line 1 has it, found 'R'"),
        (["R 64", "5 R 64"], "line 2: expected R|W address [@back]"),
        (["5 R 64", "R 64"], "line 2: expected cycle R|W address [@back]"),
        (["R 64", "R 64 1"], "line 2: expected R|W address [@back]"),
        (["R 64", "R 64 @1 @1"], "line 2: expected R|W address [@back]"),
        (["R 64", "R 64 @1 @1 @1 @1 @1"], "line 2: expected R|W address [@back]"),
        (["R 64", "READER 64"], "line 2: expected R|W address [@back]"),
        (["R 64", "0x40 R"], "line 2: expected R|W address [@back]"),
        (["0x40 READ 7", "0x40 R"], "line 2: expected address READ|WRITE cycle"),
        (
            ["0x40 READ 7", "64g READ 7"],
            "line 2: address: expected a number from 0 to 9223372036854775807, hex",
        ),
        (["0x40 READ 7", "0x40 READ 7 @1"], "line 2: expected address READ|WRITE cycle"),
        (["64 READ 7", "64 R 8"], "line 2: expected address READ|WRITE cycle"),
        (["5 R 64", "6 READ 64"], "line 2: expected cycle R|W address [@back]"),
        (["R 64", "AP_MEM_RD 64"], "line 2: expected R|W address [@back]"),
        (["3 R 0x40 0x400", "2 W 0x80"], "line 1: expected a cycle or nothing before R|W, found USIMM's number of"),
        (["hello world"], "line 1: expected [cycle] R|W address [@back], found 'hello world'"),
        (["1,2,3"], "line 1: expected [cycle] R|W address [@back]"),
        (["R 64", "R -64"], "line 2: address: expected a number from 0 to 9223372036854775807, decimal or with 0x"),
        (["R 64", "R 9223372036854775808"], "line 2: address: expected"),
        (["R 64", "R 0x8000000000000000"], "line 2: address: expected"),
        (["R 64", "R 99999999999999999999999"], "line 2: address: expected"),
        (["R 64", "R 0x"], "line 2: address: expected"),
        (["R 64", "R 0x4g"], "line 2: address: expected"),
        (["R 64", "R 4f"], "found '4f'"),
        (["R 64", "R 6\u00e4"], "line 2: address: expected"),
        (["5 R 64", "4 R 64"], "line 2: cycle: expected 5 or later, as the request before has it, found '4'"),
        (["5 R 64", "-1 R 64"], "line 2: cycle: expected a decimal number from 0 to 281474976710655, found '-1'"),
        (["5 R 64", "281474976710656 R 64"], "line 2: cycle: expected a decimal number"),
        (["5 R 64", "0x6 R 64"], "line 2: cycle: expected a decimal number"),
        (["R 64 @1"], "line 1: @back: expected at most 0, as many requests as there are before, found '@1'"),
        (["R 64", "R 64", "R 64", "R 64", "R 64 @5"], "line 5: @back: expected at most 4"),
        (["R 64", "R 64 @x"], "line 2: @back: expected a decimal number from 0 to 65535, found '@x'"),
        (["R 64", "R 64 @"], "line 2: @back: expected a decimal number"),
        (["R 64", "R 64 @65536"], "line 2: @back: expected a decimal number"),
        (["# requests: 3", "R 64", "R 64"], "expected 3 requests, as line 1 says, found 2"),
        (["# requests: 1", "R 64", "R 64"], "expected 1 requests, as line 1 says, found 2"),
        (["# requests: 1"], "expected 1 requests, as line 1 says, found 0"),
        (["R 64", "R 64" + " " * 9000], "line 2: expected a request, found a line without end"),
        (["R 64", "R 64" + " " * 3990, "R"], "line 3: expected R|W address [@back]"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_what_is_expected(tmp_path, monkeypatch, lines, words):
    monkeypatch.setattr(trace_text, "_BLOCK", 4000)
    refused(text(tmp_path, *lines), words)


def test_blocks_of_text_join_without_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_text, "_BLOCK", 37)
    lines = [f"{i * i} {'RW'[i % 2]} {i * 64:#x} @{i % 2}" for i in range(50)]
    expected = ([i * 64 for i in range(50)], [i % 2 for i in range(50)], [i * i for i in range(50)])
    assert columns(open_trace(text(tmp_path, *lines)), 8)[:3] == expected
    refused(text(tmp_path, *lines, "", "2500 Q 0"), "line 52: expected cycle R|W address [@back], as line 1")


def test_dependencies_reach_across_blocks_but_not_before_the_start(tmp_path):
    path = text(tmp_path, *["R 64"] * 10, "R 64 @10")
    assert columns(open_trace(path), 4)[3] == [0] * 10 + [10]
    path = text(tmp_path, *["R 64"] * 10, "R 64 @11")
    with pytest.raises(InputError, match=r"line 11: @back: expected at most 10"):
        columns(open_trace(path), 4)


def test_text_without_requests_is_an_empty_trace(tmp_path):
    for lines in (["# nothing"], ["", "# requests: 0"], ["# requests: 0"]):
        trace = open_trace(text(tmp_path, *lines))
        assert (trace.length, trace.timed, columns(trace)) == (0, False, ([], [], [], []))


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_of_a_file_is_noticed(tmp_path, name):
    path = tmp_path / name
    write_trace(path, *SOME)
    content = path.read_bytes()
    for length in {0, 1, 5, *range(20, len(content), max(1, len(content) // 50)), len(content) - 1}:
        path.write_bytes(content[:length])
        refused(path)


@pytest.mark.parametrize("lines", [["R 64", "R 0x80"], ["0x40 R", "0x80 R"], ["40 READ 0", "80 READ 0"]])
@pytest.mark.parametrize("end", ["", "\r\n", " ", "\n\n", "  # the end"])
def test_a_last_line_needs_no_newline_unless_the_file_says_how_long_it_is(tmp_path, lines, end):
    path = tmp_path / "t.trace"
    path.write_bytes(("\r\n".join(lines) + end).encode())
    assert columns(open_trace(path))[0] == [64, 128]
    path.write_text("# requests: 2\nR 64\nR 128")
    refused(path, "line 3: expected a newline at its end, found a file that was cut short")


FORMS = {
    "R 64": "ndpsim: R|W address [@back]",
    "7 R 64": "ndpsim: cycle R|W address [@back]",
    "0x40 R": "ramulator: address R|W",
    "64 W": "ramulator: address R|W",
    "0x40 READ 7": "dramsim3: address READ|WRITE cycle",
    "40 WRITE 7": "dramsim3: address READ|WRITE cycle",
    "0x40 W 7": "dramsim3: address READ|WRITE cycle",
}


@pytest.mark.parametrize("line", FORMS)
def test_the_trace_names_its_form(tmp_path, line):
    assert open_trace(text(tmp_path, line)).form == FORMS[line]


def test_a_given_form_goes_before_what_the_first_line_tells(tmp_path):
    path = text(tmp_path, "64 READ 8", "64 W 128")
    assert columns(open_trace(path, "ndpsim"))[:3] == ([8, 128], [0, 1], [64, 64])
    path = text(tmp_path, "64 R 8", "40 WRITE 128")
    assert columns(open_trace(path, "dramsim3"))[:3] == ([0x64, 0x40], [0, 1], [8, 128])
    with pytest.raises(InputError, match=r"line 1: expected address R\|W, as line 1 has it"):
        columns(open_trace(path, "ramulator"))
    write_trace(tmp_path / "t.h5", [64])
    with pytest.raises(InputError, match="format: expected none for HDF5, found 'dramsim3'"):
        open_trace(tmp_path / "t.h5", "dramsim3")


def test_compressed_text_of_other_tools_is_read(tmp_path):
    path = tmp_path / "t.GZ"
    path.write_bytes(gzip.compress(b"0x40 READ 7\n") + gzip.compress(b"0x80 WRITE 9\n"))
    assert columns(open_trace(path)) == ([64, 128], [0, 1], [7, 9], [0, 0])
    path.write_bytes(b"R 64\n")
    refused(path, "expected a whole request trace, found: Not a gzipped file")


def test_what_is_no_file_or_another_kind_of_file_is_refused(tmp_path):
    refused(tmp_path / "none.trace", "expected a file with a request trace, found: No such file or directory")
    refused(tmp_path / "none.h5", "No such file")
    refused(tmp_path, "found: a folder")
    refused(text(tmp_path), "found: an empty one")
    refused(text(tmp_path, "R 64", name="t.h5"), "format: expected HDF5 with checksums")
    write_trace(tmp_path / "t.h5", *SOME)
    (tmp_path / "t.trace").write_bytes((tmp_path / "t.h5").read_bytes())
    refused(tmp_path / "t.trace", "line 1: expected [cycle] R|W address [@back]")
    (tmp_path / "t.trace").write_bytes(b"R" * 100_000)
    refused(tmp_path / "t.trace", "line 1: expected")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (
            lambda file: file.attrs.create("format", np.bytes_("x")),
            "format: expected 'ndpsim-request-trace', found",
        ),
        (lambda file: file.attrs.create("version", 2), "version: expected 1, found 2"),
        (lambda file: file.attrs.create("requests", 5), "address: expected int64[5], found int64[4]"),
        (lambda file: file.attrs.create("requests", -1), "requests: expected an integer attribute of at least 0"),
        (lambda file: file.attrs.pop("requests"), "requests: expected an integer attribute"),
        (lambda file: file.pop("write"), "write: expected a dataset, found nothing"),
        (lambda file: file["arrival"].resize((3,)), "arrival: expected int64[4], found int64[3]"),
        (lambda file: (file.pop("after"), file.create_dataset("after", data=[1.0] * 4)), "after: expected uint16[4]"),
        (lambda file: file["address"].write_direct(np.array([1, 2, -3, 4])), "address: request 2: expected an integer"),
        (lambda file: file["write"].write_direct(np.array([0, 2, 0, 0], np.uint8)), "write: request 1: expected"),
        (
            lambda file: file["arrival"].write_direct(np.array([1, 5, 4, 6])),
            "arrival: request 2: expected an integer",
        ),
        (lambda file: file["after"].write_direct(np.array([0, 1, 3, 1], np.uint16)), "from 0 to 2, found 3"),
    ],
)
def test_an_hdf5_file_with_a_wrong_part_is_refused_by_that_part(tmp_path, damage, word):
    path = tmp_path / "t.h5"
    write_trace(path, *SOME)
    with h5py.File(path, "r+") as file:
        damage(file)
    refused(path, word)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_of_an_hdf5_file_is_refused_or_changes_nothing(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("trace") / "t.h5"
    write_trace(path, *SOME)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(bytes(content))
    with contextlib.suppress(InputError):
        assert columns(open_trace(path)) == SOME


@pytest.mark.parametrize(
    ("given_", "word"),
    [
        (([1, 2], [1]), "write: expected 2 integers, found int64 of shape (1,)"),
        (([1.5],), "address: expected 1 integers, found float64"),
        (([[1]],), "address: expected 1 integers"),
        ((5,), "address: expected 0 integers"),
        (([-1],), "address: request 0: expected an integer from 0 to 9223372036854775807, found -1"),
        (([1], [2]), "write: request 0: expected an integer from 0 to 1, found 2"),
        (([1, 2], None, [4, 3]), "arrival: request 1: expected an integer from 4 to 281474976710655, found 3"),
        (([1], None, [1 << 48]), "arrival: request 0: expected"),
        (([1, 2], None, None, [0, 2]), "after: request 1: expected an integer from 0 to 1, found 2"),
        (([1], None, None, [-1]), "after: request 0: expected an integer from 0 to 0, found -1"),
        (
            ([0] * 70_000, None, None, [0] * 69_999 + [65_536]),
            "after: request 69999: expected an integer",
        ),
    ],
)
def test_arrays_that_are_no_trace_are_refused_and_not_written(tmp_path, given_, word):
    with pytest.raises(InputError) as error:
        array_trace(*given_)
    assert word in str(error.value)
    for name in NAMES:
        with pytest.raises(InputError) as error:
            write_trace(tmp_path / name, *given_)
        assert str(error.value).startswith(f"{tmp_path / name}: ") and word in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a place that can be written"):
        write_trace(tmp_path / "none" / name, *SOME)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="0123456789 RWreadx@#\t\r\nLDST-", max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("trace") / "t.trace"
    path.write_bytes(content.encode())
    try:
        columns(open_trace(path))
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
