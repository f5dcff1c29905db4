"""Systems by name, and systems in files of the user's: what is wrong with one is a sentence."""

import pytest
from system_files import PLAIN, written

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.systems.catalog import SYSTEMS, load_system

TWO = PLAIN + '\nclass Other(Plain):\n    name = "other"\n'


def setup(system, **more):
    return Setup.of(str(system), model="relu-lm", prompt=16, output=3, **more)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_that_ships_has_its_name_and_a_policy_that_is_read(name):
    assert load_system(name).name == name
    assert setup(name).system == name


def test_a_file_with_one_system_is_enough(tmp_path):
    run = Run(setup(written(tmp_path, PLAIN)))
    run.advance()
    assert (run.prompt_ps, run.token_ps, run.now_ps) == (1000, [10, 11], 1021)
    figures = figures_of(run)
    assert figures["system"] == "plain" and figures["busy_s"] == {"gpu": {"all": pytest.approx(21e-12)}}
    assert figures["energy_j"] == pytest.approx(21e-12 * 450)


def test_of_two_systems_in_a_file_one_is_named(tmp_path):
    path = written(tmp_path, TWO)
    assert load_system(f"{path}:Other").name == "other"
    with pytest.raises(InputError, match=r"mine.py: expected one class .*, found Plain, Other"):
        load_system(str(path))
    with pytest.raises(InputError, match=r"mine.py: Third: expected one of Plain, Other, found no such"):
        load_system(f"{path}:Third")


def test_a_system_that_is_imported_does_not_count(tmp_path):
    path = written(tmp_path, "from ndpsim.systems.cards.gpu_only import GpuOnly\n" + PLAIN)
    assert load_system(str(path)).name == "plain"


def test_a_policy_of_a_file_has_defaults_and_can_be_set(tmp_path):
    policy = "from ndpsim.tables import Table\nclass P(Table):\n    step: int = 5\n"
    text = PLAIN.replace("class Plain", f"{policy}class Plain")
    text = text.replace('name = "plain"', 'name = "plain"\n    Policy = P').replace("10 + number", "self.policy.step")
    path = written(tmp_path, text)
    for changes, step in (({}, 5), ({"policy.step": 7}, 7)):
        run = Run(setup(path, changes=changes))
        run.advance(2)
        assert run.token_ps == [step]


def test_a_system_derived_from_one_that_ships_has_its_policy(tmp_path):
    text = "from ndpsim.systems.hermes.hermes import Hermes\nclass Mine(Hermes):\n    name = 'mine'\n"
    made = setup(written(tmp_path, text), changes={"policy.window": 3})
    assert made.policy["window"]["value"] == 3 and made.policy["hot_above"]["value"] == 10


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x = 3", "expected one class of ndpsim.systems.system.System, found none"),
        ("def broken(:\n    pass", "line 1: expected Python, found: invalid syntax"),
        ("x = 3\ny = 1 / 0", "line 2: expected no exception, found ZeroDivisionError: division by zero"),
        ("import absent_module_x", "line 1: expected no exception, found ModuleNotFoundError"),
        (PLAIN.replace("def forward", "def forwards"), "Plain: expected the methods forward, found none"),
        (PLAIN.replace('name = "plain"', "pass"), "Plain: expected a text as its attribute name, found none"),
    ],
)
def test_a_file_that_is_no_system_is_refused_in_a_sentence(tmp_path, text, wanted):
    with pytest.raises(InputError) as caught:
        load_system(str(written(tmp_path, text)))
    assert str(caught.value).startswith(str(tmp_path / "mine.py")) and wanted in str(caught.value)


def test_a_relative_path_does_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "x = 3\ny = 1 / 0")
    with pytest.raises(InputError, match=r"^mine.py: line 2: expected no exception, found ZeroDivisionError"):
        load_system("mine.py")
    written(tmp_path, PLAIN)
    made = setup("mine.py")
    assert made.system == f"{tmp_path}/mine.py:Plain"
    Run(made).advance()


def test_a_fault_in_a_file_that_it_imports_names_that_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path, "def broken(:", "helper_of_mine.py")
    with pytest.raises(InputError, match=r"helper_of_mine.py: line 1: expected Python, found: invalid syntax"):
        load_system(str(written(tmp_path, "import helper_of_mine")))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("none", "system 'none': expected one of hermes, hermes-base, "),
        ("absent.py", "absent.py: expected a Python file with a system, found no such file"),
        ("absent.py:Mine", "absent.py: expected a Python file with a system, found no such file"),
    ],
)
def test_a_system_that_is_not_there_is_refused(name, wanted):
    with pytest.raises(InputError, match=wanted):
        load_system(name)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("return now + 1000", "return [][1]", "mine.py: line 10: expected no exception, found IndexError"),
        ("return now + 10 + number", "return now / 0", "mine.py: line 14: expected no exception, found ZeroDiv"),
        ("return now + 10 + number", "return now - 1", "plain: expected an end in picoseconds, not before 1000, fou"),
        ("return now + 10 + number", "return None", "system plain: expected an end in picoseconds, .* found None"),
        ("return now + 1000", "return 1.5", "system plain: expected an end in picoseconds, not before 0, found 1.5"),
    ],
)
def test_what_a_system_does_wrong_is_told_with_its_line(tmp_path, old, new, wanted):
    run = Run(setup(written(tmp_path, PLAIN.replace(old, new))))
    with pytest.raises(InputError, match=wanted):
        run.advance()


def test_a_bug_in_a_system_that_ships_stays_an_exception(monkeypatch):
    run = Run(setup("gpu-only"))
    monkeypatch.setattr(run.system, "forward", lambda step, now: now / 0)
    with pytest.raises(ZeroDivisionError):
        run.advance()
