"""The table at the end of a run: each row with value and unit, of a record made by hand; and that a run prints it."""

import json

import pytest
from cli_support import run
from hand_made_run import hand_made_run, machine

from ndpsim.cli import show
from ndpsim.cli.runs import run_table
from ndpsim.report.figures import figures_of

WALL = {
    "wall_s": 4.0,
    "slowdown": 1234567.0,
    "wall_by_part_s": {"start_and_compile": 1.0, "timing_kernels": 2.5, "trace": 0.0, "writing": 0.5},
}


@pytest.fixture
def printed(monkeypatch):
    """A function that returns the title and the rows which a record makes."""
    found = []
    monkeypatch.setattr(run_table, "print_table", lambda title, rows: found.append((title, list(rows))))

    def table(record):
        run_table.print_run(record)
        return found.pop()

    return table


def test_each_row_has_its_value_and_its_unit(printed):
    extra = {"predictor": {"accuracy": 0.875, "recall": 0.5}, "resident_bytes": 2_500_000}
    record = figures_of(hand_made_run(figures=extra)) | WALL
    title, rows = printed(record)
    assert title == "by-hand: a model, batch 3"
    assert rows == [
        ("tokens/s", "3428571.43, prompt included"),  # 12 tokens in 3.5 us
        ("  of decoding", "6000000.00"),  # 9 tokens in 1.5 us
        ("time to first token", "2e-06 s"),
        ("time per output token", "0.0005 ms"),
        ("critical path", "prompt 2 us; of each token after it"),
        ("  qkv", "0.000 ms"),  # 0.2 us by three passes; see the slower run below
        ("  attention", "0.000 ms"),
        ("  ffn", "0.000 ms"),
        ("gpu busy", "71.4 %, 2.5 us"),  # of 3.5 us
        ("  prompt", "2 us"),
        ("  qkv", "200 ns"),
        ("  ffn", "300 ns"),
        ("pcie busy", "14.3 %, 500 ns"),
        ("  prompt", "400 ns"),
        ("  hidden", "100 ns"),
        ("cpu busy", "10.0 %, 350 ns"),
        ("  attention", "350 ns"),
        ("dimms busy", "40.0 %, 1.4 us"),
        ("  ffn", "1.4 us"),
        ("dimm-link busy", "2.9 %, 100 ns"),
        ("  remap", "100 ns"),
        ("card", "a card of 400 W"),
        ("DIMMs", "2 of hermes, DDR4-3200-Hermes"),
        ("  each", "4 ranks, 32 GiB, 102.4 GB/s to its unit at most"),
        ("  bandwidth reached", "12.8 to 25.6 GB/s each while rows moved"),
        ("  busiest over mean", "1.600"),
        ("changed: gpu.card", "theirs -> mine"),
        ("changed: dimm.ranks", "none -> 2"),
        ("links", "h2d 1.5 kB, d2h 24 B, remap 640 B"),
        ("swaps", "7"),
        ("predictor", "accuracy 87.5 %, recall 50.0 %"),
        ("neurons in GPU memory", "2.5 MB"),
        ("energy", "2.062 mJ"),
        ("  dram", "6.513 uJ"),
        ("  ndp", "3.401 uJ"),
        ("  dimm_link", "6.4 nJ"),
        ("  gpu", "2 mJ"),
        ("  cpu", "52.5 uJ"),
        ("  basis", record["energy_note"]),
        ("wall time", "4.0 s, 1.23e+06 times the simulated time"),
        ("  start and compile", "1 s, 25.0 %"),
        ("  timing kernels", "2.5 s, 62.5 %"),
        ("  writing", "500 ms, 12.5 %"),
    ]


def test_times_of_a_token_are_those_of_a_pass(printed):
    """Of four tokens three have a pass: 3 s, 6 s and 9 s are 1, 2 and 3 s each."""
    slower = {"operation_s": {"prompt": 2.0, "qkv": 3.0, "attention": 6.0, "ffn": 9.0}}
    slower |= {"time_to_first_token_s": 2.34567, "time_per_output_token_s": 6.0}
    rows = dict(printed(figures_of(hand_made_run()) | slower)[1])
    assert rows["critical path"] == "prompt 2 s; of each token after it"
    assert rows["time to first token"] == "2.346 s" and rows["time per output token"] == "6000 ms"
    own = printed(figures_of(hand_made_run()) | slower)[1][5:8]
    assert own == [("  qkv", "1000.000 ms"), ("  attention", "2000.000 ms"), ("  ffn", "3000.000 ms")]


