"""Sensitivities: one change at a time, beside the machine that ships."""

import pytest
from pydantic import ValidationError

from ndpsim.errors import InputError
from ndpsim.runs.setup import Setup
from ndpsim.studies import sensitivity as module
from ndpsim.studies.cases import Case, Lengths, Outcome, run_case
from ndpsim.studies.sensitivity import Sensitivity, effects, sensitivity, sensitivity_cases

SWEEPS = [
    {"name": "dimms", "about": "how many", "points": {"4": {"dimm.count": 4}, "8": {}}, "batches": [1, 2]},
    {"name": "map", "about": "which", "points": {"interleaved": {"dimm.placement": "interleaved"}, "row": {}}},
]
SMALL = Sensitivity.model_validate(
    {"system": "hermes-base", "models": ["relu-lm"], "batches": [1], "tokens": 2, "prompt": 8, "output": 4,
     "sweeps": SWEEPS}
)  # fmt: skip


def test_an_effect_is_by_the_run_without_its_change(monkeypatch):
    def run(asked, jobs, tell):
        seconds = {(): 2.0, (("dimm.count", 4),): 3.0, (("dimm.placement", "interleaved"),): 1.0}
        return {case: Outcome(case, 0.0, (seconds[case.changes] / 3,), 0.0, {}) for case in asked}

    monkeypatch.setattr(module, "run_cases", run)
    found = effects(SMALL)
    assert [(one.sweep, one.point, one.batch, one.tokens_per_s, one.ratio) for one in found] == [
        ("dimms", "4", 1, pytest.approx(4 / 3), pytest.approx(2 / 3)),
        ("dimms", "8", 1, 2, 1),
        ("dimms", "4", 2, pytest.approx(8 / 3), pytest.approx(2 / 3)),
        ("dimms", "8", 2, 4, 1),
        ("map", "interleaved", 1, 4, 2),
        ("map", "row", 1, 2, 1),
    ]


def test_runs_that_several_sweeps_share_are_done_once():
    assert len(sensitivity_cases(SMALL)) == 2 + 2 + 1


def test_changes_of_all_runs_count_for_the_one_that_is_compared_with():
    changes = {case.changes for case in sensitivity_cases(SMALL, {"model.layers": 2})}
    assert all(("model.layers", 2) in one for one in changes)


def test_a_small_study_is_that_of_its_runs():
    found = effects(SMALL, changes={"model.layers": 2})
    case = Case.of("hermes-base", "relu-lm", 1, Lengths(8, 4, 2), 2, {"model.layers": 2, "dimm.count": 4})
    assert found[0].tokens_per_s == run_case(case).tokens_per_s
    assert found[1].ratio == found[3].ratio == found[5].ratio == 1


def test_what_cannot_be_run_says_why_and_the_rest_is_run(monkeypatch):
    def run(asked, jobs, tell):
        return {case: InputError("no room") if case.changes else Outcome(case, 1.0, (1.0,), 0, {}) for case in asked}

    monkeypatch.setattr(module, "run_cases", run)
    first, second, *_ = effects(SMALL)
    assert (first.tokens_per_s, first.ratio, first.why_not) == (None, None, "no room")
    assert second.ratio == 1 and second.why_not == ""


def test_without_a_run_to_compare_with_there_is_no_study():
    with pytest.raises(InputError, match=r"hermes-base on relu-lm, batch 1: dimm\.count: expected"):
        effects(SMALL, changes={"dimm.count": 0})


def test_every_point_that_ships_is_a_possible_setup():
    definition = sensitivity("hermes-sensitivity")
    for case in sensitivity_cases(definition):
        assert Setup.of(case.system, case.model, batch=case.batch, preset=case.preset, changes=dict(case.changes))


def test_every_point_that_ships_can_be_run():
    shipped = sensitivity("hermes-sensitivity")
    sweeps = [sweep.model_copy(update={"batches": [1]}) for sweep in shipped.sweeps]
    update = {"models": ["relu-lm"], "tokens": 2, "prompt": 8, "output": 4, "sweeps": sweeps}
    found = effects(shipped.model_copy(update=update))
    assert [one for one in found if one.ratio is None] == []
    assert len({one.tokens_per_s for one in found}) > 15


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        ("batches", [], [1]), ("batches", [0], [1]), ("batches", [256], [255]), ("tokens", 0, 1), ("prompt", 0, 1),
        ("output", 0, 1), ("models", [], ["relu-lm"]), ("sweeps", [], SWEEPS),
        ("sweeps", [{**SWEEPS[0], "points": {}}], SWEEPS), ("sweeps", [{**SWEEPS[0], "batches": []}], SWEEPS),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_and_the_one_beside_it_is_taken(path, wrong, right):
    content = SMALL.model_dump()
    Sensitivity.model_validate({**content, path: right})
    with pytest.raises(ValidationError, match=path):
        Sensitivity.model_validate({**content, path: wrong})
