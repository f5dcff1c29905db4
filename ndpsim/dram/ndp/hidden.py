"""Trains whose own row commands are hidden behind the bursts of the train before: nothing has to be searched for them.

The controller sends the row commands of a train ahead, while trains before it are read. If the train before is *long*,
they are over before it is, and so the first burst waits for the bursts before it and for the MAC array alone. Why that
is so, and what "long" means, with the commands of one rank from left to right:

                     F (first burst of long train A)             last bursts of A, L the very last
                     |                                           |
    bursts   ..zzzzz AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB..
    rows     a a       e  e  e  e                                 (late)
             |         |
             |         early: for B and the next trains, in other banks than A's or other rows of idle banks
             for A: before F, since A could not begin without them

    time          |<-- settled: gap + queues + gap -->|
                     F                                F + settled <= L

1. All row commands up to A's are before F: a train begins when its rows are open.
2. From F on the controller may send those of the next `ahead` trains. Of a queue of n precharges and n activates, each
   is sent a gap behind the one before it at the latest, and a few clocks more where the bus is taken. So the *early*
   ones are over at F + gap + (queues), and another gap later none of them binds anything, nor does anything before F.
   `_settled` is that bound, and A is long if its last bursts come later: `Kind.long` bursts.
3. What is not early is *late*: it waits, directly or in its queue, for one of the last bursts in a bank of A, because
   it closes that bank; or for what comes after.

It follows that for a long train B behind a long train A

- B's first burst waits for the last bursts of A (in the rank, and in the bank group), for the MAC array, and for its
  own row commands only if they are late: if B goes to another row of a bank of A. All else has expired then, so that
  they take a constant time, `Kind.again`. After a refresh they take a constant time too, `Kind.opened`.
- What comes after B depends neither on when commands before F were sent, nor on when early ones were. B may therefore
  leave its row commands out of the state of its rank: whoever looks for them finds older ones, which have expired as
  well.

This is about times alone: open rows, bursts and counts are kept for every train.
`tests/properties/test_quiet_trains.py` compares with the general way, and with the per-cycle reference.
"""

from ndpsim.dram.ndp import gaps
from ndpsim.dram.ndp.gaps import COMMANDS, SCOPES, Kind, Timing, place


def with_long_trains(t: Timing) -> Timing:
    """Return the timing with the bounds and constants of long trains in both kinds of streams."""
    return t._replace(reads=_with_long_trains(t, t.reads), writes=_with_long_trains(t, t.writes))


def _with_long_trains(t: Timing, kind: Kind) -> Kind:
    (a, far), (b, near) = (1, kind.far), (t.bank_groups, kind.near)
    return kind._replace(
        long=(a - -_settled(t, kind, a) // far, b - -_settled(t, kind, b) // near),
        again=(_first_burst(t, kind, a, far, True), _first_burst(t, kind, b, near, True)),
        opened=(_first_burst(t, kind, a, far, False), _first_burst(t, kind, b, near, False)),
    )


def _gap(t: Timing, earlier: int, later: int, scope: int) -> int:
    return int(t.table[place(earlier, later, scope)])


def _settled(t: Timing, kind: Kind, touched: int) -> int:
    """Return clocks from the first burst of a train until nothing before it binds, nor row commands that were early.

    touched: banks of a train. The early commands are those for the next `ahead` trains, n activates and n precharges.
    One of a queue is issued at the latest

    - a gap behind F, or behind the one before it in its queue, or an activate behind its precharge,
    - and as many clocks later as the bus is taken: an activate by one burst (two leave room for it between them), a
      precharge by bursts and by activates, each of which delays one precharge only.

    The gap is the longest of the table. Those behind a REF are left out: no train begins before they are over.
    """
    if t.shared_bus and kind.near < kind.clocks + t.act_clocks:
        return gaps.ALWAYS_SHORT  # activates wait for the end of the train
    gap = max(
        t.act_clocks,
        t.window_gap,
        *(
            _gap(t, earlier, later, scope)
            for earlier in range(len(COMMANDS))
            for later in range(len(COMMANDS))
            for scope in range(len(SCOPES))
            if earlier != gaps.REF
        ),
    )
    n = t.ahead * touched
    precharges = n * _gap(t, gaps.PRE, gaps.PRE, gaps.RANK) + 2 * n * (t.act_clocks + kind.clocks)
    apart = max(
        _gap(t, gaps.ACT, gaps.ACT, gaps.RANK),
        _gap(t, gaps.ACT, gaps.ACT, gaps.BANK_GROUP),
        -(-t.window_gap // max(t.window, 1)),
    )
    activates = _gap(t, gaps.PRE, gaps.ACT, gaps.BANK) + n * (apart + t.act_clocks - 1 + kind.clocks)
    return 1 + gap + precharges + activates + gap


def _first_burst(t: Timing, kind: Kind, touched: int, pace: int, again: bool) -> int:
    """Return the clock of the first burst of a train whose banks are opened from clock 0 on, all else having expired.

    again: clock 0 is that of the last burst of a train that had the same banks open, in the same order and at the same
    pace; else they are closed, and the bus is free.
    """

    def behind_bursts(cycle: int, clocks: int) -> int:
        burst = -((kind.clocks - 1 - cycle) // pace) * pace  # the next one
        taken = again and t.shared_bus and burst <= min(cycle + clocks - 1, 0)
        return burst + kind.clocks if taken else cycle

    pre_pre = _gap(t, gaps.PRE, gaps.PRE, gaps.RANK)
    acts: list[int] = []
    first = 0
    precharge = -touched * pace - pre_pre
    for k in range(touched):
        cycle = 0
        if again:
            last = (k - touched + 1) * pace  # burst in the bank
            cycle = max(precharge + pre_pre, last + _gap(t, kind.command, gaps.PRE, gaps.BANK))
            precharge = cycle - 1
            while precharge != cycle:
                precharge = behind_bursts(cycle, 1)
                on_bus = [act for act in acts if act <= precharge < act + t.act_clocks]
                cycle = on_bus[0] + t.act_clocks if on_bus else precharge
            cycle = precharge + _gap(t, gaps.PRE, gaps.ACT, gaps.BANK)
        cycle = max([cycle, *(act + _gap(t, gaps.ACT, gaps.ACT, gaps.RANK) for act in acts[-1:])])
        if 0 < t.window <= len(acts):
            cycle = max(cycle, acts[-t.window] + t.window_gap)
        acts.append(behind_bursts(cycle, t.act_clocks))
        first = max(first, acts[-1] + t.act_clocks, acts[-1] + _gap(t, gaps.ACT, kind.command, gaps.BANK) - k * pace)
    return first
