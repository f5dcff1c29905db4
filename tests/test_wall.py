"""Wall time by part: what is spent in a part and in none inside it, so that the parts sum to the whole."""

import pytest

from ndpsim.wall import Account, Part


class Clock:
    """A clock that stands still but for what is spent."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def account(clock):
    return Account(clock)


def spent(account):
    return {part: seconds for part, seconds in account.so_far().items() if seconds}


def test_a_part_inside_another_takes_its_time_from_it(account, clock):
    policy, timing = Part(account, "policy"), Part(account, "timing_kernels")
    clock.spend(1)
    with policy:
        clock.spend(2)
        with timing:
            clock.spend(4)
        clock.spend(8)
        with timing, policy:
            clock.spend(16)
    clock.spend(32)
    assert spent(account) == {"other": 33, "policy": 26, "timing_kernels": 4}


def test_the_account_can_be_read_inside_a_part_and_goes_on(account, clock):
    with Part(account, "trace"):
        clock.spend(1)
        assert spent(account) == {"trace": 1}
        clock.spend(2)
    assert spent(account) == {"trace": 3}


def test_a_part_ends_when_an_error_leaves_it(account, clock):
    with pytest.raises(ValueError, match="x"), Part(account, "trace"):
        clock.spend(1)
        raise ValueError("x")
    clock.spend(2)
    assert spent(account) == {"trace": 1, "other": 2}


def test_it_can_begin_anew(account, clock):
    with Part(account, "trace"):
        clock.spend(1)
    account.begin()
    clock.spend(2)
    assert spent(account) == {"other": 2}


def test_a_function_can_be_a_part(account, clock):
    @Part(account, "writing")
    def write(x, *, y):
        """Write."""
        clock.spend(x)
        return y

    assert write(3, y=4) == 4 and write.__doc__ == "Write."
    assert spent(account) == {"writing": 3}
