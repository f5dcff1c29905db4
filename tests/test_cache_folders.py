"""Caches lie in the user's cache folder, or in a folder that nobody else can write."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from ndpsim import cache_folders
from ndpsim.cache_folders import cache_folder, writable


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def unwritable(tmp_path):
    """A folder that cannot be made, by whomever."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "kernels"


def is_private(folder):
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.getuid()


def test_the_users_variable_is_followed_unless_relative(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache_folder("kernels") == Path("/there/ndpsim/kernels")
    for value in ("here", "./here", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder("traces") == Path.home() / ".cache" / "ndpsim" / "traces"


def test_a_folder_that_can_be_written_is_used(tmp_path):
    assert writable(tmp_path / "new" / "kernels") == tmp_path / "new" / "kernels"
    assert not list((tmp_path / "new" / "kernels").iterdir())


@pytest.mark.parametrize("fault", ["owner", "mode"])
def test_a_folder_that_others_own_or_may_all_write_is_not_used(tmp_path, temporary, monkeypatch, fault):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(0o777 if fault == "mode" else 0o755)
    if fault == "owner":
        monkeypatch.setattr(cache_folders, "_user", lambda: os.getuid() + 1)
    assert writable(folder).parent == temporary


def test_a_folder_that_the_users_group_may_write_is_used(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(0o775)
    assert writable(folder) == folder


def test_else_a_private_folder_for_temporary_files_is_used_by_all_processes(tmp_path, temporary):
    folder = writable(unwritable(tmp_path))
    assert folder == temporary / f"ndpsim-kernels-{os.getuid()}"
    assert is_private(folder)
    writable.cache_clear()
    assert writable(unwritable(tmp_path)) == folder


@pytest.mark.parametrize("fault", ["owner", "mode", "link", "file"])
def test_what_others_may_have_put_there_is_not_used(tmp_path, temporary, monkeypatch, fault):
    place = temporary / f"ndpsim-kernels-{os.getuid()}"
    mine = os.getuid()
    if fault == "owner":
        place.mkdir(mode=0o700)
        place = place.rename(temporary / f"ndpsim-kernels-{mine + 1}")
        monkeypatch.setattr(cache_folders, "_user", lambda: mine + 1)  # all folders here belong to somebody else
    elif fault == "mode":
        place.mkdir()
        place.chmod(0o777)
    elif fault == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "other")
    else:
        place.write_text("")
    at_exit = []
    monkeypatch.setattr("atexit.register", lambda call, *what, **_: at_exit.append((call, *what)))
    folder = writable(unwritable(tmp_path))
    assert folder != place and folder.parent == temporary
    assert is_private(folder)
    assert at_exit == [(shutil.rmtree, folder)]
