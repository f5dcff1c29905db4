"""The gaps that the NDP stream controller keeps, looked up in a standard; STREAM_CONTROLLER.md has them.

They are one table, gap[earlier command, later command, scope], filled from the pairs in `_KEPT`; a pair that is not
there cannot be looked up, and a standard that has a rule for it is refused.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError
from ndpsim.jit import merged

ALWAYS_SHORT = 1 << 40  # bursts that no train has
COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "REF")
ACT, PRE, PREA, RD, WR, REF = range(6)
SCOPES = ("bank", "bank_group", "rank")
BANK, BANK_GROUP, RANK = range(3)
_COMMANDS, _SCOPES = len(COMMANDS), len(SCOPES)
_KEPT = {
    ("bank", "ACT"): "ACT PRE",
    ("bank", "PRE"): "ACT RD WR",
    ("bank", "RD"): "ACT",
    ("bank", "WR"): "ACT",
    ("bank_group", "ACT"): "ACT",
    ("bank_group", "RD"): "RD WR",
    ("bank_group", "WR"): "RD WR",
    ("rank", "ACT"): "ACT PREA REF",
    ("rank", "PRE"): "PRE PREA",
    ("rank", "PREA"): " ".join(COMMANDS),
    ("rank", "RD"): "RD WR",
    ("rank", "WR"): "RD WR",
    ("rank", "REF"): " ".join(COMMANDS),
}
"""By scope and later command: the earlier ones."""
_MAX_TICKS = 1 << 20  # a picosecond; leaves int64 some two simulated seconds at the least, and 10**6 s at DDR5-4800

Ints = NDArray[np.int64]


class Kind(NamedTuple):
    """The bursts of one kind of stream; gaps in clocks, from first clock to first clock.

    command: RD or WR, as the table counts them. latency: from the command to the end of its data, which take the last
    `data` clocks of it. near, far: gaps between bursts of the stream in different bank groups and in the same.

    Of trains in one bank, and of those that rotate over all bank groups, see `hidden.py`: long, the bursts of a long
    train; again, the clocks from its last burst to the first of the next in other rows of its banks, if that begins in
    the bank group behind the last burst; opened, the clocks to the first burst of a train from when on its banks may
    be activated, all of which are closed.
    """

    command: int
    clocks: int
    latency: int
    data: int
    near: int
    far: int
    long: tuple[int, int]
    again: tuple[int, int]
    opened: tuple[int, int]


class Timing(NamedTuple):
    """A standard as the stream engine sees it: all times in clocks, from first clock to first clock.

    table: int64[108], the gap between any two commands, which `between` looks up. tck is the clock period in ticks, of
    which there are `ticks` a picosecond, so that both are integers.
    """

    bank_groups: int
    banks: int
    ahead: int
    queue: int
    tck: int
    ticks: int
    interval: int  # from refresh to refresh; 0: none
    shared_bus: bool  # by row and column commands
    act_clocks: int
    prea_clocks: int
    ref_clocks: int
    window: int  # `window_gap` is from the window-th latest ACT; 0: there is no such rule
    window_gap: int
    table: Ints
    reads: Kind
    writes: Kind


def place(earlier: int, later: int, scope: int) -> int:
    """Return where in the table the gap between two commands in a scope is."""
    return (later * _SCOPES + scope) * _COMMANDS + earlier


@merged
def between(table: Any, earlier: int, later: int, scope: int) -> int:
    """Return the gap between two commands in a scope; 0 if the controller keeps none."""
    return int(table[(later * _SCOPES + scope) * _COMMANDS + earlier])


@merged
def after(m: Any, table: Any, later: int, cycle: int) -> int:
    """Return the first cycle from `cycle` on for a command that waits for the latest commands of all kinds.

    m: those of the rank, in the order of COMMANDS.
    """
    row = (later * _SCOPES + RANK) * _COMMANDS
    for earlier in range(_COMMANDS):
        cycle = max(cycle, m[earlier] + table[row + earlier])
    return cycle


def largest_gap(standard: Standard, scope: str, earlier: str, later: str) -> int:
    """Return the largest gap in clocks between two commands in a scope, 0 if none; tFAW and its like are left out."""
    return max(
        (row.gap for row in standard.constraints
         if (row.scope, row.earlier, row.later) == (scope, earlier, later) and row.window == 1),
        default=0,
    )  # fmt: skip


def gaps_of(standard: Standard, ahead: int, queue: int) -> Timing:
    """Return the engine's view of a standard, in which no train is long yet; see `timing_of`."""
    _require_kept(standard)
    clocks = standard.clocks

    def kind_of(command: int, latency: int) -> Kind:
        near = int(table[place(command, command, RANK)])
        return Kind(
            command=command,
            clocks=clocks[COMMANDS[command]],
            latency=latency + standard.timing["nBL"],
            data=standard.timing["nBL"],
            near=near,
            far=max(near, int(table[place(command, command, BANK_GROUP)])),
            long=(ALWAYS_SHORT, ALWAYS_SHORT),
            again=(0, 0),
            opened=(0, 0),
        )

    table = _table(standard)
    windows = [row for row in standard.constraints if row.window > 1]
    refresh = standard.refresh.get("all_bank")
    return Timing(
        bank_groups=standard.organization.bank_groups,
        banks=standard.organization.banks,
        ahead=ahead,
        queue=queue,
        tck=standard.tck_ps.numerator,
        ticks=standard.tck_ps.denominator,
        interval=refresh.interval if refresh else 0,
        shared_bus=any("ACT" in bus and "RD" in bus for bus in standard.busses),
        act_clocks=clocks["ACT"],
        prea_clocks=clocks["PREA"],
        ref_clocks=clocks["REF"],
        window=windows[0].window if windows else 0,
        window_gap=windows[0].gap if windows else 0,
        table=table,
        reads=kind_of(RD, standard.read_latency),
        writes=kind_of(WR, standard.write_latency),
    )


