"""Cases: what the mean of some tokens stands for, and processes that agree with one alone."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ndpsim.errors import InputError
from ndpsim.llm.catalog import load_shape
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
    assert outcome.whole(0.75) == 32.0
    assert replace(outcome, pass_s=(0.5,)).whole(0.001) == pytest.approx(0.128)


def test_an_output_of_one_token_is_its_prompt_alone():
    outcome = Outcome(Case.of("hermes", "relu-lm", 4, Lengths(128, 1, 1), 1, {}), 2.0, (), 0.0, {})
    assert (outcome.seconds, outcome.tokens_per_s, outcome.whole(0.0)) == (2.0, 2.0, 0.0)


def test_a_case_needs_a_pass_behind_the_prompt_to_stand_for_the_others():
    assert "tokens: expected at least 2" in str(run_case(replace(DENSE, tokens=1)))


@pytest.mark.parametrize(("output", "tokens", "is_run"), [(1, 1, True), (2, 1, False), (2, 2, True), (4, 1, False)])
def test_an_output_of_more_than_its_prompts_token_needs_a_pass(output, tokens, is_run):
    found = run_case(replace(DENSE, lengths=Lengths(8, output, output), tokens=tokens))
    assert isinstance(found, Outcome) == is_run


def test_attention_grows_only_in_passes_that_were_not_simulated(monkeypatch):
    asked = []
    monkeypatch.setattr(cases, "attention_growth", lambda *arguments: asked.append(arguments[2:]) or 0.5)
    for output, tokens, growth in ((3, 3, 0.0), (3, 2, 0.5), (9, 4, 0.5)):
        found = run_case(replace(DENSE, batch=2, lengths=Lengths(8, output, output), tokens=tokens))
        assert found.growth_s == growth and len(found.pass_s) == tokens - 1
    assert asked == [(2, 8, 1, 2), (2, 8, 3, 8)]  # batch, prompt, passes simulated and in all
    dense = run_case(replace(DENSE, system="gpu-only", changes=(), lengths=Lengths(8, 3, 3)))
    assert dense.growth_s == 0.0 and len(asked) == 2  # attention is not in DIMMs


class Attention:
    """Stands for the DIMMs: attention over n tokens takes n * n picoseconds, and the timer moves on by 7 more."""

    def __init__(self, dimms, shape, sequences, capacity):
        assert (dimms, shape.layers, sequences, capacity) == ("dimms", 1, 3, 30)
        self.timer, self.contexts = SimpleNamespace(now_ps=0), []

    def attend(self, layer, contexts, start):
        assert layer == 0 and start == self.timer.now_ps and len(contexts) == 3
        (context,) = set(contexts.tolist())
        self.timer.now_ps += context * context + 7
        return SimpleNamespace(start=start + 7, end=start + 7 + context * context)


@pytest.mark.parametrize(
    ("first", "ps"),
    [
        # of 20 passes those with 4 and 12 before them are timed, over 10 + 4 + 1 and 10 + 12 + 1 tokens
        (1, (15**2 + 23**2) / 2 - 11**2),
        (3, (15**2 + 23**2) / 2 - 13**2),
        (5, (15**2 + 23**2) / 2 - 15**2),
        (13, (15**2 + 23**2) / 2 - (15**2 + 23**2) / 2),
        (12, (15**2 + 23**2) / 2 - 15**2),
    ],
)
def test_growth_is_the_difference_of_means_of_every_eighth_context(monkeypatch, first, ps):
    monkeypatch.setattr("ndpsim.machine.ndp_model.NdpModel", Attention)
    shape = load_shape("relu-lm").with_overrides(layers=6)
    assert cases.attention_growth("dimms", shape, 3, 10, first, 20) == pytest.approx(6 * ps * 1e-12)


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


def test_the_weight_of_a_group_is_bytes_by_sequences_by_its_runs_and_two_for_the_trace():
    group = [case(model="opt-13b", batch=3), case("hermes-base", model="opt-13b", batch=3)]
    assert cases._weight(group) == load_shape("opt-13b").weight_bytes() * 3 * 4
    assert cases._weight([case(model="no-model")]) == 0


@pytest.mark.parametrize(("jobs", "models", "wanted"), [(2, 1, None), (1, 3, None), (2, 2, 2), (2, 3, 2), (5, 3, 3)])
def test_processes_are_no_more_than_there_are_traces(monkeypatch, jobs, models, wanted):
    asked = []
    monkeypatch.setattr(cases, "run_case", outcome_of)
    monkeypatch.setattr(
        cases,
        "_in_processes",
        lambda groups, count, tell: asked.append(count) or {one: outcome_of(one) for group in groups for one in group},
    )
    names = ["opt-13b", "opt-66b", "opt-30b"][:models]
    chosen = [case(system, model=name) for system in ("hermes", "hermes-base") for name in names]
    assert list(run_cases(chosen, jobs)) == chosen
    assert asked == ([] if wanted is None else [wanted])


def test_a_worker_counts_each_case_that_it_has_ended(monkeypatch):
    done = multiprocessing.Value("q", 5)
    monkeypatch.setattr(cases, "_done", done)
    monkeypatch.setattr(cases, "run_case", outcome_of)
    group = [case(), case("hermes-base")]
    assert cases._run_group(group) == {one: outcome_of(one) for one in group} and done.value == 7


def test_outcomes_of_all_groups_come_together_and_are_told_as_they_end(monkeypatch):
    """With threads in place of processes."""

    def executor(jobs, context, initializer, initargs):
        return ThreadPoolExecutor(jobs, initializer=initializer, initargs=initargs)

    told = []
    monkeypatch.setattr(cases, "_done", None)
    monkeypatch.setattr(cases, "run_case", outcome_of)
    monkeypatch.setattr(cases, "ProcessPoolExecutor", executor)
    monkeypatch.setattr(cases.signal, "signal", lambda *_: None)
    groups = [[case(model="opt-13b"), case("hermes-base", model="opt-13b")], [case(model="opt-66b")]]
    found = cases._in_processes(groups, 2, told.append)
    assert found == {one: outcome_of(one) for group in groups for one in group}
    assert told[-1] == 3 and told == sorted(told) and told[0] >= 0


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
