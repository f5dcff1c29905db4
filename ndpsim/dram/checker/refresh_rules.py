"""The rules of refresh: how much of it a rank owes, how far two may be apart, and which banks have their turn."""

from collections.abc import Iterator, Mapping

import numpy as np

from ndpsim.dram.checker.latest import Bools, Codes, Commands, Ints, among, stable_order
from ndpsim.dram.checker.rules import REFRESHES
from ndpsim.dram.checker.state_rules import Breach, alone
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.log.runs import start_of_run
from ndpsim.dram.standard.standard import Organization, Refresh

_REF = COMMANDS.index("REF")


class Ledger:
    """The refreshes of a rank up to some cycle: the clocks they pay for, and how often each set had its turn."""

    def __init__(self, sets: int) -> None:
        self.paid = 0
        self.turns = np.zeros(sets, np.int64)  # since the last REF


class RefreshRules:
    """The rules of refresh of one standard.

    A refresh command pays for the clocks of its interval, whatever its kind. A rank may owe as many intervals as may be
    postponed and the one under way, and so far apart may two refreshes be; as many as may be postponed count in
    advance. Where a command refreshes a set of banks, as many may be postponed for each set.
    """

    def __init__(self, refresh: Mapping[str, Refresh], organization: Organization) -> None:
        self.sets = self.groups = 1  # sets of banks in a rank, and bank groups that tell them apart
        self._interval, self._limit, in_advance = np.zeros((3, len(COMMANDS)), np.int64)
        for kind in refresh.values():
            code, sets = COMMANDS.index(kind.command), 1
            if code != _REF:
                self.groups = max(1, organization.bank_groups // kind.covers_groups)
                sets = self.sets = organization.banks * self.groups
            self._interval[code] = kind.interval
            in_advance[code] = kind.postpone * sets * kind.interval
            self._limit[code] = in_advance[code] + kind.interval
        self._in_advance = int(in_advance.max())

    def judge(self, commands: Commands, refresh: Ints, known: int, ledger: Ledger) -> Iterator[Breach]:
        """Yield the breaches by the refreshes of one rank, in order, and enter them in its ledger.

        `refresh` are positions; the first `known` of them were judged, and are in the ledger, already.
        """
        cycle, command = commands.cycle[refresh], commands.command[refresh]
        earlier = np.concatenate([np.full(1, -1), refresh])
        gap = np.diff(cycle, prepend=0)[known:]
        yield from self._over("tREFI", earlier[known:-1], refresh[known:], gap, command[known:])

        refresh, cycle, command = refresh[known:], cycle[known:], command[known:]
        if not len(refresh):
            return
        payments = np.cumsum(self._interval[command])
        counted = np.minimum(ledger.paid, np.minimum.accumulate(cycle + self._in_advance - payments))
        paid = np.concatenate([np.full(1, ledger.paid), payments + counted])
        yield from self._over("refresh_debt", np.full(len(refresh), -1), refresh, cycle - paid[:-1], command)
        ledger.paid = int(paid[-1])
        if self.sets > 1:
            yield alone("refresh_turn", refresh[self._out_of_turn(command, commands.set[refresh], ledger)])

    def at_end(self, commands: Commands, refresh: Ints, ledger: Ledger, end: int) -> Iterator[Breach]:
        """Yield the breaches of a rank at the end of the log; `refresh` is its last, or empty. `later` is -1."""
        command = commands.command[refresh] if len(refresh) else np.full(1, _REF, np.uint8)
        gap = end - (commands.cycle[refresh] if len(refresh) else np.zeros(1, np.int64))
        end_of_log = np.full(1, -1)
        yield from self._over("tREFI", refresh if len(refresh) else end_of_log, end_of_log, gap, command)
        yield from self._over("refresh_debt", end_of_log, end_of_log, np.full(1, end - ledger.paid), command)

    def _over(self, rule: str, earlier: Ints, later: Ints, gap: Ints, command: Codes) -> Iterator[Breach]:
        """Yield the breaches of a rule by which `gap` is at most the limit of the kind of refresh."""
        for kind in (name for name in REFRESHES.split() if self._limit[COMMANDS.index(name)]):
            most = int(self._limit[COMMANDS.index(kind)])
            over = among(kind, command) & (gap > most)
            yield Breach(rule, earlier[over], later[over], gap[over], most)

    def _out_of_turn(self, command: Codes, sets: Ints, ledger: Ledger) -> Bools:
        """Return which refreshes are of a set that had more turns since the last REF than there were full rounds."""
        epoch = np.cumsum(command == _REF)
        one_set = np.flatnonzero(command != _REF)
        sets, mine = sets[one_set], epoch[one_set]
        first = mine == 0  # these go on with the counts of the ledger
        before = np.arange(len(mine)) - start_of_run(mine) + first * ledger.turns.sum()
        by_set = stable_order(mine * self.sets + sets)
        turns = np.empty_like(before)
        turns[by_set] = np.arange(len(mine)) - start_of_run(mine[by_set], sets[by_set])
        turns += first * ledger.turns[sets]

        now = np.bincount(sets[mine == epoch[-1]], minlength=self.sets)
        ledger.turns = now + ledger.turns if epoch[-1] == 0 else now
        out = np.zeros(len(command), np.bool_)
        out[one_set] = turns > before // self.sets
        return out
