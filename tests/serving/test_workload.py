"""Requests as arrays: what is refused, and what is filled in."""

import numpy as np
import pytest

from ndpsim.errors import InputError
from ndpsim.serving.workload import Workload


def ints(*values):
    return np.array(values, np.int64)


def test_priorities_and_prefixes_are_none_where_nothing_is_said():
    requests = Workload(ints(0, 5), ints(3, 4), ints(1, 2))
    assert requests.priorities.tolist() == [0, 0]
    assert requests.prefix_starts.tolist() == [0, 0, 0]
    assert len(requests) == 2
    assert requests.longest == 6


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"arrivals": ints()}, "requests: expected at least one, found none"),
        ({"arrivals": ints(4, 3)}, "request 2: arrivals: expected picoseconds not before those of the request ahead"),
        ({"arrivals": ints(-1, 3)}, "request 1: arrivals: expected at least 0, found -1"),
        ({"prompts": ints(1, 0)}, "request 2: prompts: expected at least 1, found 0"),
        ({"outputs": ints(0, 1)}, "request 1: outputs: expected at least 1, found 0"),
        ({"outputs": ints(1)}, "outputs: expected 2 entries, found 1"),
        ({"priorities": ints(1)}, "priorities, prefix_starts: expected 2 and 3 entries"),
        (
            {"prefix_tokens": 2, "prefixes": ints(7, 8, 9), "prefix_starts": ints(0, 1, 3)},
            "request 1: prefixes: expected one for each 2 tokens of its prompt, found 1",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, text):
    with pytest.raises(InputError, match=text):
        Workload(**({"arrivals": ints(0, 1), "prompts": ints(3, 4), "outputs": ints(1, 2)} | fields))


def test_one_prefix_stands_for_the_rest_of_a_prompt():
    requests = Workload(ints(0), ints(5), ints(1), prefix_tokens=2, prefixes=ints(1, 2, 3), prefix_starts=ints(0, 3))
    assert requests.prefixes.tolist() == [1, 2, 3]