def _table(standard: Standard) -> Ints:
    """Return the gaps that the controller keeps: the standard's, and never less than a bus needs for a command."""
    table = np.zeros(_COMMANDS * _SCOPES * _COMMANDS, np.int64)
    for (scope, later), kept in _KEPT.items():
        for earlier in kept.split():
            one_bus = any(earlier in bus and later in bus for bus in standard.busses)
            least = standard.clocks[earlier] if one_bus else 0
            at = place(COMMANDS.index(earlier), COMMANDS.index(later), SCOPES.index(scope))
            table[at] = max(largest_gap(standard, scope, earlier, later), least)
    return table


def _require_kept(standard: Standard) -> None:
    """Refuse a standard with a rule that the controller would break without knowing."""

    def refuse(what: str, expected: str, found: int | None = None) -> InputError:
        end = "" if found is None else f", found {found}"
        return InputError(f"{standard.name}: {what}: expected {expected} in a standard for NDP streams{end}")

    windows = set()
    for row in standard.constraints:
        pair = f"{row.rule} ({row.earlier} to {row.later}, {row.scope})"
        if row.scope == "other_rank" or row.gap <= 0 or not {row.earlier, row.later} <= set(COMMANDS):
            continue
        if row.window > 1:
            windows.add(row)
            if (row.scope, row.earlier, row.later) != ("rank", "ACT", "ACT"):
                raise refuse(pair, "a window over the ACTs of a rank only")
        elif row.earlier not in _KEPT.get((row.scope, row.later), "").split():
            through_act = largest_gap(standard, "rank", "REF", "ACT") + largest_gap(standard, "bank", "ACT", row.later)
            if (row.scope, row.earlier) != ("rank", "REF") or row.gap > through_act:
                raise refuse(pair, "no such gap")
    if len(windows) > 1:
        raise refuse(" and ".join(sorted(row.rule for row in windows)), "one window only")
    if standard.clocks["PRE"] != 1:
        raise refuse("PRE", "a command of one clock")
    bus = {command: number for number, names in enumerate(standard.busses) for command in names}
    if len({bus[name] for name in ("ACT", "PRE", "PREA", "REF")}) > 1 or bus["RD"] != bus["WR"]:
        raise refuse("command busses", "all row commands on one and all column commands on one")
    for kind in ("RD", "WR"):
        gap, least = largest_gap(standard, "rank", kind, kind), standard.timing["nBL"]
        if gap < least:
            raise refuse(f"{kind} to {kind}, rank", f"a gap of at least nBL, {least}", gap)
    refresh = standard.refresh.get("all_bank")
    if refresh and 0 < refresh.interval <= largest_gap(standard, "rank", "REF", "REF"):
        raise refuse("refresh", "an interval longer than a refresh", refresh.interval)
    if standard.tck_ps.denominator > _MAX_TICKS:
        raise refuse("data rate", f"a clock period in picoseconds with a denominator of at most {_MAX_TICKS}",
                     standard.tck_ps.denominator)  # fmt: skip
