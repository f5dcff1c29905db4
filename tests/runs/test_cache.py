"""What is kept between runs: used when it is right, made anew when it is not, and never more than the limit."""

import os

import numpy as np
import pytest

from ndpsim.runs import cache
from ndpsim.runs.cache import cached


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ndpsim" / "traces"


def counted(value, times):
    def make():
        times.append(value)
        return np.full((3, 4), value, np.uint8)

    return make


def get(key, value, times):
    return cached(key, "uint8", (3, 4), counted(value, times))


def test_an_array_is_made_once(folder):
    times = []
    first, again = (get("a", 1, times) for _ in range(2))
    assert times == [1] and np.array_equal(first, again) and len(list(folder.iterdir())) == 1
    assert get("b", 2, times)[0, 0] == 2 and times == [1, 2]


def test_a_file_that_was_hurt_anywhere_is_made_anew(folder):
    get("a", 7, [])
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        assert np.array_equal(get("a", 7, []), np.full((3, 4), 7))
    for hurt in (*(whole[:at] for at in range(len(whole))), whole + b"0"):
        path.write_bytes(hurt)
        times = []
        assert get("a", 7, times)[0, 0] == 7 and times == [7]
    times = []
    assert get("a", 7, times)[0, 0] == 7 and times == []


def test_the_content_of_another_key_or_shape_is_not_taken(folder):
    get("a", 1, [])
    (path,) = folder.iterdir()
    get("b", 2, [])
    (other,) = set(folder.iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    assert get("a", 1, [])[0, 0] == 1
    assert cached("a", "uint8", (5,), lambda: np.arange(5, dtype=np.uint8)).tolist() == [0, 1, 2, 3, 4]
    assert cached("a", "uint8", (5,), lambda: np.zeros(5, np.uint8)).tolist() == [0, 1, 2, 3, 4]
    assert cached("a", "int8", (5,), lambda: np.zeros(5, np.int8)).dtype == np.int8


def test_what_is_written_to_an_array_is_not_kept():
    get("a", 1, [])
    get("a", 1, [])[:] = 5
    assert get("a", 1, [])[0, 0] == 1


def test_those_not_used_for_longest_go(folder, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 2 * 16)  # two files of 12 bytes and a checksum
    for i, key in enumerate("ab"):
        get(key, i, [])
        (newest,) = [path for path in folder.iterdir() if path.stat().st_mtime > 10_000]
        os.utime(newest, (i + 1, i + 1))
    get("a", 0, [])  # used again, so that b is the oldest
    get("c", 2, [])
    times = []
    get("a", 0, times), get("c", 2, times), get("b", 1, times)
    assert times == [1]


def test_what_is_larger_than_the_limit_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 11)
    assert get("a", 3, [])[0, 0] == 3
    assert not folder.exists()


def test_a_place_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert get("a", 3, [])[0, 0] == 3


def test_a_relative_cache_home_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "ndpsim" / "traces"
