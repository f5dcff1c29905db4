"""Files appear whole or not at all."""

import os

import pytest

from ndpsim.errors import InputError
from ndpsim.files import appearing


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
