"""Per-cycle reference of a rank whose banks work in lockstep, written from STREAM_CONTROLLER.md, "Bank-level streams".

It asks in every clock what the stream needs next, and issues it if no row of the standard's table forbids it. Nothing
is computed ahead; the only memory is the list of all cycles in which each command was issued.
"""

from collections import defaultdict
from fractions import Fraction
from math import ceil
from typing import NamedTuple

LogEntry = tuple[int, str, int, int, int, int]  # cycle, command, bank group, bank, row, column
CLOSED = -1


class Rule(NamedTuple):
    """`later` at least `gap` clocks after the `window`-th latest `earlier` in the scope."""

    scope: str
    earlier: str
    later: str
    gap: int
    window: int


def rules_of(standard, activates):
    """The standard's rules for one rank, with those between activates as the power rule has them."""
    rules = [
        Rule(row.scope, row.earlier, row.later, row.gap, row.window)
        for row in standard.constraints
        if row.scope != "other_rank"
    ]
    of_acts = [rule for rule in rules if rule.earlier == rule.later == "ACT" and rule.scope != "bank"]
    (w,) = {rule.window for rule in of_acts if rule.window > 1}
    if activates in (None, w):
        return rules
    changed = []
    for rule in of_acts:
        if activates == 0:
            continue
        if rule.window > 1:
            changed.append(rule._replace(window=activates))
        elif activates > w:
            changed.append(rule._replace(gap=ceil(Fraction(rule.gap * w, activates))))
        else:
            changed.append(rule)
    return [rule for rule in rules if rule not in of_acts] + changed


class BankController:
    """All banks of a rank, ticked clock by clock; the state lasts from stream to stream."""

    def __init__(self, standard, activates, depth, first_due):
        self.standard = standard
        self.rules = rules_of(standard, activates)
        self.depth = depth
        self.due = first_due
        self.interval = standard.refresh["all_bank"].interval
        organization = standard.organization
        self.banks = [(g, b) for b in range(organization.banks) for g in range(organization.bank_groups)]
        self.history = defaultdict(list)  # cycles by (command, scope, place)
        self.busy_until = 0  # the first clock in which no command is on a bus
        self.open_row = CLOSED
        self.log: list[LogEntry] = []

    def run(self, trains, kind, start, service_ps):
        """Tick through a stream of (row, bursts); return when it is done, in picoseconds, exactly."""
        tck = Fraction(self.standard.tck_ps)
        data = self.standard.timing["nBL"]
        latency = data + (self.standard.read_latency if kind == "RD" else self.standard.write_latency)
        take_up, done = start, start * tck
        finished = []
        for row, bursts in trains:
            now = take_up
            while self.interval and self.due <= take_up:
                now = max(self.due, self.busy_until)
                if self.open_row != CLOSED:
                    now = self._issue("PREA", now)
                    self.open_row = CLOSED
                now = self._issue("REF", now)
                self.due += self.interval
                gaps = [r.gap for r in self.rules if (r.earlier, r.later, r.scope) == ("REF", "ACT", "rank")]
                take_up = now = max(take_up, self.log[-1][0] + max(gaps, default=0), self.busy_until)
            if self.open_row not in (CLOSED, row):
                now = self._issue("PREA", now)
                self.open_row = CLOSED
            if self.open_row == CLOSED:
                for group, bank in self.banks:
                    now = self._issue("ACT", now, group, bank, row)
                self.open_row = row
            for column in range(bursts):
                if kind == "RD" and finished:
                    room = finished[-1] - (self.depth - 1) * service_ps
                    while (now + latency) * tck < room:
                        now += 1
                now = self._issue(kind + "ab", now, -1, -1, row, column)
                arrival = (self.log[-1][0] + latency) * tck
                done = arrival
                if kind == "RD":
                    finished.append(max(arrival, finished[-1] if finished else 0) + service_ps)
                    done = finished[-1]
            take_up = now
        return done

    def _issue(self, command, now, group=-1, bank=-1, row=-1, column=-1):
        """Tick from `now` on until the command is legal, issue it, and return the clock after it."""
        single = command.removesuffix("ab")
        clocks = self.standard.clocks[single]
        while now < self.busy_until or not self._legal(single, now, group, bank):
            now += 1
        places = {("rank", None)}
        where = [(group, bank)] if command == "ACT" else self.banks if command.endswith("ab") else []
        for g, b in where:
            places |= {("bank_group", g), ("bank", (g, b))}
        for place in places:
            self.history[(single, *place)].append(now)
        self.busy_until = now + clocks
        self.log.append((now, command, group, bank, row, column))
        return self.busy_until

    def _legal(self, command, now, group, bank):
        for rule in self.rules:
            if rule.later != command:
                continue
            places = {
                "rank": [None],
                "bank_group": [group] if command == "ACT" else sorted({g for g, _ in self.banks}),
                "bank": [(group, bank)] if command == "ACT" else self.banks,
            }[rule.scope]
            if command in ("PREA", "REF") and rule.scope != "rank":
                continue
            for place in places:
                past = self.history[(rule.earlier, rule.scope, place)]
                if len(past) >= rule.window and now < past[-rule.window] + rule.gap:
                    return False
        return True
