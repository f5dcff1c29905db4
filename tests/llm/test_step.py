"""A step says what each sequence gets, which sequences these are, and which of them read a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import InputError
from ndpsim.llm.step import Step


def test_prompts_and_decodes_of_a_step_are_steps_of_their_own():
    step = Step((5, 1, 1, 7), (0, 9, 0, 3), sequences=(4, 0, 2, 1))
    assert step.prefills == Step((5, 1, 7), (0, 0, 3), sequences=(4, 2, 1))
    assert step.decodes == Step((1,), (9,), sequences=(0,))


def test_a_step_of_one_kind_is_its_own_part():
    prompts, tokens = Step.prefill(3, 8), Step.decode(3, 8)
    assert prompts.prefills is prompts and prompts.decodes is None
    assert tokens.decodes is tokens and tokens.prefills is None
    assert prompts.places == (0, 1, 2)


def test_a_chunk_that_ends_no_prompt_wants_no_logits_beside_those_that_decode():
    step = Step((5, 1, 1), (0, 9, 4), logits=2)
    assert step.prefills is not None and step.prefills.logit_tokens == 0
    assert step.decodes is not None and step.decodes.logit_tokens == 2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=6))
def test_the_parts_have_all_tokens_once(pairs):
    new, cached = zip(*pairs, strict=True)
    step = Step(new, cached)
    parts = [part for part in (step.prefills, step.decodes) if part]
    assert sum(part.tokens for part in parts) == step.tokens
    assert sum(part.cached for part in parts) == step.cached
    assert sorted(place for part in parts for place in part.places) == list(step.places)


@pytest.mark.parametrize("sequences", [(0, 0), (0,), (0, -1)])
def test_sequences_are_different_places_as_many_as_there_are(sequences):
    with pytest.raises(InputError, match="step: sequences: expected"):
        Step((1, 1), (2, 2), sequences=sequences)
