import contextlib
import gzip

import h5py
import numpy as np
import pytest
from dram.logs import act, command_log, prea, rd, ref
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.dram.log import csv_log as log_csv
from ndpsim.dram.log.log import (
    COMMANDS,
    FIELDS,
    CommandLog,
    LogWriter,
    empty_log,
    joined,
    read_log,
    read_pieces,
    write_log,
)
from ndpsim.errors import InputError

HEADER = "cycle,command,rank,bank_group,bank,row,column"
SOME = command_log([act(3, rank=1, group=1, bank=2, row=70000), rd(30, row=5), prea(80), ref(2**47)], "rank", "DDR4-X")


def same(a, b):
    return (
        all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a[:10], b[:10], strict=True))
        and a[10:] == b[10:]
    )


def refused(path, *words):
    with pytest.raises(InputError) as error:
        read_log(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert all(word in message for word in words), message


def csv(tmp_path, *lines, header=HEADER):
    path = tmp_path / "log.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize("bus", ["rank", "channel", "shared"])
def test_a_log_is_read_as_it_was_written(tmp_path, bus):
    write_log(tmp_path / "log.h5", SOME._replace(bus=bus))
    assert same(read_log(tmp_path / "log.h5"), SOME._replace(bus=bus))


def test_text_of_any_length_is_read(tmp_path):
    for standard in ("", "é" * 300):
        write_log(tmp_path / "log.h5", SOME._replace(standard=standard))
        assert read_log(tmp_path / "log.h5").standard == standard
    with h5py.File(tmp_path / "log.h5", "r+") as file:
        file.attrs.update({"standard": "DDR4-Y", "commands": list(COMMANDS)})
    assert read_log(tmp_path / "log.h5").standard == "DDR4-Y"


def test_an_empty_log_is_read_as_it_was_written(tmp_path):
    write_log(tmp_path / "log.h5", command_log([]))
    assert same(read_log(tmp_path / "log.h5"), command_log([]))


def test_the_same_log_gives_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_log(tmp_path / name, SOME)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_file_says_what_it_is_and_is_compressed(tmp_path):
    write_log(tmp_path / "log.h5", SOME)
    with h5py.File(tmp_path / "log.h5") as file:
        attributes = {name: file.attrs[name] for name in ("format", "version", "standard", "bus")}
        assert attributes == {"format": b"ndpsim-dram-log", "version": 2, "standard": b"DDR4-X", "bus": b"rank"}
        assert file.attrs["commands"].astype(str).tolist() == list(COMMANDS)
        assert {name: file[name].dtype for name in file} == FIELDS
        assert {(file[name].compression, file[name].compression_opts, file[name].shuffle) for name in file} == {
            ("gzip", 4, True)
        }


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "log.h5"
    path.write_text("old")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.File, "create_dataset", full)
    with pytest.raises(InputError, match="No space left"):
        write_log(path, SOME)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(InputError, match="expected a place that can be written, found: No such file or directory"):
        write_log(tmp_path / "none" / "log.h5", SOME)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"command": np.full(4, 14, np.uint8)}, "command: expected an integer from 0 to 13, found 14"),
        ({"cycle": np.full(4, -1)}, "cycle: expected an integer from 0"),
        ({"row": np.zeros(3, np.int32)}, "row: expected 4 integers"),
        ({"bank": np.zeros(4)}, "bank: expected 4 integers"),
        ({"bank": np.full(4, 1 << 20)}, "bank: expected an integer from -32768"),
        ({"bus": "wire"}, "bus: expected 'rank', 'channel' or 'shared', found 'wire'"),
    ],
)
def test_arrays_that_are_no_log_are_not_written(tmp_path, change, word):
    with pytest.raises(InputError, match=word):
        write_log(tmp_path / "log.h5", SOME._replace(**change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (
            lambda file: file.attrs.create("format", "something"),
            "format: expected 'ndpsim-dram-log', found 'something'",
        ),
        (lambda file: file.attrs.create("version", 1), "version: expected 2, found 1"),
        (lambda file: file.attrs.create("commands", ["ACT"]), "commands: expected"),
        (lambda file: file.attrs.create("standard", 5), "standard: expected text"),
        (lambda file: file.attrs.create("bus", "wire"), "bus: expected"),
        (lambda file: file.attrs.pop("format"), "format: expected"),
        (lambda file: file.pop("row"), "row: expected a dataset"),
        (lambda file: (file.pop("row"), file.create_group("row")), "row: expected a dataset"),
        (lambda file: (file.pop("row"), file.create_dataset("row", data=[1.0] * 4)), "row: expected a list of int32"),
        (
            lambda file: (file.pop("row"), file.update({"row": h5py.ExternalLink("x.h5", "row")})),
            "row: expected a dataset",
        ),
        (lambda file: file["row"].resize((3,)), "row: expected 4 integers"),
        (lambda file: file["row"].resize((5,)), "row: expected 4 integers, found int32 of shape (5,)"),
        (lambda file: file["row"].resize((1 << 40,)), "row: expected a list of int32"),
        (
            lambda file: file["command"].write_direct(np.full(4, 14, np.uint8)),
            "command: expected an integer from 0 to 13",
        ),
    ],
)
def test_a_file_with_a_wrong_part_is_refused_by_that_part(tmp_path, damage, word):
    path = tmp_path / "log.h5"
    write_log(path, SOME)
    with h5py.File(path, "r+") as file:
        damage(file)
    refused(path, word)


