"""Random legal logs of all standards are accepted, and not if a command comes a clock sooner than what binds it."""

import random

import pytest
from dram.checker.legal_logs import LegalLog
from dram.logs import NAMES, broken, two_ranks

from ndpsim.dram.standard.standard import with_overrides


def legal_log(name, seed):
    draw = random.Random(seed)
    overrides = {"nRFC": 90, "nFAW": draw.choice([26, 60]), "nRC": draw.choice([60, 130])}
    standard = with_overrides(two_ranks(name), overrides)
    return LegalLog(standard, draw.choice(["rank", "channel", "shared"]), draw).grow(50)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_a_legal_log_is_accepted_and_no_command_of_it_can_come_a_clock_sooner(name, seed):
    legal = legal_log(name, seed)
    assert broken(legal.log, legal.bus, legal.standard) == {}
    for place, rules in enumerate(legal.why):
        if rules:
            early = legal.log[place]._replace(cycle=legal.log[place].cycle - 1)
            found = broken([*legal.log[:place], early, *legal.log[place + 1 :]], legal.bus, legal.standard)
            assert rules <= found.keys(), early


@pytest.mark.parametrize("name", NAMES)
def test_legal_logs_come_to_what_binds_in_the_standard(name):
    bound = set().union(*(rule for seed in range(8) for rule in legal_log(name, seed).why))
    assert len(bound) > 14, bound
