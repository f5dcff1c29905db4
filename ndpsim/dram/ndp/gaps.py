"""The gaps that the NDP stream controller keeps, looked up in a standard; STREAM_CONTROLLER.md has them."""

from typing import NamedTuple

from ndpsim.dram.standard.standard import Standard
from ndpsim.errors import InputError

ALWAYS_SHORT = 1 << 40  # bursts that no train has
COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "REF")
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

PerCommand = tuple[int, int, int, int, int, int]


class Kind(NamedTuple):
    """What holds for the bursts of one kind, RD or WR, of a stream; gaps in clocks, from first clock to first clock.

    latency: from the command to the end of its data, which take the last `data` clocks of it. near, far: gaps between
    bursts of the stream in different bank groups and in the same. after_x: gaps from earlier commands, in the rank
    unless the name says otherwise.

    Of trains in one bank, and of those that rotate over all bank groups, see `quiet_train.py`: long, the bursts of a
    long train; again, the clocks from its last burst to the first of the next in other rows of its banks, if that
    begins in the bank group behind the last burst; opened, the clocks to the first burst of a train from when on its
    banks may be activated, all of which are closed.
    """

    write: bool
    clocks: int
    latency: int
    data: int
    near: int
    far: int
    after_act_in_bank: int
    after_read: int
    after_write: int
    after_read_in_group: int
    after_write_in_group: int
    long: tuple[int, int]
    again: tuple[int, int]
    opened: tuple[int, int]