def test_a_file_cut_short_or_of_another_kind_or_missing_is_refused(tmp_path):
    path = tmp_path / "log.h5"
    write_log(path, SOME)
    content = path.read_bytes()
    for broken in (b"", b"hello", content[: len(content) // 2], content[:-1]):
        path.write_bytes(broken)
        refused(path)
    refused(tmp_path / "missing.h5", "no such file")
    refused(tmp_path, "found: a folder")
    refused(tmp_path / "missing.csv", "No such file")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("log") / "log.h5"
    write_log(path, SOME)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(bytes(content))
    with contextlib.suppress(InputError):
        assert same(read_log(path), SOME)


def test_csv_from_other_tools_is_read(tmp_path):
    log = read_log(
        csv(tmp_path, "3,ACT,1,1,2,70000,-1", "30,RD,0,0,0,5,0", "80,PREA,0,,,,", f"{2**47},REF,0,-1,-1,-1,-1")
    )
    assert same(log, SOME._replace(bus="channel", standard=""))


def test_columns_may_stand_in_any_order_and_those_of_dimm_channel_and_pseudo_channel_be_absent(tmp_path):
    assert read_log(csv(tmp_path, "2,3,ACT,1,1,2,7,", header="dimm," + HEADER)).dimm.tolist() == [2]
    assert read_log(csv(tmp_path, "3,ACT,1,1,2,7,,2", header=HEADER + ",dimm")).dimm.tolist() == [2]
    first = read_log(csv(tmp_path, "3,ACT,1,1,2,7,"))
    assert (first.dimm.tolist(), first.channel.tolist(), first.pseudo_channel.tolist()) == ([0], [0], [0])
    header = "channel,row,column,bank,bank_group,rank,pseudo_channel,command,cycle"
    other = read_log(csv(tmp_path, "5,7,,2,1,1,6,ACT,3", header=header))
    assert same(other, first._replace(channel=np.array([5], np.int16), pseudo_channel=np.array([6], np.int16)))


def test_all_commands_and_the_usual_other_names_are_read(tmp_path):
    names = [*COMMANDS, "REFab", "REFA", "PREab", "PREpb"]
    log = read_log(csv(tmp_path, *[f"{i},{name},0,0,0,0,0" for i, name in enumerate(names)]))
    assert [COMMANDS[code] for code in log.command] == [*COMMANDS, "REF", "REF", "PREA", "PRE"]
    for unknown in ("PREsb", "PRESB", "REFsbx", "RDNX", "REF\0"):
        refused(csv(tmp_path, f"1,{unknown},0,0,0,0,0"), "line 2: command: expected one of ACT, PRE, ")


def test_compressed_csv_and_windows_line_ends_and_a_missing_last_one_are_read(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\r\n3,ACT,1,1,2,7,\r\n9,REF,0,,,,".encode()))
    assert read_log(path).cycle.tolist() == [3, 9]
    path.write_bytes(path.read_bytes()[:-9])
    refused(path, "expected a readable CSV file")


def test_a_header_alone_is_an_empty_log(tmp_path):
    assert len(read_log(csv(tmp_path)).cycle) == 0


def test_blocks_join_without_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(log_csv, "_BLOCK", 37)
    log = read_log(csv(tmp_path, *[f"{10**i},RDA,{i % 4},0,1,{i},-1" for i in range(14)]))
    assert log.cycle.tolist() == [10**i for i in range(14)] and log.row.tolist() == list(range(14))
    refused(csv(tmp_path, *["1,REF,0,,,,"] * 20, "1,REF,0,,,"), "line 22: expected 7 fields, found 6")


def test_a_log_is_written_and_read_in_pieces(tmp_path, monkeypatch):
    cycles = np.arange(1000)
    log = command_log([act(int(cycle), row=int(cycle) % 7) for cycle in cycles], "channel", "DDR4-X")
    with LogWriter(tmp_path / "log.h5", "DDR4-X") as writer:
        for start, stop in ((0, 1), (1, 1), (1, 640), (640, 1000)):
            writer.append(log.part(slice(start, stop)))
    assert same(read_log(tmp_path / "log.h5"), log)
    pieces = list(read_pieces(tmp_path / "log.h5", 300))
    assert [len(piece.cycle) for piece in pieces] == [300, 300, 300, 100]
    assert same(joined(pieces), log)
    monkeypatch.setattr(log_csv, "_BLOCK", 200)
    path = csv(tmp_path, *[f"{cycle},ACT,0,0,0,{cycle % 7},-1" for cycle in cycles])
    pieces = list(read_pieces(path, 300))
    assert len(pieces) == 4 and all(300 <= len(piece.cycle) < 320 for piece in pieces[:3])
    assert same(joined(pieces), log._replace(standard=""))


def test_a_log_that_is_not_finished_does_not_appear(tmp_path):
    with pytest.raises(ZeroDivisionError), LogWriter(tmp_path / "log.h5") as writer:
        writer.append(empty_log())
        print(1 // 0)
    with (
        pytest.raises(InputError, match="bus: expected 'channel' as in the pieces before, found 'rank'"),
        LogWriter(tmp_path / "log.h5") as writer,
    ):
        writer.append(empty_log("rank"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("3,ACT,1,1,2,7", "expected 7 fields, found 6"),
        ("3,ACT,1,1,2,7,0,0", "expected 7 fields, found 8"),
        ("3", "expected 7 fields, found 1"),
        ('3,"ACT,1",1,2,7,0', "expected integers and a command, found 'ACT,1'"),
        ('3,ACT,1,1,2,7,"0"x', "expected a record, found one with"),
        (
            "3,act,1,1,2,7,0",
            "command: expected one of ACT, PRE, PREA, RD, WR, RDA, WRA, REF, REFsb, REFpb, RDN, WRN, RDab, WRab, "
            "REFab, REFA, PREab, PREpb, found 'act'",
        ),
        ("3,PREAX,1,1,2,7,0", "command: expected"),
        ("3,,1,1,2,7,0", "command: expected"),
        ("x,ACT,1,1,2,7,0", "cycle: expected an integer from 0 to 9223372036854775807, found 'x'"),
        ("-3,ACT,1,1,2,7,0", "cycle: expected"),
        (",ACT,1,1,2,7,0", "cycle: expected"),
        ("9999999999999999999,ACT,1,1,2,7,0", "cycle: expected"),
        ("3,ACT,1.0,1,2,7,0", "rank: expected"),
        ("3,ACT,-,1,2,7,0", "rank: expected"),
        ("3,ACT,-2,1,2,7,0", "rank: expected"),
        ("3,ACT,1,40000,2,7,0", "bank_group: expected an integer from -1 to 32767, found '40000'"),
        ("3,ACT,1,1,2,7 7,0", "row: expected"),
        ("3,ACT,1,1,2,7,\xff", "column: expected"),
        ("3,ACT,1,1,2,7," + "7" * 5000, "column: expected"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, words):
    refused(csv(tmp_path, "1,REF,0,,,,", line, "9,REF,0,,,,"), f"line 3: {words}")


QUOTED = ",".join(f'"{name}"' for name in HEADER.split(","))


@pytest.mark.parametrize(
    "content",
    [
        f'{QUOTED}\n"3","ACT","1","1","2","7","-1"\n"30","RD","0","0","0","5","0"\n',
        f'{QUOTED}\r\n"3",ACT,1,"1",2,7,""\r\n"30","RD",0,0,0,5,0',
        f'\ufeff{QUOTED}\n3, "ACT", 1,1 ,2,\t7,\n30,RD ,0,0,0,5,0\n\n',
        f"\ufeff{HEADER}\r\n\r\n3,ACT,1,1,2,7,-1\r\n\r\n30,RD,0,0,0,5,0\r\n\r\n",
        f"{HEADER.replace(',', ', ')}\n3, ACT, 1, 1, 2, 7,\n  30, RD, 0, 0, 0, 5, 0",
    ],
)
def test_csv_is_read_as_any_reader_would(tmp_path, monkeypatch, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content.encode())
    expected = read_log(csv(tmp_path, "3,ACT,1,1,2,7,-1", "30,RD,0,0,0,5,0"))
    path.write_bytes(content.encode())
    for block in (log_csv._BLOCK, 64):
        monkeypatch.setattr(log_csv, "_BLOCK", block)
        assert same(read_log(path), expected)


def test_empty_lines_count_in_the_number_of_a_bad_one(tmp_path):
    refused(csv(tmp_path, "1,REF,0,,,,", "", "", "x,REF,0,,,,"), "line 5: cycle: expected")


def test_a_wrong_header_and_a_line_without_end_are_refused(tmp_path, monkeypatch):
    refused(csv(tmp_path, header="time,what"), "line 1: expected a header with cycle,command,")
    monkeypatch.setattr(log_csv, "_BLOCK", 2000)
    refused(csv(tmp_path, "1,REF,0,,,,", "7" * 9000), "line 3: expected a record, found a line without end")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="0123456789,-ACTREFPD\n\r x", max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("log") / "log.csv"
    path.write_bytes(f"{HEADER}\n{text}".encode())
    try:
        assert isinstance(read_log(path), CommandLog)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