def test_a_run_without_passes_says_so(printed):
    title, rows = printed(figures_of(hand_made_run(token_ps=())))
    assert title == "by-hand: a model, batch 3, 1 tokens so far"
    rows = dict(rows)
    assert rows["  of decoding"] == "none: the first token is the prompt's" and rows["time per output token"] == "none"


def test_a_run_of_a_prompt_and_one_pass_divides_by_one(printed):
    record = figures_of(hand_made_run(token_ps=(500_000,))) | {"operation_s": {"ffn": 0.25}}
    rows = dict(printed(record)[1][:7])
    assert rows["  ffn"] == "250.000 ms"
    assert rows["critical path"] == "prompt 0 s; of each token after it"
    again = figures_of(hand_made_run(token_ps=())) | {"operation_s": {"ffn": 0.25}}
    assert dict(printed(again)[1][:7])["  ffn"] == "250.000 ms"


def test_what_is_not_known_is_called_unknown(printed):
    rows = dict(printed(figures_of(hand_made_run(dimms=machine(energies=None))))[1])
    assert rows["energy"] == rows["  ndp"] == rows["  dimm_link"] == "unknown"
    assert rows["  dram"] == "6.513 uJ" and rows["  gpu"] == "2 mJ"


def test_a_run_without_dimms_predictor_or_wall_time_has_no_rows_of_them(printed):
    names = [name for name, _ in printed(figures_of(hand_made_run(has_ndp=False)))[1]]
    absent = {"DIMMs", "  bandwidth reached", "  busiest over mean", "predictor", "neurons in GPU memory", "wall time"}
    assert not absent & set(names) and names.count("  dram") == 0


def test_a_wall_time_beside_no_simulated_one_has_no_ratio(printed):
    rows = dict(printed(figures_of(hand_made_run()) | WALL | {"slowdown": None})[1])
    assert rows["wall time"] == "4.0 s"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"), (1.5e-6, "1.5 us"), (2e-12, "2 ps"), (3e-9, "3 ns"), (0.25, "250 ms"), (1, "1 s"),
        (12345, "12.35 ks"), (2e6, "2 Ms"), (7e9, "7 Gs"), (-4e3, "-4 ks"), (0.99951, "0.9995 s"), (0.9994, "999.4 ms"),
        (999.6, "0.9996 ks"), (5e-15, "5e-15 s"), (1.23456, "1.235 s"),
    ],
)  # fmt: skip
def test_a_quantity_has_the_prefix_that_fits(value, text):
    assert show.quantity(value, "s") == text


def test_a_share_is_written_as_percent():
    assert [show.percent(one) for one in (0.1234, 1.0, 0.0, float("nan"))] == ["12.3 %", "100.0 %", "0.0 %", "-"]


def test_energy_of_a_program_is_told_by_part_and_component():
    joules = {"dram": {"activate": 2e-6, "active_standby": 3e-3, "io": 0.0, "total": 3.002e-3}, "ndp": None}
    figures = {"energy_j": {**joules, "total": 3.002e-3}, "energy_note": "made up"}
    assert show.energy_rows(figures) == [
        ("energy", "3.002 mJ"),
        ("  dram", "activate 2 uJ, active standby 3 mJ, total 3.002 mJ"),
        ("  basis", "made up"),
    ]


SMALL = ("run", "--model", "relu-lm", "--input", "16", "--output", "3")
ROOM = ("--set", "gpu.weights_gb=0.002")  # some neurons fit


@pytest.mark.parametrize(("system", "changes"), [("hermes", ROOM), ("gpu-only", ())])
def test_a_run_ends_with_the_table_of_its_record(capsys, system, changes):
    code, out, _ = run(capsys, *SMALL, *changes, "--system", system, "--json")
    record = json.loads(out)
    assert code == 0 and record["system"] == system
    code, shown, _ = run(capsys, *SMALL, *changes, "--system", system)
    run_table.print_run(record)
    table = capsys.readouterr().out
    shown, table = (text.partition("wall time") for text in (shown, table))
    assert code == 0 and shown[0] == table[0] and shown[1] == table[1] == "wall time"
    assert "times the simulated time" in shown[2]
