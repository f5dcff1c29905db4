"""Row commands of a rank: the precharges and activates of a train, and refreshes, each in its cycle.

Trains are taken in order, and for each one the cycles of its row commands follow from a few "earliest" times. They are
issued ahead, so they must keep clear of bursts of earlier trains: see `command_bus.py`.
"""

from typing import Any, NamedTuple

from ndpsim.dram import address_map
from ndpsim.dram.address_map import MapArrays
from ndpsim.dram.ndp import gaps, rank_state
from ndpsim.dram.ndp.command_bus import Beat, after_acts, after_bursts
from ndpsim.dram.ndp.gaps import between
from ndpsim.dram.ndp.rank_state import Places, write_command
from ndpsim.jit import borrowing, merged


class NdpRules(NamedTuple):
    """What row commands keep in a stream of bursts of one kind, RD or WR, which is `column`; see `gaps.Timing`."""

    table: Any
    column: int
    bank_groups: int
    banks: int
    ahead: int
    interval: int
    shared_bus: bool
    act_clocks: int
    prea_clocks: int
    ref_clocks: int
    window: int
    window_gap: int


@merged
def place_of(amap: MapArrays, groups: int, digit: int, local: int) -> tuple[int, int, int]:
    """Return bank group, bank and row of the burst at a local address.

    digit: the first one of the address map that says more than where in a run a burst is.
    """
    bank = row = 0
    group = local & (groups - 1) if amap.rotating == 1 else 0
    for i in range(digit, amap.digits.shape[0]):
        part = (local >> amap.digits[i, 0] & amap.digits[i, 1]) << amap.digits[i, 3]
        field = amap.digits[i, 2]
        if field == address_map.BANK_GROUP:
            group |= part
        elif field == address_map.BANK:
            bank |= part
        elif field == address_map.ROW:
            row |= part
    return group, bank, row


@borrowing
def refresh(rules: NdpRules, m: Any, counters: Any, at: Places, begin: int, unit: int, ranks: int, log: Any) -> int:
    """Do the refreshes that are due by `begin`, when the next train would be taken up; return when it is.

    m, counters: those of the rank. A refresh precharges all banks, if one is open.
    """
    while m[rank_state.DUE] <= begin:
        cycle = max(m[rank_state.DUE], m[rank_state.FREE])
        highest = -1
        for bank in range(rules.bank_groups * rules.banks):
            b = at.banks + bank * rank_state.BANK_SIZE + rank_state.OPEN_ROW
            highest = max(highest, m[b])
            m[b] = -1
        if highest >= 0:
            precharge = gaps.after(m, rules.table, gaps.PREA, cycle)
            m[rank_state.LAST_PREA] = precharge
            counters[rank_state.N_PREA] += 1
            if log is not None:
                write_command(log, precharge, rank_state.PREA, unit, ranks, -1, -1, -1, -1)
            cycle = precharge + rules.prea_clocks
        cycle = gaps.after(m, rules.table, gaps.REF, cycle)
        m[rank_state.LAST_REF] = cycle
        m[rank_state.FREE] = cycle + rules.ref_clocks
        m[rank_state.DUE] += rules.interval
        counters[rank_state.N_REF] += 1
        if log is not None:
            write_command(log, cycle, rank_state.REF, unit, ranks, -1, -1, -1, -1)
        begin = max(begin, cycle + between(rules.table, gaps.REF, gaps.ACT, gaps.RANK))
    return begin


