"""The data folders are found in all ways of having ndpsim: a wheel, an editable installation, a bare checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COUNT = (ROOT / "isa" / "ndp.toml").read_text(encoding="utf-8").count("[[instruction]]\n")
PROBE = f"""
import pathlib, ndpsim
from ndpsim.compiler.tokens import random_token
from ndpsim.data import isa_dir, workloads_dir
from ndpsim.dimm.config import load_machine
from ndpsim.isa.spec import isa
from ndpsim.llm.catalog import load_model
assert len(isa().instructions) == {COUNT} and load_machine().dimms == 4 and load_model("relu-lm").card.layers == 4
assert (isa_dir() / "MANUAL.md").is_file() and any((isa_dir() / "conformance").iterdir())
print(pathlib.Path(ndpsim.__file__).parent)
"""


def copy_of_the_repository(folder):
    """A copy without what builds leave behind."""
    target = folder / "copy"
    ignore = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, target, ignore=ignore)
    return target


def probe(python, cwd, **environment):
    done = subprocess.run(
        [python, "-c", PROBE], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_a_bare_checkout_works(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    assert probe(sys.executable, tmp_path, PYTHONPATH=str(copy)) == copy / "ndpsim"


@pytest.mark.slow
def test_a_wheel_holds_all_data_and_no_other_top_level_package(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "wheel", copy], check=True
    )
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ndpsim"}
    assert "ndpsim/py.typed" in names
    for folder, inside in (("isa", "ndpsim/isa/data"), ("workloads", "ndpsim/workloads_data")):
        data = {f"{inside}/{p.relative_to(copy / folder)}" for p in (copy / folder).rglob("*") if p.is_file()}
        assert data <= set(names)
    assert probe(sys.executable, tmp_path, PYTHONPATH=str(tmp_path / "site")) == tmp_path / "site" / "ndpsim"


@pytest.mark.slow
def test_an_editable_installation_works(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-e", copy], check=True)
    assert probe(python, tmp_path, PYTHONPATH="") == copy / "ndpsim"


def test_the_lowest_versions_are_those_of_setup_cfg():
    tool = [sys.executable, str(ROOT / "tools" / "lowest_versions.py"), "test"]
    found = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.split()
    names = {one.partition("==")[0] for one in found}
    assert {"numpy", "numba", "click", "h5py", "pytest", "hypothesis"} <= names
    assert "h5py==3.11.*" in found and all("==" in one for one in found)
