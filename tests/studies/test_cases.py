"""Cases: what the mean of some tokens stands for, and processes that agree with one alone."""

from dataclasses import replace

import pytest

from ndpsim.errors import InputError
from ndpsim.report.figures import figures_of
from ndpsim.runs.run import Run
from ndpsim.runs.setup import Setup
from ndpsim.studies import cases
from ndpsim.studies.cases import Case, Lengths, Outcome, run_case, run_cases

SMALL = {"dimm.count": 2, "model.layers": 2}
LENGTHS = Lengths(prompt=8, output=4, traced=2)
DENSE = Case.of("hermes-base", "relu-lm", 1, LENGTHS, 2, SMALL)


def case(system="hermes", model="relu-lm", batch=1, tokens=2, **changes):
    return Case.of(system, model, batch, LENGTHS, tokens, changes)


def test_the_mean_of_the_simulated_tokens_stands_for_all_with_what_attention_grows():
    """129 tokens are a prompt of 2 s and 128 passes of 0.5 s each, and 0.125 s more for the contexts to come: 82 s."""
    whole = Case.of("hermes", "relu-lm", 4, Lengths(128, 129, 4), 4, {})
    outcome = Outcome(whole, 2.0, (0.5, 0.25, 0.75), 0.125, {})
    assert outcome.seconds == 82.0
    assert outcome.tokens_per_s == 4 * 129 / 82
    assert outcome.whole(3.0) == 128.0  # 3 s over 3 passes, 1 s each


def test_an_output_of_one_token_is_its_prompt_alone():
    outcome = Outcome(Case.of("hermes", "relu-lm", 4, Lengths(128, 1, 1), 1, {}), 2.0, (), 0.0, {})
    assert (outcome.seconds, outcome.tokens_per_s, outcome.whole(0.0)) == (2.0, 2.0, 0.0)


def test_a_case_needs_a_pass_behind_the_prompt_to_stand_for_the_others():
    assert "tokens: expected at least 2" in str(run_case(replace(DENSE, tokens=1)))


def test_a_case_does_not_depend_on_the_order_of_its_changes():
    assert case(a=1, b=2) == case(b=2, a=1)


def test_the_change_preset_names_the_preset_of_the_trace():
    found = case(**{"preset": "measured", "preset.ffn.density": 0.1})
    assert found.preset == "measured" and found.changes == (("preset.ffn.density", 0.1),)


def test_cases_of_one_trace_are_those_that_differ_in_what_it_does_not_depend_on():
    same = [case(), case("hermes-base"), case(tokens=1), case(**{"dimm.count": 4}), case(**{"policy.adjust": False})]
    others = [case(batch=2), case(**{"model.layers": 1}), case(preset="measured"), case(**{"preset.ffn.density": 0.1})]
    assert len({one.trace for one in same}) == 1
    assert len({one.trace for one in [*same, *others]}) == 5


def test_an_outcome_is_what_the_run_itself_says():
    run = Run(Setup.of(system="hermes-base", model="relu-lm", prompt=8, output=2, changes=SMALL))
    run.advance()
    figures, whole = figures_of(run), Case.of("hermes-base", "relu-lm", 1, Lengths(8, 2, 2), 2, SMALL)
    outcome = run_case(whole)
    assert outcome.tokens_per_s == pytest.approx(figures["tokens_per_s"], rel=1e-12)
    assert outcome.figures == figures and outcome.growth_s == 0


def test_few_tokens_tell_what_all_of_them_take():
    """Contexts grow from 8 to 248 tokens, and attention with them; nothing else does in a dense system."""
    all_of_them, few = (
        run_case(Case.of("hermes-base", "relu-lm", 4, Lengths(8, 240, 240), tokens, SMALL)) for tokens in (240, 2)
    )
    assert few.tokens_per_s == pytest.approx(all_of_them.tokens_per_s, rel=0.01)
    assert replace(few, growth_s=0.0).tokens_per_s > 1.05 * all_of_them.tokens_per_s


def test_a_case_that_is_not_possible_says_why():
    found = run_case(case("hermes-base", **{"dimm.count": 0}))
    assert isinstance(found, InputError) and "dimm.count" in str(found)


def outcome_of(one):
    return Outcome(one, 1.0, (1.0,), 0.0, {})


def test_each_case_is_run_once_and_told(monkeypatch):
    ran, told = [], []
    monkeypatch.setattr(cases, "run_case", lambda one: ran.append(one) or outcome_of(one))
    found = run_cases([DENSE, case(model="opt-13b"), DENSE], 1, told.append)
    assert len(ran) == 2 and list(found) == [DENSE, case(model="opt-13b")] and told == [1, 2]


def test_the_heaviest_trace_is_run_first(monkeypatch):
    ran = []
    monkeypatch.setattr(cases, "run_case", lambda one: ran.append((one.model, one.batch)) or outcome_of(one))
    asked = [("opt-13b", 1), ("no-model", 1), ("opt-66b", 2), ("opt-66b", 4)]
    found = run_cases([case(model=model, batch=batch) for model, batch in asked], 1)
    assert ran == [("opt-66b", 4), ("opt-66b", 2), ("opt-13b", 1), ("no-model", 1)]
    assert [(one.model, one.batch) for one in found] == asked


@pytest.mark.slow
def test_processes_find_the_same_as_one_alone():
    asked = [case(system, batch=batch, **SMALL) for system in ("hermes", "hermes-base") for batch in (1, 2)]
    asked.append(case(batch=3, **{"dimm.count": 0}))
    told = []
    alone, together = run_cases(asked, 1), run_cases(asked, 2, told.append)
    assert list(alone) == list(together) == asked
    for one in asked[:-1]:
        assert alone[one] == together[one]
    assert str(alone[asked[-1]]) == str(together[asked[-1]])
    assert told == sorted(told) and told[-1] == len(asked)
