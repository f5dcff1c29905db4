"""The results of some twenty commands are those on record; `python tools/net.py --write` records them anew."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "net.py"


def tool():
    spec = importlib.util.spec_from_file_location("net", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_difference_is_named_by_its_path():
    before, after = {"a": [1, {"b": 2.0}], "c": 3}, {"a": [1, {"b": 2.5}], "d": 4}
    assert list(tool().differences("case", before, after)) == [
        "case: a[1]: b: 2.0 -> 2.5",
        "case: c: 3 -> None",
        "case: d: None -> 4",
    ]


def test_wall_times_are_no_results_wherever_they_stand():
    assert tool().without({"x": [{"wall_s": 1.0, "y": 2}], "slowdown": 3}) == {"x": [{"y": 2}]}


@pytest.mark.slow
def test_the_results_are_those_on_record(monkeypatch, capsys):
    net = tool()
    monkeypatch.setattr("sys.argv", [str(TOOL)])
    with pytest.raises(SystemExit) as end:
        net.main()
    assert end.value.code == 0, capsys.readouterr().out