@borrowing
def open_banks(rules: NdpRules, beat: Beat, m: Any, counters: Any, at: Places, train: int, begin: int, group: int,
               bank: int, row: int, touched: int, unit: int, ranks: int, log: Any) -> int:  # fmt: skip
    """Issue the row commands of a train, and return the earliest cycle of its first burst as far as its banks go.

    train: its number in the rank; begin: when it is taken up; touched: banks, from bank group `group` on. The first
    burst comes so late that no timing of the DRAM stops another one of the train.
    """
    table, column = rules.table, rules.column
    first = rank_state.NEVER
    pre_from = act_from = train - rules.ahead  # the trains before are over
    last_pre, last_act = m[rank_state.LAST_PRE], m[rank_state.LAST_ACT]
    seen = m[rank_state.ACTS_SEEN]
    closed = m[rank_state.LAST_PREA]
    pre_begin = max(begin, closed + between(table, gaps.PREA, gaps.PRE, gaps.RANK))
    act_begin = max(begin, closed + between(table, gaps.PREA, gaps.ACT, gaps.RANK))
    for k in range(touched):
        number = (group + k) & (rules.bank_groups - 1)
        b = at.banks + (number * rules.banks + bank) * rank_state.BANK_SIZE
        g = at.groups + number * rank_state.GROUP_SIZE
        if m[b + rank_state.OPEN_ROW] != row:
            cycle = m[b + rank_state.BANK_PRE]
            if m[b + rank_state.OPEN_ROW] >= 0:
                cycle = max(pre_begin, last_pre + between(table, gaps.PRE, gaps.PRE, gaps.RANK))
                cycle = max(cycle, m[b + rank_state.BANK_ACT] + between(table, gaps.ACT, gaps.PRE, gaps.BANK))
                cycle = max(cycle, m[b + rank_state.BANK_READ] + between(table, gaps.RD, gaps.PRE, gaps.BANK))
                cycle = max(cycle, m[b + rank_state.BANK_WRITE] + between(table, gaps.WR, gaps.PRE, gaps.BANK))
                last = begin - 1
                while cycle > last:
                    last = cycle
                    if rules.shared_bus:
                        last, pre_from = after_bursts(m, at, pre_from, train, beat, cycle, 1)
                    cycle = after_acts(m, at, seen, rules.act_clocks, last)
                m[b + rank_state.BANK_PRE] = cycle
                last_pre = cycle
                counters[rank_state.N_PRE] += 1
                if log is not None:
                    write_command(log, cycle, rank_state.PRE, unit, ranks, number, bank, -1, -1)
            cycle = max(act_begin, cycle + between(table, gaps.PRE, gaps.ACT, gaps.BANK))
            cycle = max(cycle, m[b + rank_state.BANK_ACT] + between(table, gaps.ACT, gaps.ACT, gaps.BANK))
            cycle = max(cycle, m[g + rank_state.GROUP_ACT] + between(table, gaps.ACT, gaps.ACT, gaps.BANK_GROUP))
            cycle = max(cycle, last_act + between(table, gaps.ACT, gaps.ACT, gaps.RANK))
            cycle = max(cycle, m[at.acts + (seen - rules.window & at.acts_ring - 1)] + rules.window_gap)
            if rules.shared_bus:
                cycle, act_from = after_bursts(m, at, act_from, train, beat, cycle, rules.act_clocks)
            m[at.acts + (seen & at.acts_ring - 1)] = cycle
            seen += 1
            last_act = cycle
            first = max(first, cycle + rules.act_clocks)
            m[b + rank_state.BANK_ACT] = cycle
            m[g + rank_state.GROUP_ACT] = cycle
            counters[rank_state.N_ACT] += 1
            if log is not None:
                write_command(log, cycle, rank_state.ACT, unit, ranks, number, bank, row, -1)
        cycle = m[b + rank_state.BANK_ACT] + between(table, gaps.ACT, column, gaps.BANK)
        cycle = max(cycle, m[g + rank_state.GROUP_READ] + between(table, gaps.RD, column, gaps.BANK_GROUP))
        cycle = max(cycle, m[g + rank_state.GROUP_WRITE] + between(table, gaps.WR, column, gaps.BANK_GROUP))
        first = max(first, cycle - k * beat.pace)
    m[rank_state.LAST_PRE], m[rank_state.LAST_ACT], m[rank_state.ACTS_SEEN] = last_pre, last_act, seen
    return first
