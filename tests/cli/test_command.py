"""No command writes over what it reads, takes an option twice, or loses figures because a file cannot be written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_support import refused, run
from processes import environment

from ndpsim.cli.command import Command, CommandGroup, OutputPath
from ndpsim.cli.main import COMMANDS, cli
from ndpsim.files import appearing

SMALL = ("run", "--model", "relu-lm", "--input", "16", "--output", "3", "--set", "gpu.weights_gb=0.002")


def commands(group, name=""):
    """All commands below a group, with their names."""
    context = click.Context(group)
    for own in group.list_commands(context):
        command = group.get_command(context, own)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {own}")
        else:
            yield f"{name} {own}".strip(), command


ALL = dict(commands(cli))


def test_every_command_is_of_the_kind_that_checks():
    assert len(ALL) >= len(COMMANDS)
    assert [name for name, command in ALL.items() if not isinstance(command, Command)] == []
    groups = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    assert all(isinstance(one, Command | CommandGroup) for one in groups)


def test_what_an_option_says_that_it_writes_is_an_output():
    wrong = []
    for name, command in ALL.items():
        for one in command.params:
            text = (getattr(one, "help", None) or "").lower()
            writes = any(
                word in text for word in ("to write", "write the", "write all", "for the timeline", "for plots")
            )
            if isinstance(one.type, click.Path) and writes != isinstance(one.type, OutputPath):
                wrong.append(f"{name} {one.opts[0]}")
    assert wrong == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.trace").write_text("R 0x1000\nW 0x2040\n")
    (folder / "my.toml").write_text((Path(__file__).parents[2] / "workloads/models/relu-lm/model.toml").read_text())
    (folder / "config.json").write_text("{}")
    compiles = ["compile", "--neurons", "64", "--width", "64", "--density", "1", "--dimms", "1", "-o", "p.ndp"]
    command = [sys.executable, "-m", "ndpsim", *compiles]
    subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("timeline p.ndp -o p.ndp", "-o: expected another file than RESULT, which is read, found p.ndp"),
        ("timeline p.ndp -o ./p.ndp", "-o: expected another file than RESULT, which is read"),
        ("timeline p.ndp -o link.ndp", "-o: expected another file than RESULT, which is read"),
        ("timeline p.ndp -o hard.ndp", "-o: expected another file than RESULT, which is read"),
        ("exec p.ndp --log p.ndp", "--log: expected another file than PROGRAM, which is read"),
        ("exec p.ndp --image a.trace --state a.trace", "--state: expected another file than --image, which is read"),
        ("exec p.ndp --image a.trace --state x.h5 --log x.h5", "--log: expected another file than that of --state"),
        ("run --model relu-lm -o new.h5 --timeline new.h5", "--timeline: expected another file than that of -o"),
        ("run --model my.toml -o my.toml", "-o: expected another file than --model, which is read"),
        ("run --model relu-lm --set dimm.name=my.toml -o my.toml", "-o: expected another file than --set, which"),
        ("dram a.trace --standard DDR4-3200AA --log a.trace", "--log: expected another file than TRACE, which is"),
        ("dram a.trace --standard my.toml:X --log my.toml", "--log: expected another file than --standard, which"),
        ("rerun p.ndp -o p.ndp", "-o: expected another file than RESULT, which is read"),
        ("model import config.json -o config.json", "-o: expected another file than CONFIG, which is read"),
        ("asm a.trace -o a.trace", "-o: expected another file than SOURCE, which is read"),
    ],
)
def test_an_output_that_is_an_input_or_another_output_is_refused(capsys, files, tmp_path, monkeypatch, command, wanted):
    for file in files.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "link.ndp").symlink_to("p.ndp")
    os.link(tmp_path / "p.ndp", tmp_path / "hard.ndp")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    assert wanted in refused(capsys, *command.split())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("run --model relu-lm --set dimm.count=4 --set dimm.count=16", "--set: expected dimm.count once, found it 2"),
        ("run --model relu-lm --set=dimm.count=4 --set dimm.count=16", "--set: expected dimm.count once, found it 2"),
        ("run --model relu-lm --seed 1 --seed 2", "--seed: expected it once, found it 2 times"),
        ("run --model relu-lm --model=llama2-7b", "--model: expected it once, found it 2 times"),
        ("run --model relu-lm --trace x.h5 --seed 3", "--trace: expected it or --seed, which are of a generated trace"),
        ("run --model relu-lm --trace x.h5 --preset paper --seed 3", "--trace: expected it or --preset and --seed, wh"),
        ("dram random:9 --standard DDR4-3200AA --set nRCD=30 --set nRCD=31", "--set: expected nRCD once, found it 2"),
        (
            "trace generate --model relu-lm -o x.h5 --set ffn.density=1 --set ffn.density=0.1",
            "expected ffn.density once",
        ),
    ],
)
def test_of_two_values_none_is_taken_without_a_word(capsys, command, wanted):
    assert wanted in refused(capsys, *command.split())


def test_a_complete_result_is_shown_and_its_own_options_are_no_contradiction(capsys, tmp_path):
    path = tmp_path / "run.h5"
    code, out, _ = run(capsys, *SMALL, "-o", path, "--json")
    first, before = json.loads(out), path.read_bytes()
    for arguments in ((), SMALL[1:], (*SMALL[1:], "-o", path)):
        code, out, err = run(capsys, "run", "--resume", path, *arguments, "--json")
        again = json.loads(out)
        assert (code, err) == (0, "")
        assert again == {name: value for name, value in first.items() if name in again} and "tokens_per_s" in again
    assert "tokens/s" in run(capsys, "run", "--resume", path)[1] and path.read_bytes() == before
    assert run(capsys, "run", "--resume", path, "-o", tmp_path / "copy.h5")[0] == 0
    assert (tmp_path / "copy.h5").read_bytes() == before


def test_other_options_than_those_of_the_result_are_refused_by_name(capsys, tmp_path):
    path = tmp_path / "run.h5"
    assert run(capsys, *SMALL, "-o", path)[0] == 0
    says = refused(capsys, "run", "--resume", path, *SMALL[1:], "--batch", "2", "--seed", "4")
    assert "the options of the run in" in says and says.endswith("found others: batch, seed\n")
    assert "--model: expected a model" in refused(capsys, "run", "--resume", path, "--batch", "2")


LIMITED = """
import resource, sys
from ndpsim.cli.main import main
import h5py, numba, ndpsim.runs.run, ndpsim.report.run_file, ndpsim.dram.host.controller
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are set the POSIX way")
@pytest.mark.parametrize(
    "command",
    [
        (*SMALL, "-o", "out.h5"),
        (*SMALL, "--timeline", "out.json"),
        ("dram", "random:20000", "--standard", "DDR4-3200AA", "--log", "out.h5"),
        ("exec", "p.ndp", "--log", "out.h5"),
        ("generate", "A", "--tokens", "3", "--log", "out.h5"),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_figures_are_told(files, tmp_path, command):
    """The limit of a process on the size of its files stands for the disk."""
    shutil.copy(files / "p.ndp", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *command, "--json"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert json.loads(done.stdout)
    assert f"{command[-1]}: expected a place that can be written, found: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.ndp"]


def test_a_place_is_left_as_it_was_when_writing_fails(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("before")
    with pytest.raises(ZeroDivisionError), appearing(place) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert place.read_text() == "before" and list(tmp_path.iterdir()) == [place]
