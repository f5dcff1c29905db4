"""Cases: what the mean of some tokens stands for, and processes that agree with one alone."""

import pytest

from ndpsim.errors import InputError
from ndpsim.studies import cases
from ndpsim.studies.cases import Case, Outcome, run_case, run_cases
from ndpsim.systems.run import Run
from ndpsim.systems.setup import Setup

SMALL = {"dimm.count": 2, "model.layers": 2}
DENSE = Case.of("hermes-base", "relu-lm", 1, 2, 8, SMALL)


def test_the_mean_of_the_simulated_tokens_stands_for_all():
    outcome = Outcome(2.0, (0.5, 0.25, 0.75), {})
    assert outcome.mean_token_s == 0.5
    assert outcome.seconds(128) == 66.0
    assert outcome.tokens_per_s(4, 128) == 4 * 128 / 66


def test_a_case_does_not_depend_on_the_order_of_its_changes():
    assert Case.of("hermes", "relu-lm", 1, 2, 8, {"a": 1, "b": 2}) == Case.of(
        "hermes", "relu-lm", 1, 2, 8, {"b": 2, "a": 1}
    )


def test_the_change_preset_names_the_preset_of_the_trace():
    case = Case.of("hermes", "relu-lm", 1, 2, 8, {"preset": "measured", "preset.ffn.density": 0.1})
    assert case.preset == "measured" and case.changes == (("preset.ffn.density", 0.1),)


def test_cases_of_one_trace_are_those_that_differ_in_what_it_does_not_depend_on():
    def trace(system="hermes", batch=1, **changes):
        return Case.of(
            system, "relu-lm", batch, 2, 8, {name.replace("_", "."): value for name, value in changes.items()}
        ).trace

    assert trace() == trace("hermes-base") == trace(dimm_count=4) == trace(policy_adjust=False)
    assert len({trace(), trace(batch=2), trace(model_layers=1), trace(preset="measured"), trace(preset_x=1)}) == 5


def test_an_outcome_is_what_the_run_itself_says():
    run = Run(Setup.of(system="hermes-base", model="relu-lm", prompt=8, output=2, changes=SMALL))
    run.advance()
    figures, outcome = run.record(), run_case(DENSE)
    assert outcome.tokens_per_s(1, 2) == pytest.approx(figures["tokens_per_s"], rel=1e-12)
    assert outcome.figures == figures


def test_a_case_that_is_not_possible_says_why():
    found = run_case(Case.of("hermes-base", "relu-lm", 1, 2, 8, {"dimm.count": 0}))
    assert isinstance(found, InputError) and "dimm.count" in str(found)


def test_each_case_is_run_once_and_told(monkeypatch):
    ran, told = [], []
    monkeypatch.setattr(cases, "run_case", lambda case: ran.append(case) or Outcome(1.0, (1.0,), {}))
    found = run_cases([DENSE, Case.of("hermes-base", "opt-13b", 1, 2, 8, {}), DENSE], 1, told.append)
    assert len(ran) == 2 and set(ran) == found.keys() and told == [1, 2]


def test_the_heaviest_trace_is_run_first(monkeypatch):
    ran = []
    monkeypatch.setattr(
        cases, "run_case", lambda case: ran.append((case.model, case.batch)) or Outcome(1.0, (1.0,), {})
    )
    run_cases(
        [
            Case.of("hermes", model, batch, 2, 8, {})
            for model, batch in (("opt-13b", 1), ("no-model", 1), ("opt-66b", 2), ("opt-66b", 4))
        ],
        1,
    )
    assert ran == [("opt-66b", 4), ("opt-66b", 2), ("opt-13b", 1), ("no-model", 1)]


@pytest.mark.slow
def test_processes_find_the_same_as_one_alone():
    asked = [Case.of(system, "relu-lm", batch, 2, 8, SMALL) for system in ("hermes", "hermes-base") for batch in (1, 2)]
    asked.append(Case.of("hermes", "relu-lm", 3, 2, 8, {"dimm.count": 0}))
    told = []
    alone, together = run_cases(asked, 1), run_cases(asked, 2, told.append)
    assert alone.keys() == together.keys() == set(asked)
    for case in asked[:-1]:
        assert alone[case] == together[case]
    assert str(alone[asked[-1]]) == str(together[asked[-1]])
    assert told == sorted(told) and told[-1] == len(asked)
