"""Every command of the README's tour works in a fresh folder, in the order in which it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(name):
    return re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_stand_alone_in_their_blocks():
    for name in ("main-job", "tests"):
        (block,) = blocks(name)
        assert block.count("\n") == 1


def test_every_shell_block_of_the_readme_is_run_here_or_by_ci():
    assert README.count("```sh") == len(blocks("tour")) + 2


def test_the_policy_in_the_readme_is_the_one_in_examples():
    policy = (ROOT / "examples" / "kv_in_dimms.py").read_text(encoding="utf-8")
    assert f"```python\n{policy}```" in README and policy.count("\n") <= 40


@pytest.mark.slow
def test_the_tour_works_from_beginning_to_end(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ndpsim"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ndpsim "$@"\n')
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    work = tmp_path / "work"
    work.mkdir()
    (work / "examples").symlink_to(ROOT / "examples")
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-euxo", "pipefail", "-c", "\n".join(blocks("tour"))],
        cwd=work,
        env=environment(PATH=path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all legal" in done.stdout and "tRCD" in done.stdout
    assert (work / "same.ndp").read_bytes() == (work / "layer.ndp").read_bytes()
    rates = [float(rate) for rate in re.findall(r"bandwidth reached\s+([\d.]+) GB/s, while", done.stdout)]
    row, interleaved = rates[-2:]
    assert 1.9 < interleaved / row < 2.1