class Timing(NamedTuple):
    """A standard as the stream engine sees it: all gaps in clocks, from first clock to first clock.

    `x_y` is the gap from X to Y; `before_prea` and `before_ref` are by earlier command, in the order of COMMANDS. tck
    is the clock period in ticks, of which there are `ticks` a picosecond, so that both are integers.
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
    reads: Kind
    writes: Kind
    act_act_bank: int
    act_act_group: int
    act_act_rank: int
    window: int  # the gap act_act_window is from the window-th latest ACT; 0: there is no such rule
    act_act_window: int
    pre_act: int
    prea_act: int
    ref_act: int
    act_pre: int
    read_pre: int
    write_pre: int
    pre_pre: int
    prea_pre: int
    before_prea: PerCommand
    before_ref: PerCommand


def gap(standard: Standard, scope: str, earlier: str, later: str) -> int:
    """Return the largest gap in clocks between two commands in a scope, 0 if none; tFAW and its like are left out."""
    return max(
        (row.gap for row in standard.constraints
         if (row.scope, row.earlier, row.later) == (scope, earlier, later) and row.window == 1),
        default=0,
    )  # fmt: skip


def timing_of(standard: Standard, ahead: int, queue: int) -> Timing:
    """Return the engine's view of a standard; ahead, queue: the controller's depths, in trains and in bursts.

    Raises InputError naming the rule if the standard has one that the controller does not keep.
    """
    _require_kept(standard)
    clocks = standard.clocks

    def get(scope: str, earlier: str, later: str) -> int:
        return gap(standard, scope, earlier, later)

    def kind_of(name: str, latency: int) -> Kind:
        near = max(get("rank", name, name), clocks[name])
        return Kind(
            write=name == "WR",
            clocks=clocks[name],
            latency=latency + standard.timing["nBL"],
            data=standard.timing["nBL"],
            near=near,
            far=max(near, get("bank_group", name, name)),
            after_act_in_bank=get("bank", "ACT", name),
            after_read=max(get("rank", "RD", name), clocks["RD"]),
            after_write=max(get("rank", "WR", name), clocks["WR"]),
            after_read_in_group=get("bank_group", "RD", name),
            after_write_in_group=get("bank_group", "WR", name),
            long=(ALWAYS_SHORT, ALWAYS_SHORT),
            again=(0, 0),
            opened=(0, 0),
        )

    def before(later: str) -> PerCommand:
        act, pre, prea, read, write, ref = (get("rank", earlier, later) for earlier in COMMANDS)
        return act, pre, prea, read, write, ref

    windows = [row for row in standard.constraints if row.window > 1]
    refresh = standard.refresh.get("all_bank")
    timing = Timing(
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
        reads=kind_of("RD", standard.read_latency),
        writes=kind_of("WR", standard.write_latency),
        act_act_bank=get("bank", "ACT", "ACT"),
        act_act_group=get("bank_group", "ACT", "ACT"),
        act_act_rank=max(get("rank", "ACT", "ACT"), clocks["ACT"]),
        window=windows[0].window if windows else 0,
        act_act_window=windows[0].gap if windows else 0,
        pre_act=max(get("bank", "PRE", "ACT"), clocks["PRE"]),
        prea_act=get("rank", "PREA", "ACT"),
        ref_act=max(get("rank", "REF", "ACT"), clocks["REF"]),
        act_pre=get("bank", "ACT", "PRE"),
        read_pre=get("bank", "RD", "PRE"),
        write_pre=get("bank", "WR", "PRE"),
        pre_pre=max(get("rank", "PRE", "PRE"), clocks["PRE"]),
        prea_pre=get("rank", "PREA", "PRE"),
        before_prea=before("PREA"),
        before_ref=before("REF"),
    )
    return timing._replace(
        reads=_with_long_trains(timing, timing.reads), writes=_with_long_trains(timing, timing.writes)
    )


def _with_long_trains(t: Timing, kind: Kind) -> Kind:
    (a, far), (b, near) = (1, kind.far), (t.bank_groups, kind.near)
    return kind._replace(
        long=(a - -_settled(t, kind, a) // far, b - -_settled(t, kind, b) // near),
        again=(_first_burst(t, kind, a, far, True), _first_burst(t, kind, b, near, True)),
        opened=(_first_burst(t, kind, a, far, False), _first_burst(t, kind, b, near, False)),
    )


def _settled(t: Timing, kind: Kind, touched: int) -> int:
    """Return clocks from the first burst of a train until nothing before it binds, nor row commands that were early.

    touched: banks of a train. The early commands are those for the next `ahead` trains, n activates and n precharges.
    One of a queue is issued at the latest

    - a gap behind F, or behind the one before it in its queue, or an activate behind its precharge,
    - and as many clocks later as the bus is taken: an activate by one burst (two leave room for it between them), a
      precharge by bursts and by activates, each of which delays one precharge only.
    """
    if t.shared_bus and kind.near < kind.clocks + t.act_clocks:
        return ALWAYS_SHORT  # activates wait for the end of the train
    gap = max(
        t.act_act_bank, t.act_act_group, t.act_act_rank, t.act_act_window, t.act_clocks, t.pre_act, t.prea_act,
        t.act_pre, t.read_pre, t.write_pre, t.pre_pre, t.prea_pre, *t.before_prea[:2], *t.before_ref[:2],
        kind.after_act_in_bank, kind.after_read, kind.after_write, kind.after_read_in_group, kind.after_write_in_group,
    )  # fmt: skip
    n = t.ahead * touched
    precharges = n * t.pre_pre + 2 * n * (t.act_clocks + kind.clocks)
    apart = max(t.act_act_rank, t.act_act_group, -(-t.act_act_window // max(t.window, 1)))
    activates = t.pre_act + n * (apart + t.act_clocks - 1 + kind.clocks)
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

    acts: list[int] = []
    first = 0
    precharge = -touched * pace - t.pre_pre
    for k in range(touched):
        cycle = 0
        if again:
            last = (k - touched + 1) * pace  # burst in the bank
            cycle = max(precharge + t.pre_pre, last + (t.write_pre if kind.write else t.read_pre))
            precharge = cycle - 1
            while precharge != cycle:
                precharge = behind_bursts(cycle, 1)
                on_bus = [act for act in acts if act <= precharge < act + t.act_clocks]
                cycle = on_bus[0] + t.act_clocks if on_bus else precharge
            cycle = precharge + t.pre_act
        cycle = max([cycle, *(act + t.act_act_rank for act in acts[-1:])])
        if 0 < t.window <= len(acts):
            cycle = max(cycle, acts[-t.window] + t.act_act_window)
        acts.append(behind_bursts(cycle, t.act_clocks))
        first = max(first, acts[-1] + t.act_clocks, acts[-1] + kind.after_act_in_bank - k * pace)
    return first


def _require_kept(standard: Standard) -> None:
    """Refuse a standard with a rule that the controller would break without knowing."""

    def refuse(what: str, expected: str) -> InputError:
        return InputError(f"{standard.name}: {what}: expected {expected} in a standard for NDP streams")

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
            through_act = gap(standard, "rank", "REF", "ACT") + gap(standard, "bank", "ACT", row.later)
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
        if gap(standard, "rank", kind, kind) < standard.timing["nBL"]:
            raise refuse(f"{kind} to {kind}, rank", f"a gap of at least nBL, {standard.timing['nBL']}")
    refresh = standard.refresh.get("all_bank")
    if refresh and 0 < refresh.interval <= gap(standard, "rank", "REF", "REF"):
        raise refuse("refresh", "an interval longer than a refresh")
    if standard.tck_ps.denominator > _MAX_TICKS:
        raise refuse("data rate", f"a clock period in picoseconds with a denominator of at most {_MAX_TICKS}")
