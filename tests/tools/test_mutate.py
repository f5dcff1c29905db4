"""The mutation tool: on a package of one function, with a test that notices some faults and not others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="needs ndpsim[mutate]")
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import mutate
from mutate_mutants import Mutant, mutants_of
from mutate_run import dependents

CODE = '''"""A module."""
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LIMIT = 3


@cache
def weight(size: "int | float", factor: "int | None" = 2) -> "int | float":
    """Return size times factor, none below zero."""
    if size < 0:
        return 0
    return size * factor
'''


@pytest.fixture
def package(tmp_path):
    """A checkout with the package `ndpsim` of three modules, and a test of one of them."""
    (tmp_path / "ndpsim").mkdir()
    (tmp_path / "ndpsim" / "__init__.py").write_text("")
    (tmp_path / "ndpsim" / "scale.py").write_text(CODE)
    (tmp_path / "ndpsim" / "user.py").write_text("from ndpsim.scale import weight\n")
    (tmp_path / "ndpsim" / "other.py").write_text("import math\n")
    (tmp_path / "test_scale.py").write_text(
        "from ndpsim.scale import weight\n\n\ndef test_it():\n    assert weight(3) == 6 and weight(-1) == 0\n"
    )
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def test_mutants_are_those_of_what_a_run_reads(package):
    names = [mutant.name for mutant in mutants_of(package, "ndpsim/scale.py")]
    assert len(names) == len(set(names))
    assert "ndpsim/scale.py | weight | return size * factor -> return size / factor" in names
    assert "ndpsim/scale.py | weight | if size < 0: -> if size <= 0:" in names
    assert not any("|" in name.split(" | ")[2].partition("->")[0].replace('"int | ', "") for name in names)
    assert not any("LIMIT" in name or "@cache" in name for name in names)


def test_a_module_is_left_out_with_all_that_import_it(package):
    (package / "ndpsim" / "third.py").write_text("def late():\n    from ndpsim import user\n    return user\n")
    assert dependents(package, "ndpsim.scale") == {"ndpsim.scale", "ndpsim.user", "ndpsim.third"}


PROBE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mutate_mutants import mutants_of
from mutate_run import Bench, copied
root, folder = Path(sys.argv[2]), Path(sys.argv[3])
mutants = mutants_of(root, "ndpsim/scale.py")
bench = Bench(copied(root, folder), "ndpsim/scale.py", ["test_scale.py"])
bench.limit_s = 20
for mutant in mutants:
    print(bench.outcome(mutant.source(bench.text)), mutant.before, "->", mutant.after)
print("kept", (folder / "ndpsim" / "scale.py").read_text() == (root / "ndpsim" / "scale.py").read_text())
"""


@pytest.mark.slow
def test_each_mutant_meets_the_tests_by_itself(package, tmp_path):
    tools = Path(mutate.__file__).parent
    copy = tmp_path / "copy"
    copy.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, tools, package, copy], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert "killed return size * factor -> return size / factor" in lines
    assert "survived if size < 0: -> if size <= 0:" in lines  # 0 times anything is 0
    assert "killed if size < 0: -> if size >= 0:" in lines
    assert lines[-1] == "kept True"


def mutant(after, module="ndpsim/scale.py"):
    return Mutant(module, "core/x", 0, 7, "weight", "return 1", after)


def test_a_report_counts_survivors_and_holds_explanations_against_the_run():
    outcomes = {mutant("return 2"): "killed", mutant("return 3"): "survived", mutant("return 4"): "timeout"}
    outcomes[mutant("return 5")] = "survived"
    begin = "ndpsim/scale.py | weight | return 1 -> "
    why = {f"{begin}return 3": "because", f"{begin}return 4": "because", f"{begin}return 9": "because"}
    lines, good = mutate.report(outcomes, why, ["ndpsim/scale.py"])
    assert not good and lines == [
        "ndpsim/scale.py: 2 of 4 noticed, 50.0%",
        "in all: 2 of 4 noticed, 50.0%",
        "survivors: 2, of which 1 are explained",
        f"  line 7: {begin}return 5",
        f"explained, but noticed by now: {begin}return 4",
        f"explained, but gone: {begin}return 9",
    ]
    lines, good = mutate.report({mutant("return 3"): "survived"}, why, [])
    assert good and lines[-1] == "survivors: 1, of which 1 are explained"


def test_a_line_that_explains_has_a_reason():
    name = "ndpsim/scale.py | weight | a -> b | c"
    assert mutate.explained(["# words", "", f"{name} | it is so"]) == {name: "it is so"}
    with pytest.raises(SystemExit, match=r"expected module \| definition \| change \| why"):
        mutate.explained(["ndpsim/scale.py | weight | a -> b"])


def test_every_module_that_is_guarded_has_tests_that_are_there():
    found = mutate.guards()
    assert len(found) > 30
    for module, tests in found.items():
        assert (mutate.ROOT / module).is_file()
        for test in tests:
            assert (mutate.ROOT / test).exists(), test


def test_that_a_mutant_survived_counts_as_long_as_its_tests_are_the_same(package, monkeypatch):
    tests = {"ndpsim/scale.py": ["test_scale.py"]}
    monkeypatch.setattr(mutate, "ROOT", package)
    monkeypatch.setattr(mutate, "RESULTS", package / "results.jsonl")
    assert mutate.known(tests) == {}
    guarded = mutate.digest_of(tests["ndpsim/scale.py"])
    lines = [
        {"key": "ndpsim/scale.py a x 0", "outcome": mutate.SURVIVED, "tests": guarded},
        {"key": "ndpsim/scale.py a x 1", "outcome": "killed", "tests": "others"},
        {"key": "ndpsim/scale.py a x 2", "outcome": mutate.SURVIVED},
    ]
    mutate.RESULTS.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert mutate.known(tests) == {"ndpsim/scale.py a x 0": mutate.SURVIVED, "ndpsim/scale.py a x 1": "killed"}
    (package / "test_scale.py").write_text("def test_more():\n    assert True\n")
    assert mutate.known(tests) == {"ndpsim/scale.py a x 1": "killed"}
    assert mutate.digest_of(["."]) == mutate.digest_of(["test_scale.py"])
