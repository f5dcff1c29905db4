"""Files appear whole or not at all, and what stands in the place of one is told."""

import fcntl
import os

import pytest

from ndpsim.dimm.image import read_image
from ndpsim.dram.log.log import read_log
from ndpsim.dram.requests.trace import open_trace
from ndpsim.errors import InputError
from ndpsim.files import appearing, unreadable
from ndpsim.report.run_file import read_run
from ndpsim.sparsity.trace import ActivationTrace

READERS = {
    "command log": read_log,
    "request trace": open_trace,
    "result file": read_run,
    "activation trace": ActivationTrace.read,
    "memory image": lambda path: read_image(path, None, 0),
}


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, before):
    path = tmp_path / "result"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(KeyboardInterrupt), appearing(path) as part:
        part.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([before] if before else [])


def test_a_file_appears_only_at_the_end_with_ordinary_rights(tmp_path):
    path = tmp_path / "result"
    with appearing(path) as part:
        part.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_folder_in_the_place_of_the_file_is_one_sentence(tmp_path):
    (tmp_path / "result").mkdir()
    with (
        pytest.raises(InputError, match="result: expected a place that can be written"),
        appearing(tmp_path / "result") as part,
    ):
        part.write_bytes(b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with appearing(tmp_path / "link") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["", ".", "pipe", "none/x"])
def test_what_is_no_place_for_a_file_is_refused_and_left_alone(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(InputError, match="expected a place that can be written"), appearing(name) as part:
        part.write_bytes(b"new")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_what_stands_where_a_file_is_to_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    assert unreadable(path) == "no such file"
    assert unreadable(tmp_path) == "a folder"
    assert unreadable("/dev/null") == "a device or a pipe"
    path.write_bytes(b"x")
    assert unreadable(path) is None
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert unreadable(path) == "a file that another program has locked"
    assert unreadable(path) is None


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_of_a_file_says_that_it_is_a_folder_or_locked(tmp_path, reader):
    path = tmp_path / "x.h5"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"found:? a folder"):
        READERS[reader](tmp_path)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"found:? a file that another program has locked"):
            READERS[reader](path)
