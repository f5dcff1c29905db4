"""The checker against its slow twin on any log, and on legal logs from a device that knows what may come when."""

import random

import pytest
from dram.logs import command_log
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.slow_checker import Cmd, slow_counts

from ndpsim.dram.checker import check
from ndpsim.dram.log import COMMANDS
from ndpsim.dram.standard import load_standard, with_overrides

DDR4 = load_standard("DDR4-3200-Hermes")
FEW = {"nRFC": 40, "nREFI": 60, "nFAW": 40}
gaps = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 12, 14, 23, 24, 25, 30, 52, 90, -3, 700])
commands = st.builds(
    lambda gap, *fields: (gap, Cmd(0, *fields)),
    gaps,
    st.sampled_from(COMMANDS),
    st.integers(0, 1) | st.integers(-1, 4),
    st.integers(0, 1) | st.integers(-1, 2),
    st.integers(0, 1) | st.integers(-1, 4),
    st.sampled_from([-1, 3, 3, 3, 4, 1 << 17]),
    st.sampled_from([-1, 0, 127, 128]),
    st.sampled_from([0, 0, 0, 1, -1]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(commands, max_size=40),
    st.sampled_from(["rank", "channel"]),
    st.fixed_dictionaries(
        {"nRRD_L": st.sampled_from([2, 6, 9]), "nCCD_L": st.sampled_from([2, 8]), "nRC": st.just(70)}
    ),
)
def test_any_log_breaks_the_rules_as_often_as_the_slow_checker_says(steps, bus, overrides):
    standard = with_overrides(DDR4, FEW | overrides)
    cycle, log = 0, []
    for gap, command in steps:
        cycle = max(cycle + gap, 0)
        log.append(command._replace(cycle=cycle))
    counts = check(command_log(log, bus), standard).counts
    assert {rule: count for rule, count in counts.items() if count} == slow_counts(log, standard, bus)


@pytest.mark.parametrize("seed", range(60))
def test_a_busy_log_breaks_the_rules_as_often_as_the_slow_checker_says(seed):
    draw = random.Random(seed)
    overrides = FEW | {"nWTR_S": draw.choice([4, 30]), "nRRD_S": draw.choice([4, 12]), "nCCD_S": draw.choice([4, 12])}
    standard = with_overrides(DDR4, overrides)
    bus, cycle, log = draw.choice(["rank", "channel"]), 0, []
    for _ in range(70):
        cycle += draw.choice([0, 1, 2, 3, 4, 5, 6, 8, 12, 25, 60])
        place = [draw.randrange(2) for _ in range(3)]
        log.append(Cmd(cycle, draw.choice(["ACT", "RD", "WR", *COMMANDS]), *place, draw.choice([-1, 3, 3, 4]), 0))
    counts = check(command_log(log, bus), standard).counts
    assert {rule: count for rule, count in counts.items() if count} == slow_counts(log, standard, bus)


class Device:
    """Two ranks of DDR4 that remember, for each bank and command, the first clock at which it may come, and why."""

    def __init__(self, timing, bus):
        self.t, self.bus = timing, bus
        self.ready = {}
        self.open = set()
        self.activates = {0: [], 1: []}
        self.precharge_from = {}
        self.bursts = []

    def hold(self, names, rank, group, bank, cycle, rule):
        """Hold back commands in one bank, or in all that match: None is any group or bank, ~group any other group."""
        for g in range(2):
            for b in range(4):
                if (group is None or g == group or (group < 0 and g != ~group)) and bank in (None, b):
                    for name in names.split():
                        self.ready.setdefault((name, rank, g, b), []).append((cycle, rule))

    def issue(self, c):
        t, r, g, b, now = self.t, c.rank, c.group, c.bank, c.cycle
        for rank in (0, 1) if self.bus == "channel" else (r,):
            self.hold(" ".join(COMMANDS), rank, None, None, now + 1, "command_bus")
        if c.name == "ACT":
            self.open.add((r, g, b))
            self.activates[r] = [*self.activates[r], now][-4:]
            self.hold("RD WR RDA WRA", r, g, b, now + t["nRCD"], "tRCD")
            self.hold("PRE", r, g, b, now + t["nRAS"], "tRAS")
            self.hold("PREA", r, None, None, now + t["nRAS"], "tRAS")
            self.hold("ACT", r, g, b, now + t["nRC"], "tRC")
            self.hold("REF", r, None, None, now + t["nRC"], "tRC")
            self.hold("ACT", r, g, None, now + t["nRRD_L"], "tRRD_L")
            self.hold("ACT", r, ~g, None, now + t["nRRD_S"], "tRRD_S")
            self.precharge_from[r, g, b] = now + t["nRAS"]
            if len(self.activates[r]) == 4:
                self.hold("ACT", r, None, None, self.activates[r][0] + t["nFAW"], "tFAW")
        elif c.name in ("RD", "RDA"):
            self.hold("RD RDA", r, g, None, now + t["nCCD_L"], "tCCD_L")
            self.hold("RD RDA", r, ~g, None, now + t["nCCD_S"], "tCCD_S")
            self.hold("WR WRA", r, None, None, now + t["nCL"] + t["nBL"] + 2 - t["nCWL"], "tRTW")
            self.hold("PRE", r, g, b, now + t["nRTP"], "tRTP")
            self.hold("PREA", r, None, None, now + t["nRTP"], "tRTP")
            self.bursts.append((now + t["nCL"], r))
        elif c.name in ("WR", "WRA"):
            end = now + t["nCWL"] + t["nBL"]
            self.hold("WR WRA", r, g, None, now + t["nCCD_L"], "tCCD_L")
            self.hold("WR WRA", r, ~g, None, now + t["nCCD_S"], "tCCD_S")
            self.hold("RD RDA", r, g, None, end + t["nWTR_L"], "tWTR_L")
            self.hold("RD RDA", r, ~g, None, end + t["nWTR_S"], "tWTR_S")
            self.hold("PRE", r, g, b, end + t["nWR"], "tWR")
            self.hold("PREA", r, None, None, end + t["nWR"], "tWR")
            self.bursts.append((now + t["nCWL"], r))
        if c.name == "REF":
            self.hold(" ".join(COMMANDS), r, None, None, now + t["nRFC"], "tRFC")
        if c.name in ("PRE", "PREA", "RDA", "WRA"):
            begins = now
            if c.name in ("RDA", "WRA"):
                wait = t["nRTP"] if c.name == "RDA" else t["nCWL"] + t["nBL"] + t["nWR"]
                begins = max(self.precharge_from[r, g, b], now + wait)
            everything = c.name == "PREA"
            self.open = {k for k in self.open if k[0] != r or not (everything or k == (r, g, b))}
            self.hold("ACT", r, None if everything else g, None if everything else b, begins + t["nRP"], "tRP")
            self.hold("REF", r, None, None, begins + t["nRP"], "tRP")

    def reasons(self, c):
        """Return all (first clock, rule) that hold the command back."""
        group, bank = max(c.group, 0), max(c.bank, 0)
        reasons = [(0, "start"), *self.ready.get((c.name, c.rank, group, bank), [])]
        if c.name in ("RD", "WR", "RDA", "WRA"):
            latency = self.t["nCL"] if c.name in ("RD", "RDA") else self.t["nCWL"]
            for begin, rank in self.bursts:
                if rank == c.rank:
                    reasons.append((begin + self.t["nBL"] - latency, "data_bus"))
                elif self.bus == "channel":
                    reasons.append((begin + self.t["nBL"] + 2 - latency, "rank_gap"))
        return reasons

    def may(self, c):
        if c.name == "ACT":
            return (c.rank, c.group, c.bank) not in self.open
        if c.name == "REF":
            return all(key[0] != c.rank for key in self.open)
        return c.name in ("PRE", "PREA") or (c.rank, c.group, c.bank) in self.open


@st.composite
def legal_logs(draw):
    """Draw a bus, a standard, a legal log, and for each command the rules that it waited for."""
    bus = draw(st.sampled_from(["rank", "channel"]))
    overrides = {"nRFC": 90, "nRC": draw(st.sampled_from([60, 76, 100])), "nFAW": draw(st.sampled_from([26, 60]))}
    standard = with_overrides(DDR4, overrides)
    device, log, why, now = Device(standard.timing, bus), [], [], 0
    for _ in range(draw(st.integers(1, 40))):
        name = draw(st.sampled_from(["ACT", "ACT", *COMMANDS]))
        rank, group, bank = draw(st.integers(0, 1)), draw(st.integers(0, 1)), draw(st.integers(0, 3))
        if name in ("RD", "WR", "RDA", "WRA", "PRE") and device.open and draw(st.integers(0, 9)):
            rank, group, bank = draw(st.sampled_from(sorted(device.open)))
        command = Cmd(0, name, rank) if name in ("PREA", "REF") else Cmd(0, name, rank, group, bank, 5, 0)
        if not device.may(command):
            continue
        reasons = device.reasons(command)
        first = max(max(clock for clock, _ in reasons), now)
        now = first + draw(st.sampled_from([0, 0, 0, 1, 5]))
        why.append({rule for clock, rule in reasons if clock == now and rule != "start"})
        log.append(command._replace(cycle=now))
        device.issue(log[-1])
    return bus, standard, log, why


@settings(max_examples=150, deadline=None)
@given(legal_logs())
def test_a_legal_log_is_accepted_and_no_command_of_it_can_come_a_clock_sooner(drawn):
    bus, standard, log, why = drawn
    assert check(command_log(log, bus), standard).first == []
    for place, rules in enumerate(why):
        if rules:
            early = log[place]._replace(cycle=log[place].cycle - 1)
            counts = check(command_log([*log[:place], early], bus), standard).counts
            assert all(counts[rule] for rule in rules), (rules, counts)
