"""Compiled kernels are found again wherever the same source lies, and nothing else is; what is damaged is made anew."""

import hashlib
import os
import pickle
import subprocess
import sys
import time

from processes import environment

from ndpsim.kernels import kernel_cache
from ndpsim.kernels.kernel_cache import kernel_folder

CONSTANTS = "STEP = 1\n"
KERNELS = '''"""Kernels."""
from ndpsim.jit import njit
import constants

@njit
def inner(x):
    return x + constants.STEP

@njit
def kernel(x):
    return inner(x) * 2

@njit
def unused(x):
    return x
'''
SCRIPT = """
from numba.core import event
compiled = []
class Names(event.Listener):
    def on_start(self, e): compiled.append(e.data["dispatcher"].py_func.__name__)
    def on_end(self, e): pass
event.register("numba:compile", Names())
from kernels import kernel
print(kernel(3), *compiled)
"""


def write(folder, constants=CONSTANTS, kernels=KERNELS):
    folder.mkdir(exist_ok=True)
    (folder / "constants.py").write_text(constants)
    (folder / "kernels.py").write_text(kernels)
    return folder


TOLD = """
from ndpsim.kernels.compiling import watched
from kernels import kernel
with watched(lambda one: print(*one)):
    kernel(3)
    kernel(4)
"""


def run(folder, cache, script=SCRIPT, **variables):
    """Return what a process prints that calls the kernel, what it compiles, and what it says."""
    env = environment(NUMBA_CACHE_DIR=str(cache), PYTHONDONTWRITEBYTECODE="1", **variables)
    env["PYTHONPATH"] = f"{folder}:{env['PYTHONPATH']}"
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def test_a_process_finds_kernels_that_another_compiled_in_another_folder_or_with_other_words(tmp_path):
    cache = tmp_path / "cache"
    assert run(write(tmp_path / "one"), cache) == ("8 kernel inner", "")
    other = write(tmp_path / "two", kernels=KERNELS.replace('"""Kernels."""', '"""Kernels.\n\nMore."""\n'))
    assert run(other, cache) == ("8", "")
    assert run(write(tmp_path / "one", constants="STEP = 2\n"), cache) == ("10 kernel inner", "")
    assert run(write(tmp_path / "one"), cache) == ("8", "")  # the kernel of before is still there


def test_each_type_of_arguments_is_found_by_itself(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    both = SCRIPT.replace("kernel(3)", "kernel(3), kernel(3.5)")
    assert run(source, cache, both) == ("8 9.0 kernel inner kernel inner", "")
    assert run(source, cache, both) == ("8 9.0", "")


def test_emptied_files_are_compiled_anew_which_is_said_once(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    run(source, cache)
    files = list(cache.iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"")
    answer, said = run(source, cache)
    assert answer == "8 kernel inner"
    assert said == f"ndpsim: {cache}: damaged files of compiled kernels; these kernels are compiled anew\n"
    assert run(source, cache) == ("8", "")


def test_a_file_with_any_damage_is_not_read_and_goes(tmp_path, capsys):
    content = bytes(range(200))
    whole = hashlib.sha256(content).digest() + content
    path = tmp_path / "a.kernel"
    path.write_bytes(whole)
    assert kernel_cache._read(path) == content and path.exists()
    changed = [whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in (*changed, *(whole[:size] for size in range(len(whole))), whole + b"0"):
        path.write_bytes(damaged)
        assert kernel_cache._read(path) is None and not path.exists()
    assert kernel_cache._read(path) is None  # a file that is not there is no damage
    assert capsys.readouterr().err.count("damaged files") == 1


def test_a_watcher_hears_how_many_kernels_are_compiled_and_how_many_may_be(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    assert run(source, cache, TOLD) == ("0 3 True\n0 3 True\n2 3 False", "")
    assert run(source, cache, TOLD) == ("", "")
    edited = write(tmp_path / "one", kernels=KERNELS.replace("* 2", "* 3"))
    assert run(edited, cache, TOLD) == ("0 2 True\n1 2 False", "")  # the inner kernel was found
    for file in cache.iterdir():
        file.write_bytes(b"")
    assert run(edited, cache, TOLD)[0] == "0 3 True\n0 3 True\n2 3 False"


def test_compiling_and_loading_count_as_the_start_of_the_process(tmp_path):
    script = "from ndpsim.wall import ACCOUNT\nfrom kernels import kernel\nACCOUNT.begin()\nkernel(3)\n"
    script += "parts = ACCOUNT.so_far()\nprint(parts.pop('start_and_compile') > 3 * sum(parts.values()))"
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    assert [run(source, cache, script) for _ in range(2)] == [("True", "")] * 2


COLLECTION = """
import gc
from ndpsim.kernels.compiling import watched
from kernels import kernel
with watched(lambda one: print(one.active, gc.isenabled())):
    kernel(3)
gc.disable()
kernel(3.5)
print(gc.isenabled())
"""


def test_the_garbage_collector_rests_while_kernels_are_compiled_and_is_then_as_it_was(tmp_path):
    told, _ = run(write(tmp_path / "one"), tmp_path / "cache", COLLECTION)
    assert told.splitlines() == ["True False", "True False", "False True", "False"]


def test_a_whole_file_that_cannot_be_used_is_compiled_anew(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    run(source, cache)
    for file in cache.iterdir():
        content = pickle.dumps("not a kernel")
        file.write_bytes(hashlib.sha256(content).digest() + content)
    answer, said = run(source, cache)
    assert answer == "8 kernel inner" and said.count("damaged files") == 1
    assert run(source, cache) == ("8", "")


def test_without_the_compiler_a_kernel_is_its_function(tmp_path):
    assert run(write(tmp_path / "one"), tmp_path / "cache", NUMBA_DISABLE_JIT="1") == ("8", "")
    assert not (tmp_path / "cache").exists()


def test_a_process_that_compiles_removes_what_is_old(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    cache.mkdir()
    (cache / "old.kernel").write_bytes(b"")
    os.utime(cache / "old.kernel", (1, 1))
    run(source, cache)
    assert sorted(path.name.partition("-")[0] for path in cache.iterdir()) == ["kernels.inner", "kernels.kernel"]


def test_what_was_not_used_for_long_goes(tmp_path, monkeypatch):
    day = 24 * 3600
    for name, days in (("new", 0), ("used", 29), ("old", 31), ("other", 20)):
        path = tmp_path / f"{name}.kernel"
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - days * day,) * 2)
    (tmp_path / "mine.txt").write_text("")
    kernel_cache._remove_unused.__wrapped__(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "used", "other", "mine"}
    monkeypatch.setattr(kernel_cache, "LIMIT", 200)
    kernel_cache._remove_unused.__wrapped__(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "other", "mine"}


def test_a_kernel_that_is_used_is_marked_as_used_once_a_day(tmp_path):
    source, cache = write(tmp_path / "one"), tmp_path / "cache"
    run(source, cache)
    for file in cache.iterdir():
        os.utime(file, (time.time() - 2 * 24 * 3600,) * 2)
    run(source, cache)
    used = [file.name for file in cache.iterdir() if time.time() - file.stat().st_mtime < 3600]
    assert len(used) == 1 and used[0].startswith("kernels.kernel-")


def test_numbas_variable_names_the_folder(monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "/there")
    assert str(kernel_folder()) == "/there"
