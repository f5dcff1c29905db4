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
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.studies.hermes import Reproducer, write_csv
from ndpsim.studies.hermes_points import published
from ndpsim.studies.plot_hermes import FILES, plot_hermes

WHOLE = Reproducer(PUBLISHED, 4, 3, SMALL)


@pytest.fixture(scope="module")
def found():
    return WHOLE.run(jobs=1)


def test_simulated_tokens_per_second_are_those_of_the_run(found):
    assert len(found.points) == 5 + 4 + 1 + 2
    for point in found.points:
        if point.key is not None and point.key.system not in PUBLISHED.steady:
            setup = Setup.of(*point.key[:2], batch=point.key.batch, prompt=8, output=4, changes=SMALL)
            run = Run(setup)
            run.advance()
            assert point.simulated == pytest.approx(figures_of(run)["tokens_per_s"], rel=1e-12)


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
        if file.parent.name not in ("studies", "cli"):
            assert "studies" not in file.read_text(encoding="utf-8"), file


@pytest.mark.slow
def test_the_whole_evaluation_is_met_within_what_is_stated():
    record = Reproducer(published(), 16, 11).run(jobs=2).record()
    assert record["mean_abs_error"] < 0.15
    assert record["max_abs_error"] < 0.33
