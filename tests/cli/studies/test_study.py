"""`ndpsim study` as a user meets it."""

import json
import sys
import xml.etree.ElementTree as ET

import pytest
from cli_support import refused, run

from ndpsim.cli.studies import study
from ndpsim.studies import dram_reference

SMALL = ("--standard", "DDR4-3200AA", "--requests", 2000)


def test_loaded_latency_prints_a_table_for_each_mix(capsys):
    code, out, err = run(capsys, "study", "loaded-latency", *SMALL)
    assert (code, err) == (0, "")
    assert "DDR4-3200AA, 1 channel(s), 1 rank(s), reads; the peak is 25.60 GB/s" in out
    assert "2 reads to 1 write" in out and "saturated" in out
    assert sum(line.startswith("5.0 %") for line in out.splitlines()) == 2


def test_loaded_latency_as_json(capsys):
    code, out, err = run(capsys, "study", "loaded-latency", *SMALL, "--ranks", 2, "--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    record = json.loads(out)
    assert record["requests"] == 2000
    reads, mixed = record["curves"]
    assert reads["standard"] == "DDR4-3200AA" and reads["ranks"] == 2 and mixed["mix"] == "2 reads to 1 write"
    assert len(reads["points"]) == 19
    assert set(reads["points"][0]) == {
        "load", "offered_gb_per_s", "delivered_gb_per_s", "mean_ns", "p99_ns", "saturated"
    }  # fmt: skip
    assert reads["points"][0]["offered_gb_per_s"] == pytest.approx(0.05 * 25.6)


def test_several_standards(capsys):
    arguments = ("--standard", "DDR4-2400R", "--standard", "DDR4-3200AA", "--requests", 500, "--json")
    _, out, _ = run(capsys, "study", "loaded-latency", *arguments)
    assert [curve["standard"] for curve in json.loads(out)["curves"]] == ["DDR4-2400R"] * 2 + ["DDR4-3200AA"] * 2


def test_the_plot_is_an_svg_with_all_curves_and_the_same_each_time(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        code, _, err = run(capsys, "study", "loaded-latency", *SMALL, "-o", tmp_path / name)
        assert (code, err) == (0, "")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    for words in ("reads, mean", "reads, p99", "2 reads to 1 write, p99", "DDR4-3200AA, ranks: 1", "read latency, ns"):
        assert words in text, words


def test_without_matplotlib_the_plot_is_refused_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    err = refused(capsys, "study", "loaded-latency", *SMALL, "-o", tmp_path / "a.svg")
    assert "expected matplotlib (pip install 'ndpsim[plot]'), found none" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--standard", "DDR9"), "standard: expected one of"),
        (("--requests", 0), "--requests: expected 1 to 10000000, found 0"),
        (("--ranks", 3), "ranks: expected a power of two, found 3"),
        (("-o", "x.png"), "x.png: expected a name that ends in .svg"),
        (("-o", "/nowhere/x.svg"), "/nowhere/x.svg: expected a place that can be written"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, arguments, says):
    assert says in refused(capsys, "study", "loaded-latency", *arguments)


@pytest.fixture
def small_reference(monkeypatch):
    """The shipped figures, of one run alone and of one trace; the function changes its band."""
    whole = dram_reference.reference()
    run = next(run for run in whole.run if run.tool == "Ramulator 2.1")

    def shrink(**changes):
        figure = run.figures["row-hit"].model_copy(update=changes)
        small = run.model_copy(update={"figures": {"row-hit": figure}})
        update = {"run": [small], "saturation": []}
        monkeypatch.setattr(dram_reference, "reference", lambda: whole.model_copy(update=update))

    return shrink


def test_the_comparison_shows_both_figures_and_their_ratio(capsys, small_reference):
    small_reference()
    code, out, err = run(capsys, "study", "dram-reference")
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if "row-hit" in line)
    assert {"4.234", "4.212", "0.995", "162.0", "159.8"} <= set(row.split())
    assert "Ramulator 2.1: total Mcycles" in out and "be93be7" in out


def test_the_comparison_as_json(capsys, small_reference):
    small_reference()
    code, out, _ = run(capsys, "study", "dram-reference", "--json")
    (one,) = json.loads(out)["comparisons"]
    assert code == 0 and one["as_stated"] is True and one["their_cycles"] == 4_234_000
    assert one["ratio"] == pytest.approx(one["our_cycles"] / 4_234_000)


def test_a_ratio_that_has_drifted_is_exit_code_1(capsys, small_reference):
    small_reference(ratio=(0.5, 0.6), why="modes")
    code, out, _ = run(capsys, "study", "dram-reference")
    assert code == 1 and "not as stated" in out


def test_studies_have_help(capsys):
    code, out, _ = run(capsys, "study", "--help")
    assert code == 0 and all(name in out for name in study.study_command.commands)
    assert study.study_command.commands.keys() == {"loaded-latency", "dram-reference", "serving", "hermes"}
