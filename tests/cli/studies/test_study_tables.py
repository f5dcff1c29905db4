"""The tables of studies: each cell of results made by hand, with what its head says of it."""

from types import SimpleNamespace

import pytest

from ndpsim.cli.studies import reproduce, sensitivity, study
from ndpsim.dram.standard.standard import load_standard
from ndpsim.studies.dram_reference import Comparison, Figure
from ndpsim.studies.dram_reference import ReferenceRun as ToolRun
from ndpsim.studies.hermes import Reproduction
from ndpsim.studies.hermes_comparison import OURS, SPEEDUPS, Alternative, ComparedPoint
from ndpsim.studies.loaded_latency import Curve
from ndpsim.studies.loaded_latency import LoadPoint as Load
from ndpsim.studies.saturation import Saturation, SaturationComparison
from ndpsim.studies.sensitivity import Effect, Sensitivity

DDR4 = load_standard("DDR4-3200AA")


@pytest.fixture
def tables(monkeypatch):
    """All tables that are printed: title, heads and rows."""
    found = []

    def record(title, heads, rows, left=()):
        found.append((title, heads, [list(row) for row in rows]))

    for module in (reproduce, sensitivity, study):
        monkeypatch.setattr(module, "print_columns", record)
    return found


def test_loaded_latency_is_told_in_percent_gigabytes_and_nanoseconds(tables):
    points = (Load(0.1, 2.56, 2.5, 61.5, 149.6, False), Load(0.95, 24.32, 18.257, 4000.0, 9000.0, True))
    study._print_curve(Curve(DDR4, "reads", 25.6, points))
    assert tables == [(
        "DDR4-3200AA, 1 channel(s), 1 rank(s), reads; the peak is 25.60 GB/s",
        "load|offered GB/s|delivered|mean ns|p99 ns",
        [["10.0 %", "2.56", "2.50", "62", "150"], ["95.0 %", "24.32", "18.26", "saturated", ""]],
    )]  # fmt: skip


def test_another_simulators_figures_stand_beside_ours(tables, capsys):
    ours = SimpleNamespace(
        cycles=1_020_000, read_latency=SimpleNamespace(mean=55.26), row_hits=3, bursts=4, standard=DDR4
    )
    figures = [Figure(cycles=1_000_000, latency=50.0), Figure(cycles=1_015_000), Figure(latency=55.0)]
    of_tool = ToolRun(tool="a tool", standard="DDR4-3200AA", ranks=2, timing={}, tck_ps=625, figures={})
    study._print_comparisons(
        [Comparison(of_tool, f"trace {n}", one, 10, ours, "a reason") for n, one in enumerate(figures)]
    )
    first = "DDR4-3200AA, 2 rank(s)"
    assert tables == [(
        "a tool: total Mcycles and mean read latency in clocks",
        "|trace|theirs|ours|ratio|latency|ours|",
        [
            [first, "trace 0", "1.000", "1.020", "1.020", "50.0", "55.3", "not as stated"],
            [first, "trace 1", "1.015", "1.020", "1.005", "-", "55.3", ""],
            [first, "trace 2", "-", "1.020", "-", "55.0", "55.3", ""],
        ],
    )]  # fmt: skip
    assert capsys.readouterr().out == "  trace 0, trace 1, trace 2: a reason.\n\n"


def test_saturation_is_told_in_nanoseconds_and_gigabytes(tables, capsys):
    published = Saturation(
        tool="a tool", standard="DDR4-3200AA", ranks=2, channels=1, writes=0.25, controller={}, unloaded_ns=40.0,
        gb_per_s=20.0, unloaded_ratio=(0.9, 1.1), ratio=(1.0, 1.25), why="it is so",
    )  # fmt: skip
    study._print_saturation([SaturationComparison(published, 42.04, 24.0), SaturationComparison(published, 30.0, 24.0)])
    assert tables[0][1:] == (
        "|theirs ns|ours|theirs GB/s|ours|ratio|",
        [
            ["a tool, DDR4-3200AA, 2 rank(s)", "40.0", "42.0", "20.0", "24.0", "1.200", ""],
            ["a tool, DDR4-3200AA, 2 rank(s)", "40.0", "30.0", "20.0", "24.0", "1.200", "not as stated"],
        ],
    )
    assert capsys.readouterr().out == "  2 rank(s): it is so.\n" * 2 + "\n"


def test_an_effect_is_tokens_per_second_and_their_ratio(tables, capsys):
    definition = Sensitivity.model_validate({
        "system": "hermes", "models": ["m", "n"], "batches": [1], "tokens": 2, "prompt": 8, "output": 4,
        "sweeps": [{"name": "dimms", "about": "how many", "points": {"4": {"dimm.count": 4}, "8": {}}}],
    })  # fmt: skip
    effects = [
        Effect("dimms", "4", "m", 1, 12.345, 0.5), Effect("dimms", "8", "m", 1, 24.69, 1.0),
        Effect("dimms", "4", "n", 1, None, None, "no room"), Effect("dimms", "8", "n", 1, 3.0, 1.0),
    ]  # fmt: skip
    sensitivity._print(definition, effects)
    assert tables == [(
        "dimms: how many", "|m, batch 1|n, batch 1",
        [["4", "12.35 (0.50)", "cannot be run"], ["8", "24.69 (1.00)", "3.00 (1.00)"]],
    )]  # fmt: skip
    out = capsys.readouterr().out
    assert "the first 2 of 4 output tokens" in out and "  4, n: no room\n" in out


def test_a_reproduction_is_told_by_group_with_the_error_of_each_value(tables, capsys):
    points = (
        ComparedPoint(OURS, "hermes, m", "Fig. 1", "figure", "tokens/s", 100.0, 80.0, note="a note"),
        ComparedPoint(OURS, "hermes, n", "Fig. 1", "figure", "tokens/s", 10.0, 13.0),
        ComparedPoint(SPEEDUPS, "over base", "V", "statement", "times", 4.6, 4.125, printed=4.5),
        ComparedPoint(SPEEDUPS, "share", "V", "statement", "share", 0.2, 0.305, "below"),
        ComparedPoint(SPEEDUPS, "bound", "V", "statement", "share", 0.2, 0.305, "above"),
    )
    readings = (Alternative(">=", "a rule", "hermes", "m", 2, 400.0, 300.0, 500.0),)
    reproduce._print(Reproduction("the paper", 4, 3, points, readings, ()), 128)
    assert tables == [
        (OURS, "|where|published|simulated|error", [
            ["hermes, m", "Fig. 1", "100.00", "80.00", "-20.0%"],
            ["hermes, n", "Fig. 1", "10.00", "13.00", "+30.0%"],
        ]),
        (SPEEDUPS, "|where|published|simulated|error|from its bars", [
            ["over base", "V", "4.60", "4.12", "-10.3%", "4.50"],
            ["share", "V", "under 20.00%", "30.50%", "+52.5%", ""],
            ["bound", "V", "over 20.00%", "30.50%", "+0.0%", ""],
        ]),
        ("Other readings of the paper: tokens/s", "|of|published|as it ships|error|read so|error", [
            [">=", "hermes, m, batch 2", "400.00", "300.00", "-25.0%", "500.00", "+25.0%"],
        ]),
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "mean absolute error 25.0%, greatest 30.0%\n  hermes, m: a note\n" in out
    assert "mean absolute error 20.9%, greatest 52.5%\n" in out  # 10.3, 52.5 and 0
    assert out.startswith("the paper\n") and "the first 4 of 128 output tokens (3 in the ablation)" in out
