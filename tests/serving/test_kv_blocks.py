"""KV blocks: the order in which free ones are given out, and what they still hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.serving.kv_blocks import NONE, find, give_back, hold, mark, new_blocks, take


def test_blocks_go_out_by_number_and_then_in_the_order_in_which_they_came_back():
    kv = new_blocks(3)
    assert [take(kv) for _ in range(3)] == [0, 1, 2]
    for block in (1, 2, 0):
        give_back(kv, block)
    assert [take(kv) for _ in range(3)] == [1, 2, 0]


def test_a_free_block_is_found_until_it_is_given_out_again():
    kv = new_blocks(2)
    block = take(kv)
    mark(kv, block, 70)
    give_back(kv, block)
    assert find(kv, 70) == block
    take(kv)
    assert find(kv, 70) == block
    assert take(kv) == block and find(kv, 70) == NONE


def test_a_block_that_is_held_again_leaves_the_middle_of_the_queue():
    kv = new_blocks(3)
    hold(kv, 1)
    assert kv.free[0] == 2
    assert [take(kv), take(kv)] == [0, 2]


def test_a_block_with_two_holders_is_free_when_both_have_given_it_back():
    kv = new_blocks(1)
    take(kv)
    hold(kv, 0)
    give_back(kv, 0)
    assert kv.free[0] == 0
    give_back(kv, 0)
    assert kv.free[0] == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(1, 6))
def test_blocks_are_those_of_a_list_and_a_dictionary(data, count):
    """Any order of taking, marking, sharing and giving back, beside plain Python."""
    kv, queue, holders, marked = new_blocks(count), list(range(count)), [0] * count, {}
    order = []  # blocks with an identity, in the order in which they got it
    for _ in range(data.draw(st.integers(1, 40))):
        held = [block for block in range(count) if holders[block]]
        action = data.draw(st.sampled_from(["take", "mark", "hold", "give back"]))
        if action == "take" and queue:
            block = queue.pop(0)
            assert take(kv) == block
            holders[block] = 1
            if block in marked:
                del marked[block]
                order.remove(block)
        elif action == "hold":
            block = data.draw(st.integers(0, count - 1))
            hold(kv, block)
            holders[block] += 1
            if block in queue:
                queue.remove(block)
        elif action == "give back" and held:
            block = data.draw(st.sampled_from(held))
            give_back(kv, block)
            holders[block] -= 1
            if not holders[block]:
                queue.append(block)
        elif action == "mark" and (bare := [block for block in held if block not in marked]):
            block = data.draw(st.sampled_from(bare))
            marked[block] = data.draw(st.sampled_from([3, 4, 3 + 2 * count + 1]))  # the last shares a bucket with 3
            order.append(block)
            mark(kv, block, marked[block])
        assert kv.free[0] == len(queue)
        for identity in (3, 4, 3 + 2 * count + 1):
            assert find(kv, identity) == next((block for block in order if marked[block] == identity), NONE)
