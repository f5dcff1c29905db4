"""The reproduction as a whole, on an evaluation that is small enough to run at once; and in full, if asked for."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hermes_support import PUBLISHED, SMALL
from processes import environment

from ndpsim.errors import InputError
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.studies import hermes as module
from ndpsim.studies.cases import Outcome
from ndpsim.studies.hermes import Reproducer, write_csv
from ndpsim.studies.hermes_points import published
from ndpsim.studies.plot_hermes import FILES, plot_hermes

WHOLE = Reproducer(PUBLISHED, 4, 3, SMALL)


@pytest.fixture(scope="module")
def found():
    return WHOLE.run(jobs=1)


MADE_UP = {
    # system, batch, simulated tokens, changes beside SMALL: prompt, passes, growth of each pass, in seconds
    ("accelerate", 1, 3, ()): (1.0, (0.5, 0.5), 0.0),  # 1 + 3 * 0.5 = 2.5 s: steady, so that two passes tell all
    ("hermes", 1, 4, ()): (0.1, (0.2, 0.3, 0.4), 0.1),  # 0.1 + 3 * (0.3 + 0.1) = 1.3 s
    ("hermes", 2, 4, ()): (0.2, (0.5, 0.5, 0.5), 0.0),  # 1.7 s
    ("hermes-base", 1, 4, ()): (0.5, (1.0, 1.5, 2.0), 0.0),  # 5 s
    ("hermes-base", 2, 4, ()): (1.0, (2.0, 2.0, 2.0), 0.0),  # 7 s
    ("gpu-only", 1, 4, ()): (0.1, (0.1, 0.1, 0.1), 0.0),  # 0.4 s
    ("hermes", 1, 3, ()): (9.0, (0.9, 0.9), 0.0),  # the ablation: of it only the feed-forward time counts
    ("hermes", 2, 3, ()): (9.0, (0.9, 0.9), 0.0),
    ("hermes", 1, 3, ("policy.adjust", "policy.remap")): (9.0, (0.9, 0.9), 0.0),
    ("hermes", 2, 3, ("policy.adjust", "policy.remap")): (9.0, (0.9, 0.9), 0.0),
    ("hermes", 1, 4, ("policy.strict",)): (0.4, (0.1, 0.1, 0.2), 0.0),  # 0.8 s
    ("hermes", 2, 4, ("policy.strict",)): (1.0, (1.0, 1.0, 1.0), 0.0),  # 4 s
}
FFN_S = {(1, 0): 0.4, (2, 0): 0.5, (1, 2): 0.6, (2, 2): 2.0}  # by batch, and changes of the variant
BUSY_S = {"gpu": {"prompt": 7.0, "ffn": 0.3}, "dimms": {"ffn": 0.7}, "pcie": {"weights": 5.0}}


def made_up(cases, jobs, tell):
    """Outcomes of all cases from MADE_UP, without a run."""
    found = {}
    for case in cases:
        own = tuple(path for path, _ in case.changes if path not in SMALL)
        ablation = case.system == "hermes" and case.tokens == 3
        figures = {"operation_s": {"ffn": FFN_S[case.batch, len(own)] if ablation else 1e9}, "busy_s": BUSY_S}
        found[case] = Outcome(case, *MADE_UP[case.system, case.batch, case.tokens, own], figures)
    return found


def test_every_value_is_that_of_its_own_runs_by_hand(monkeypatch):
    monkeypatch.setattr(module, "run_cases", made_up)
    record = WHOLE.run(jobs=1).record()
    assert [(one["system"], one["batch"], one["simulated"]) for one in record["points"] if one["system"]] == [
        ("hermes", 1, pytest.approx(4 / 1.3)),  # four tokens by prompt and three passes
        ("hermes", 2, pytest.approx(8 / 1.7)),
        ("hermes-base", 1, pytest.approx(0.8)),
        ("hermes-base", 2, pytest.approx(8 / 7)),
        ("accelerate", 1, pytest.approx(1.6)),
    ]
    statements = {one["name"]: one["simulated"] for one in record["points"] if one["system"] is None}
    assert list(statements.values()) == [
        pytest.approx((5 / 1.3 + 7 / 1.7) / 2),  # hermes over hermes-base: 3.846 and 4.118
        pytest.approx(5 / 1.3),
        pytest.approx(7 / 1.7),
        pytest.approx(0.4 / 1.3),  # over gpu-only
        pytest.approx(2.75),  # 0.3 over 0.2 s of a pass, and 1 over 0.25 s
        pytest.approx(0.1 / 1.3),  # the prompt of hermes
        pytest.approx(0.7),  # DIMMs of hermes-base: 0.7 of 0.3 + 0.7 s without the prompt
    ]
    assert [(one["batch"], one["default"], one["simulated"]) for one in record["readings"]] == [
        (1, pytest.approx(4 / 1.3), pytest.approx(5.0)),
        (2, pytest.approx(8 / 1.7), pytest.approx(2.0)),
    ]
    assert {(one["batch"], one["variant"]): one["seconds"] for one in record["ablation"]} == {
        (1, "partition"): pytest.approx(0.3),
        (2, "partition"): pytest.approx(1.0),
        (1, "hermes"): pytest.approx(0.2),
        (2, "hermes"): pytest.approx(0.25),
    }
    assert (record["tokens"], record["ablation_tokens"]) == (4, 3)
    assert record["groups"]["speed-ups"]["points"] == 4 and record["groups"]["breakdown"]["points"] == 2


def test_a_run_of_the_study_is_the_run_of_its_setup(found):
    """Whatever path a value takes through the study, an `ndpsim run` of the same setup prints it."""
    assert len(found.points) == 5 + 4 + 1 + 2
    (point,) = (one for one in found.points if one.key == ("hermes", "relu-lm", 2))
    run = Run(Setup.of("hermes", "relu-lm", batch=2, prompt=8, output=4, changes=SMALL))
    run.advance()
    assert point.simulated == pytest.approx(2 * 4 / (run.now_ps * 1e-12), rel=1e-12)


def test_errors_at_the_top_are_those_of_hermes_and_hermes_base(found):
    record = found.record()
    own = [abs(one["error"]) for one in record["points"] if one["system"] in ("hermes", "hermes-base")]
    assert len(own) == 4
    assert record["mean_abs_error"] == pytest.approx(sum(own) / 4) and record["max_abs_error"] == max(own)
    assert record["groups"]["ablation"]["points"] == 1 and len(record["readings"]) == 2
    assert {one["variant"] for one in record["ablation"]} == {"partition", "hermes"} and len(record["ablation"]) == 4
    assert json.loads(json.dumps(record)) == record


def test_a_run_that_two_values_are_of_is_done_once():
    cases = WHOLE.cases()
    assert len(cases) == len(set(cases)) == 5 + 1 + 4 + 2  # bars, gpu-only, ablation, readings


def test_only_the_changes_of_a_variant_a_reading_or_a_setup_differ():
    changes = {case.changes for case in Reproducer(PUBLISHED, 4, 3).cases()}
    assert changes == {
        (),
        (("dimm.count", 2),),
        (("policy.adjust", False), ("policy.remap", False)),
        (("policy.strict", False),),
    }


def test_a_run_that_is_not_possible_is_named():
    with pytest.raises(InputError, match=r"^accelerate on relu-lm, batch 1: dimm\.count: expected"):
        replace(WHOLE, changes={"dimm.count": 0}).run(jobs=1)


def test_the_table_has_a_line_for_each_point(found, tmp_path):
    write_csv(found, tmp_path / "points.csv")
    rows = list(csv.DictReader((tmp_path / "points.csv").open(encoding="utf-8")))
    assert len(rows) == len(found.points)
    assert float(rows[0]["simulated"]) == found.points[0].simulated
    assert float(rows[0]["error"]) == found.points[0].error and rows[0]["model"] == "relu-lm"


def test_plots_show_all_systems_and_are_the_same_each_time(found, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plot_hermes(found, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    first, batches, ablation = ((tmp_path / "a" / file).read_text(encoding="utf-8") for file in FILES)
    for system in ("accelerate", "hermes-base", "hermes"):
        assert f"{system}, published" in first and f"{system}, published" in batches
    assert "batch 2" in batches and "partition" in ablation and "relu-lm" in ablation


PROBE = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
for system in ("hermes", "hermes-base"):
    run = Run(Setup.of(system, "relu-lm", prompt=8, output=2, changes={"dimm.count": 2}))
    run.advance()
    figures_of(run)
assert any(name.endswith("machines/hermes.toml") for name in opened)
print([name for name in opened if "studies" in name and not name.endswith(".py")])
"""


def test_no_run_reads_what_is_published():
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_nothing_below_the_studies_knows_of_them():
    package = Path(__file__).parents[2] / "ndpsim"
    assert (package / "studies" / "hermes_points.py").is_file()
    for file in package.rglob("*.py"):
        if file.relative_to(package).parts[0] not in ("studies", "cli"):
            assert "studies" not in file.read_text(encoding="utf-8"), file


@pytest.mark.slow
def test_the_whole_evaluation_is_met_within_what_is_stated():
    record = Reproducer(published(), 16, 11).run(jobs=2).record()
    assert record["mean_abs_error"] < 0.15
    assert record["max_abs_error"] < 0.33
