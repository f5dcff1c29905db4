"""The order of decisions: each line of docs/SERVING.md that decides something, on cases done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_support import Timer, engine, profile, requests, steps

from ndpsim.errors import InputError
from ndpsim.serving import state as at
from ndpsim.serving.state import Limits


def test_running_requests_go_before_waiting_ones_and_prompts_come_in_chunks():
    found = steps(engine(requests((0, 20, 3), (0, 20, 1))))
    assert found == [
        ((16,), (0,)),
        ((4, 12), (16, 0)),
        ((1, 8), (20, 12)),
        ((1,), (21,)),
    ]


def test_no_more_requests_run_than_may():
    found = steps(engine(requests(*[(0, 2, 2)] * 5), max_num_seqs=2))
    assert found == [((2, 2), (0, 0)), ((1, 1), (2, 2))] * 2 + [((2,), (0,)), ((1,), (2,))]


def test_without_chunks_a_prompt_waits_for_a_step_that_takes_it_whole():
    found = steps(engine(requests((0, 10, 1), (0, 10, 1)), chunked_prefill=False))
    assert found == [((10,), (0,)), ((10,), (0,))]


def test_a_prompt_found_wholly_computes_its_last_block_again():
    work = requests((0, 8, 1), (10**6, 8, 1), prefix_tokens=4, prefixes=[[5, 6], [5, 6]])
    made = engine(work)
    assert steps(made) == [((8,), (0,)), ((4,), (4,))]
    assert made.served().cached.tolist() == [0, 4]


def test_a_prompt_with_one_token_more_computes_that_token():
    work = requests((0, 9, 1), (10**6, 9, 1), prefix_tokens=4, prefixes=[[5, 6, 7], [5, 6, 8]])
    assert steps(engine(work)) == [((9,), (0,)), ((1,), (8,))]


def test_a_prefix_is_shared_in_the_step_that_computes_it():
    work = requests((0, 9, 1), (0, 9, 1), prefix_tokens=4, prefixes=[[5, 6, 7], [5, 6, 8]])
    assert steps(engine(work)) == [((9, 1), (0, 8))]


def test_prefixes_are_those_of_whole_blocks_whatever_their_own_size():
    work = requests((0, 11, 1), (10**6, 11, 1), prefix_tokens=6, prefixes=[[5, 6], [5, 7]])
    assert steps(engine(work)) == [((11,), (0,)), ((7,), (4,))]  # block 1 ends in the second prefix


def test_without_prefix_caching_nothing_is_found():
    work = requests((0, 8, 1), (10**6, 8, 1), prefix_tokens=4, prefixes=[[5, 6], [5, 6]])
    assert steps(engine(work, prefix_caching=False)) == [((8,), (0,)), ((8,), (0,))]


def test_the_last_admitted_is_preempted_and_computes_again_what_was_overwritten():
    made = engine(requests((0, 8, 6), (0, 8, 6)), kv_blocks=5)
    found = steps(made)
    assert found[:2] == [((8, 8), (0, 0)), ((1,), (8,))]  # the first one takes the fifth block
    assert made.served().preemptions.tolist() == [0, 1]
    assert found[6:] == [((5,), (4,)), *(((1,), (held,)) for held in range(9, 13))]  # its tail was given out first


def test_nothing_is_admitted_in_a_step_that_preempts():
    work = requests((0, 8, 6, 1), (0, 8, 6, 2), (1, 1, 1, 0))
    found = steps(engine(work, kv_blocks=5, max_num_seqs=2, by_priority=True))
    assert found[1:3] == [((1,), (8,)), ((1, 1), (9, 0))]  # the third would have had a place and a block at once


def test_the_tokens_of_a_victim_that_was_scheduled_go_to_those_behind_it():
    work = requests((0, 5, 9, 2), (1, 3, 9, 1), (1300, 12, 1, 0))
    found = steps(engine(work, kv_blocks=4, max_num_batched_tokens=6, by_priority=True))
    assert found[:3] == [((5,), (0,)), ((1, 3), (5, 0)), ((1, 1, 4), (6, 3, 0))]
    # the second needs a block, which the first gives; the third then takes 5 of 6 tokens, and the second's blocks
    assert found[3] == ((5,), (4,))


def test_a_block_with_generated_tokens_is_a_requests_own():
    work = requests((0, 6, 5), (10**6, 9, 1), prefix_tokens=4, prefixes=[[1, 2], [1, 2, 3]])
    assert steps(engine(work))[-1] == ((5,), (4,))


def test_without_chunks_a_prompt_may_take_all_tokens_of_a_step():
    assert steps(engine(requests((0, 16, 1)), chunked_prefill=False)) == [((16,), (0,))]


def test_the_lowest_priority_is_preempted_and_returns_its_tokens_to_the_budget():
    work = requests((0, 8, 3, 2), (0, 8, 3, 1))
    made = engine(work, kv_blocks=5, by_priority=True)
    found = steps(made)
    assert found[0] == ((8, 8), (0, 0))
    assert made.served().preemptions.tolist() == [1, 0]
    assert made.served().last_token[1] < made.served().last_token[0]


def test_priority_decides_who_is_admitted():
    made = engine(requests((0, 4, 1, 5), (0, 4, 1, 1), (0, 4, 1, 3)), max_num_seqs=1, by_priority=True)
    steps(made)
    assert np.argsort(made.served().first_token).tolist() == [1, 2, 0]


def test_a_swapped_request_computes_nothing_again_but_its_copies_take_time():
    fast = engine(requests((0, 8, 6), (0, 8, 6)), kv_blocks=5, swapping=True, swap_blocks=9)
    found = steps(fast)
    assert sum(sum(new) for new, _ in found) == 2 * 13
    served = fast.served()
    assert served.swapped == 2 and served.preemptions.tolist() == [0, 1]
    bare = 1000 * len(found) + 37 * 26 + sum(sum(cached) for _, cached in found)
    assert served.end == bare + 2 * (2 * 500)
    assert fast.state.counts[at.SWAP_FREE] == 9


def test_what_the_second_tier_has_no_room_for_is_computed_again():
    made = engine(requests((0, 8, 6), (0, 8, 6)), kv_blocks=5, swapping=True, swap_blocks=1)
    assert sum(sum(new) for new, _ in steps(made)) > 2 * 13
    assert made.served().swapped == 0


def test_times_hold_the_front_end_and_what_the_engine_takes_between_steps():
    made = engine(requests((5_000_000, 3, 2)), profile(step_us=2, step_sequence_us=1, front_end_us=4))
    steps(made)
    served = made.served()
    assert served.first_scheduled.tolist() == [9_000_000]
    first = 9_000_000 + 1000 + 3 * 37 + 3_000_000
    assert served.first_token.tolist() == [first]
    assert served.last_token.tolist() == [first + 1000 + 37 + 3 + 3_000_000]


def test_with_asynchronous_scheduling_a_request_waits_for_one_step_more():
    work = requests((0, 4, 5), (100, 4, 1))  # the second comes while the first one's prompt is computed
    assert [len(new) for new, _ in steps(engine(work, profile()))] == [1, 2, 1, 1, 1]
    assert [len(new) for new, _ in steps(engine(work, profile(ahead=True)))] == [1, 1, 2, 1, 1]


def test_with_asynchronous_scheduling_an_idle_engine_begins_at_once():
    made = engine(requests((0, 4, 1), (100, 4, 1), (10**6, 4, 1)), profile(ahead=True))
    steps(made)
    assert made.served().first_scheduled.tolist() == [0, 1148, 10**6]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({}, "request 2: expected at most 30 tokens, the model's context, found 34"),
        ({"chunked_prefill": False, "max_num_batched_tokens": 20},
         "request 2: expected at most 20 tokens, those of a step without chunked prefill, found 34"),
        ({"kv_blocks": 8}, "request 2: expected at most 8 KV blocks of 4 tokens, found 9"),
    ],
)  # fmt: skip
def test_what_can_never_be_served_is_refused(limits, sentence):
    context = 30 if not limits else 100
    with pytest.raises(InputError, match=sentence):
        Limits(**{"kv_blocks": 100, "block_tokens": 4, **limits}).require(requests((0, 2, 2), (0, 30, 4)), context)


def test_the_last_token_needs_no_room():
    Limits(kv_blocks=8, block_tokens=4).require(requests((0, 29, 4)), 33)


@st.composite
def engines(draw):
    longest, block = draw(st.integers(2, 40)), draw(st.sampled_from([1, 2, 4, 16]))
    rows, prefixes, now = [], [], 0
    size = draw(st.sampled_from([0, 2, 3, 8]))
    for _ in range(draw(st.integers(1, 8))):
        prompt = draw(st.integers(1, longest - 1))
        now += draw(st.integers(0, 4000))
        rows.append((now, prompt, draw(st.integers(1, longest - prompt)), draw(st.integers(0, 2))))
        if size:
            kind, same = draw(st.integers(0, 2)), draw(st.integers(0, 4))
            count = -(-prompt // size)
            prefixes.append([kind if i < same else 100 * (1 + len(rows)) + i for i in range(count)])
    work = requests(*rows, prefix_tokens=size, prefixes=prefixes or None)
    swapping = draw(st.booleans())
    return engine(
        work,
        profile(front_end_us=draw(st.sampled_from([0, 0.001]))),
        block_tokens=block,
        kv_blocks=-(-longest // block) + draw(st.integers(0, 20)),
        max_num_seqs=draw(st.integers(1, 6)),
        max_num_batched_tokens=draw(st.integers(1, 40)),
        by_priority=draw(st.booleans()),
        prefix_caching=draw(st.booleans()),
        swapping=swapping,
        swap_blocks=draw(st.integers(0, 12)) if swapping else 0,
    )


@settings(max_examples=300, deadline=None)
@given(engines())
def test_budget_places_and_blocks_are_kept_and_every_token_comes_once(made):
    state, kv, work = made.state, made.kv, made.workload
    given = np.zeros(len(work), np.int64)
    ends = []
    while made.done < len(work):
        before = state.produced.copy()
        step = made.step(Timer())
        given += state.produced - before
        ends.append(made.clock[0])
        if step is not None:
            assert step.tokens <= made.limits.max_num_batched_tokens
            assert len(step.new_tokens) <= made.limits.max_num_seqs
        held = sum(int(state.held[place]) for place in range(len(state.held)) if state.owner[place] != -1)
        assert int(kv.holders.sum()) == held
        assert kv.free[0] == int((kv.holders == 0).sum()) >= 0
        assert (state.computed < work.prompts + np.maximum(state.produced, 1)).all()
        assert len(ends) < 5000
    assert (given == work.outputs).all()
    assert kv.free[0] == made.limits.kv_blocks and state.counts[at.SWAP_FREE] == made.limits.swap_blocks
    served = made.served()
    assert (served.first_scheduled >= served.arrival).all() and (served.first_token <= served.last_token).all()
    assert served.intervals.sum() == (work.outputs - 1).sum()
    assert served.steps == len(ends) and (np.diff(ends) >= 0).all()


def test_a_step_in_which_the_only_one_that_could_run_gives_way_computes_nothing_and_the_next_one_goes_on():
    """Two blocks of 2 tokens: the first runs with 1 token and the second, of a higher priority, fills the other block.

    When the first needs its second block, it has the largest key itself, and gives way before the second is reached.
    """
    made = engine(requests((0, 1, 3, 1), (500, 2, 2, 0)), block_tokens=2, kv_blocks=2, max_num_seqs=2, by_priority=True)
    tokens = []
    while made.done < 2:
        step = made.step(Timer())
        tokens.append(None if step is None else step.new_tokens)
        assert len(tokens) < 20
    assert None in tokens and made.state.preemptions.tolist() == [1, 0]
