"""Random legal logs of every standard, each command at or a little after its first legal clock by the slow checker."""

from oracles import slow_checker as slow
from oracles.slow_checker import Cmd


class LegalLog:
    """Draws commands for two ranks; `why[i]` are the rules for which command i could not have come a clock sooner."""

    def __init__(self, standard, bus, draw):
        self.standard, self.bus, self.draw = standard, bus, draw
        self.log, self.why = [], []
        self.names = [
            "ACT",
            "ACT",
            "ACT",
            "PRE",
            "PREA",
            "RD",
            "RD",
            "WR",
            "WR",
            "REF",
            *slow.OF_A_SET[standard.family],
        ]

    def grow(self, length):
        while len(self.log) < length:
            command = self.candidate()
            if self.is_sensible(command):
                self.place(command)
        return self

    def candidate(self):
        organization, draw = self.standard.organization, self.draw
        place = {
            "rank": draw.randrange(2),
            "pseudo": draw.randrange(organization.pseudo_channels),
            "channel": draw.choice([0, 0, 0, 1]),
        }
        group, bank = draw.randrange(min(3, organization.bank_groups)), draw.randrange(2)
        name = draw.choice(self.names)
        opened = [c for c in self.log if c.name == "ACT"]
        if name in (*slow.COLUMN, "PRE") and opened and draw.random() < 0.9:
            like = draw.choice(opened[-6:])
            place = {"rank": like.rank, "pseudo": like.pseudo, "channel": like.channel}
            group, bank = like.group, like.bank
        if name in ("RD", "WR"):
            name = draw.choice([name, name, name, name + "A", name + "N"])
        if name in slow.SETS:
            group, bank = draw.randrange(organization.bank_groups), draw.randrange(organization.banks)
        if name in ("PREA", "REF"):
            return Cmd(0, name, **place)
        return Cmd(0, name, group=group, bank=bank, row=5, column=0, **place)

    def is_sensible(self, command):
        """Return whether the states of the banks allow the command and, of a refresh, whether it has its turn."""
        rows = slow.open_rows(self.log, self.standard)
        if any(slow.state_faults(rows, command, self.standard)):
            return False
        return ("refresh_turn", len(self.log)) not in slow.refresh_faults([*self.log, command], self.standard)

    def first_clocks(self, command):
        """Yield (rule, first legal clock) for all rules that may hold the command back."""
        family = self.standard.family
        length = slow.clocks_of(command.name, family)
        for i, earlier in enumerate(self.log):
            for rule, clock in slow.demands(self.log, i, command, self.standard):
                yield rule, clock - length + 1
            if slow.bus_of(earlier, self.bus, family) == slow.bus_of(command, self.bus, family):
                yield "command_bus", earlier.cycle + slow.clocks_of(earlier.name, family)
            if earlier.name in slow.COLUMN and command.name in slow.COLUMN:
                latency = slow.burst_begins(command, self.standard) - command.cycle
                for rule, gap in slow.burst_rules(earlier, command, self.standard, self.bus):
                    yield rule, slow.burst_begins(earlier, self.standard) + gap - latency
        for rule, clock in slow.window_demand(self.log, command, self.standard):
            yield rule, clock - length + 1

    def place(self, command):
        clocks = [*self.first_clocks(command)]
        now = self.log[-1].cycle if self.log else 0
        cycle = max([now, *(clock for _, clock in clocks)]) + self.draw.choice([0, 0, 0, 0, 1, 5])
        self.log.append(command._replace(cycle=cycle))
        self.why.append({rule for rule, clock in clocks if clock == cycle and cycle > 0})
