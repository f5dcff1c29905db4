"""Pages, docstrings and comments name what is there: modules, files, what is in them, and where a step is called."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ndpsim"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
DATA = ("ndpsim.isa.data", "ndpsim.workloads_data")
"""Packages that are folders elsewhere in a checkout."""
ROW = re.compile(r"^\| *(\w+) *\|[^|]*\| `([^`]+)` \|(.*)\|$", re.MULTILINE)


def rows(page):
    """What a table says: number, file, and the names that are to be in it."""
    return [(number, file, re.findall(r"`([^`]+)`", names)) for number, file, names in ROW.findall(PAGES[page])]


def read(file):
    return (ROOT / file).read_text(encoding="utf-8")


def defined(file):
    """Functions, classes and methods of a Python file, and its constants."""
    found = set()

    def add(nodes, owner):
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(owner + node.name)
                add(node.body, f"{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(owner + target.id for target in targets if isinstance(target, ast.Name))

    add(ast.parse(read(file)).body, "")
    return found


def used(name, text):
    """Whether a text has a function's name elsewhere than in its definition."""
    return re.search(rf"(?<!def )(?<!class )\b{name.split('.')[-1]}\b", text) is not None


def texts():
    """What people read of the project and what it is made of: file and text."""
    folders = ("ndpsim", "docs", "isa", "workloads/hardware", "workloads/systems", "tools", "examples")
    files = [file for folder in folders for end in ("py", "md", "toml") for file in (ROOT / folder).rglob(f"*.{end}")]
    return {file.relative_to(ROOT): read(file) for file in [*files, ROOT / "README.md", ROOT / "setup.cfg"]}


def is_module(dotted):
    """Whether a dotted name is a module or a package, or begins with a module that has the rest."""
    parts = dotted.split(".")
    for k in range(1, len(parts) + 1):
        module = ROOT.joinpath(*parts[:k]).with_suffix(".py")
        if module.is_file():
            return k == len(parts) or parts[k] in read(module)
    return ROOT.joinpath(*parts).is_dir() or dotted in DATA


def test_every_module_and_file_that_a_text_names_is_there():
    strange = []
    for file, text in texts().items():
        names = re.findall(r"\bndpsim(?:\.[a-zA-Z]\w*)+", text)
        strange += [f"{file}: {name}" for name in names if not is_module(name)]
        paths = re.findall(r"(?<![\w./<-])(?:ndpsim|tests|tools|isa|examples)/[\w./-]+\.(?:py|md|toml)\b", text)
        strange += [f"{file}: {path}" for path in paths if not any((top / path).is_file() for top in (ROOT, PACKAGE))]
    assert not strange


@pytest.mark.parametrize("page", PAGES)
def test_every_file_on_a_page_is_there(page):
    text = PAGES[page]
    paths = [path for path in re.findall(r"`([\w./-]+)`", text) if "/" in path]
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert paths or links
    gone = [path for path in paths if not (ROOT / path).exists()]
    gone += [link for link in links if not (ROOT / "docs" / link).exists()]
    assert not gone


@pytest.mark.parametrize("page", ["ONE_NEURON.md", "WHERE.md"])
def test_every_file_of_a_table_has_what_the_table_names(page):
    lacking = []
    for _, file, names in rows(page):
        assert names
        there = defined(file) if file.endswith(".py") else set(re.findall(r"\w+", read(file)))
        lacking += [f"{file}: {name}" for name in names if name not in there]
    assert not lacking


def test_each_step_of_a_neuron_is_called_from_a_file_of_a_step_before():
    steps, known, strange = rows("ONE_NEURON.md"), "", []
    assert [number for number, _, _ in steps] == [str(k + 1) for k in range(len(steps))]
    for number, file, names in steps:
        own = {name for name in names if not used(name, known)}
        if known and (own == set(names) or not all(used(name, read(file)) for name in own)):
            strange.append(number)
        known += read(file)
    assert not strange


def test_twelve_questions_have_one_file_each():
    assert [letter for letter, _, _ in rows("WHERE.md")] == list("abcdefghijkl")


def test_the_readme_names_every_page():
    readme = read("README.md")
    assert all(f"(docs/{page})" in readme for page in PAGES)


def test_the_words_of_results_are_explained():
    """What systems count, by the name that the table prints, and what a newcomer asked about."""
    counted = set()
    for file in (PACKAGE / "systems").rglob("*.py"):
        counted.update(re.findall(r"""meter\.count\(\s*"([^"]+)\"""", file.read_text(encoding="utf-8")))
    explained = PAGES["GLOSSARY.md"]
    assert "hot neurons that wait" in counted
    asked = {"swap", "remap", "busiest over mean", "train", "time to first token", "time per output token", "burst"}
    assert [word for word in counted | asked if word not in explained] == []


def test_a_class_name_stands_once_in_the_package():
    names = [
        node.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []
