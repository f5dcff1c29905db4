"""Whoever waits for kernels to be compiled is told so: on a terminal in the bar at hand, in a pipe by one line."""

import json
import re
import subprocess
import sys

import pytest
from processes import environment

from ndpsim.cli.compile_notice import compile_notice
from ndpsim.cli.show import progress
from ndpsim.kernels.compiling import Compilation, tell

FIRST, LATER, END = Compilation(0, 40, True), Compilation(12, 40, True), Compilation(38, 40, False)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def compile_twice():
    for one in (FIRST, LATER, END, LATER, END):
        tell(one)


def test_a_pipe_gets_one_line(capsys, pipe):
    with compile_notice():
        with progress("tokens", 10):
            compile_twice()
        compile_twice()
    assert capsys.readouterr() == ("", "ndpsim: compiling kernels, once (at most 40)\n")


def test_nothing_compiled_is_nothing_said(capsys, pipe):
    with compile_notice(), progress("tokens", 10):
        pass
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("told", "text"), [([LATER], "compiling kernels, once: 12 of at most 40"), ([LATER, END], "tokens")]
)
def test_the_bar_of_a_terminal_says_so_while_it_lasts(capsys, terminal, told, text):
    with compile_notice(), progress("tokens", 10):
        capsys.readouterr()
        for one in told:
            tell(one)
    assert text in capsys.readouterr().err  # what the bar showed when it ended


def test_a_bar_that_waits_is_shown_for_it(capsys, terminal):
    with compile_notice(), progress("requests", 10, delay_s=60.0):
        tell(LATER)
    assert "compiling kernels, once: 12 of at most 40" in capsys.readouterr().err


def test_a_terminal_without_a_bar_gets_one(capsys, terminal):
    with compile_notice():
        tell(LATER)
        tell(END)
    out, err = capsys.readouterr()
    assert out == "" and "compiling kernels, once: 12 of at most 40" in err


def test_a_command_in_a_pipe_says_so_once_and_never_again(tmp_path):
    (tmp_path / "kernels.csv").write_text("op,dtype,m,n,k\ngemm,fp16,16,4096,4096\n")
    command = [sys.executable, "-m", "ndpsim", "gpu", "predict", "kernels.csv", "--card", "rtx4090", "--json"]
    env = environment(NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    said = []
    for _ in range(2):
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)
        said.append(done.stderr)
    assert re.fullmatch(r"ndpsim: compiling kernels, once \(at most \d+\)\n", said[0]) and said[1] == ""


def test_nobody_is_told_outside():
    compile_twice()
