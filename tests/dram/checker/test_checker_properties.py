"""The checker against its slow twin: on any log, on busy ones, on such with many refreshes, and cut in pieces."""

import random

import pytest
from dram.logs import NAMES, command_log, quick
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.slow_checker import Cmd, slow_counts

from ndpsim.dram.checker.checker import StreamChecker, check
from ndpsim.dram.log.log import COMMANDS
from ndpsim.errors import InputError

gaps = st.sampled_from([0, 1, 1, 2, 3, 4, 5, 6, 8, 12, 14, 23, 24, 25, 30, 52, 90, -3, 700])
commands = st.builds(
    lambda gap, *fields: (gap, Cmd(0, *fields)),
    gaps,
    st.sampled_from(COMMANDS),
    st.integers(0, 1) | st.integers(-1, 4),
    st.integers(0, 1) | st.integers(-1, 8),
    st.integers(0, 1) | st.integers(-1, 4),
    st.sampled_from([-1, 3, 3, 3, 4, 1 << 20]),
    st.sampled_from([-1, 0, 31, 128]),
    st.sampled_from([0, 0, 0, 1, -1]),
    st.sampled_from([0, 0, 0, 1, -1]),
    st.sampled_from([0, 0, 0, 1, 2, -1]),
)
bus_kinds = st.sampled_from(["rank", "channel", "shared"])


def broken(log, standard, bus):
    return {rule: count for rule, count in check(command_log(log, bus), standard).counts.items() if count}


def in_pieces(log, standard, bus, cuts):
    checker, whole = StreamChecker(standard, bus), command_log(log, bus)
    for start, stop in zip([0, *cuts], [*cuts, len(log)], strict=True):
        checker.add(whole.part(slice(start, stop)))
    return checker.finish()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES), st.lists(commands, max_size=40), bus_kinds, st.integers(0, 3))
def test_any_log_breaks_the_rules_as_often_as_the_slow_checker_says(name, steps, bus, seed):
    standard = quick(name, seed)
    cycle, log = 0, []
    for gap, command in steps:
        cycle = max(cycle + gap, 0)
        log.append(command._replace(cycle=cycle))
    assert broken(log, standard, bus) == slow_counts(log, standard, bus)


def busy_log(draw, standard, length=70):
    """Return commands at a few banks of two ranks, in quick succession."""
    cycle, log = 0, []
    names = [name for name in COMMANDS if name in standard.clocks or name[2:] in ("N", "ab")]
    names += draw.choice([["ACT", "RD", "WR"] * 3, ["REF"] * 9, ["REFsb"] * 20 + ["REFpb"] * 20])
    pseudo_channels = draw.choice([1, standard.organization.pseudo_channels])
    for _ in range(length):
        cycle += draw.choice([0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 25, 60])
        place = [draw.randrange(2) for _ in range(3)]
        command = Cmd(cycle, draw.choice(names), *place, draw.choice([-1, 3, 3, 4]), 0)
        if command.name in ("REFsb", "REFpb"):
            command = command._replace(group=draw.randrange(standard.organization.bank_groups), bank=draw.randrange(4))
        log.append(command._replace(pseudo=draw.randrange(pseudo_channels)))
    return log


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(12))
def test_a_busy_log_breaks_the_rules_as_often_as_the_slow_checker_says(seed, name):
    draw = random.Random(seed)
    standard, bus = quick(name, seed), draw.choice(["rank", "channel", "shared"])
    log = busy_log(draw, standard)
    assert broken(log, standard, bus) == slow_counts(log, standard, bus)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(9))
def test_a_log_cut_anywhere_breaks_the_same_rules_as_the_whole(seed, name):
    draw = random.Random(seed)
    standard, bus = quick(name, seed), draw.choice(["rank", "channel", "shared"])
    log = busy_log(draw, standard, 600)
    if seed % 3 == 0:  # one channel after the other
        log += [command._replace(channel=1) for command in busy_log(draw, standard, 200)]
    if seed % 3 == 1:  # a little out of order
        log = [command._replace(cycle=max(0, command.cycle - draw.randrange(40))) for command in log]
    cuts = sorted(draw.choices(range(len(log) + 1), k=draw.choice([1, 7, 50])))
    assert in_pieces(log, standard, bus, cuts) == check(command_log(log, bus), standard)


def test_a_log_in_pieces_takes_a_memory_that_does_not_grow():
    standard, checker, draw = quick("DDR5-4800B", 0), StreamChecker(quick("DDR5-4800B", 0)), random.Random(0)
    held = []
    for piece in range(40):
        log = [c._replace(cycle=c.cycle + 40_000 * piece) for c in busy_log(draw, standard, 1000)]
        checker.add(command_log(log, "channel"))
        held.append(len(checker._held.cycle))
    assert max(held) < 400 and checker.finish().commands == 40_000


def test_pieces_that_come_too_late_are_refused_and_others_of_another_bus_too():
    standard = quick("DDR4-3200AA", 0)
    checker = StreamChecker(standard)
    checker.add(command_log([Cmd(5000, "PREA", 0), Cmd(9000, "PREA", 0)], "channel"))
    checker.add(command_log([Cmd(5, "PREA", 0, channel=1)], "channel"))
    with pytest.raises(
        InputError, match=r"^log: expected pieces out of order by at most \d+ clocks, found PREA rank 1 at"
    ):
        checker.add(command_log([Cmd(9001, "PREA", 0), Cmd(5001, "PREA", 1)], "channel"))
    with pytest.raises(InputError, match=r"^log: bus: expected 'channel' as in the pieces before, found 'rank'"):
        StreamChecker(standard).add(command_log([], "rank"))
