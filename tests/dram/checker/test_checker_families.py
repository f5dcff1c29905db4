"""What DDR5, LPDDR5X and HBM add: refreshes of sets of banks, long commands, more busses, and the NDP unit's data."""

from dataclasses import replace

import pytest
from dram.logs import NAMES, act, broken, command_log, of_set, pre, prea, rd, ref, spelt, two_ranks, wr
from oracles.slow_checker import Cmd

from ndpsim.dram.checker.checker import check
from ndpsim.dram.standard.standard import load_standard, with_overrides
from ndpsim.errors import InputError

DDR4, DDR5, LPDDR5X, HBM2E, HBM3 = (two_ranks(name) for name in NAMES)


def judge(commands, standard, bus="channel"):
    return broken([spelt(command, standard) for command in commands], bus, standard)


def test_refresh_of_a_set_needs_its_banks_closed_and_no_others():
    assert judge([act(0, group=5, bank=1), of_set(200, bank=1)], DDR5) == {"ref_open_bank": 1}
    assert judge([act(0, group=5, bank=1), of_set(200, bank=0)], DDR5) == {}
    assert judge([act(0, group=3), of_set(200, group=1)], LPDDR5X) == {"ref_open_bank": 1}
    assert judge([act(0, group=2), of_set(200, group=1)], LPDDR5X) == {}
    assert judge([act(0, group=3), of_set(200, group=3)], HBM3) == {"ref_open_bank": 1}
    assert judge([act(0, group=3), of_set(200, group=1)], HBM3) == {}
    assert judge([act(0, group=3), prea(100), of_set(200, group=3)], HBM3) == {}


def test_a_refreshed_set_is_busy_and_others_are_not():
    for name, family in zip(NAMES[1:], ("sb", "pb", "pb", "pb"), strict=True):
        standard = two_ranks(name)
        assert judge([of_set(100), pre(500)], standard) == {}
        assert judge([act(0, bank=1), of_set(150), rd(160, bank=1)], standard) == {}
        assert judge([of_set(100), pre(101)], standard) == {f"tRFC{family}": 1}
        assert judge([of_set(100), prea(101)], standard) == {f"tRFC{family}": 1}
        assert judge([of_set(100), pre(101, bank=1)], standard) == {}


def test_a_set_of_lpddr5x_has_two_bank_groups():
    assert judge([of_set(1000, group=1), pre(1010, group=3)], LPDDR5X) == {"tRFCpb": 1}
    assert judge([of_set(1000, group=3), pre(1010, group=1)], LPDDR5X) == {"tRFCpb": 1}
    assert judge([of_set(1000, group=1), pre(1010, group=2)], LPDDR5X) == {}


def in_turn(standard, rounds=1, first=0):
    """Return refreshes of all sets, each its interval after the one before, the first at cycle 0."""
    refresh = standard.refresh["same_bank" if standard.family == "DDR5" else "per_bank"]
    groups = standard.organization.bank_groups // refresh.covers_groups
    sets = [(group, bank) for bank in range(standard.organization.banks) for group in range(groups)] * rounds
    return [of_set((first + i) * refresh.interval, *place) for i, place in enumerate(sets)], refresh.interval


@pytest.mark.parametrize("standard", [DDR5, LPDDR5X, HBM2E, HBM3], ids=NAMES[1:])
def test_sets_are_refreshed_in_turn_in_any_order(standard):
    commands, interval = in_turn(standard)
    cycles = [command.cycle for command in commands]
    other_way = [command._replace(cycle=cycle) for command, cycle in zip(commands[::-1], cycles, strict=True)]
    again = [command._replace(cycle=command.cycle + len(commands) * interval) for command in other_way]
    assert judge([*commands, *again], standard) == {}
    assert judge([*commands[:-1], again[-1]], standard) == {"refresh_turn": 1}
    twice = commands[0]._replace(cycle=(len(commands) - 1) * interval + standard.timing["nRFC"])
    assert judge([*commands[:-1], ref((len(commands) - 1) * interval), twice], standard) == {}


@pytest.mark.parametrize("standard", [DDR5, LPDDR5X, HBM2E, HBM3], ids=NAMES[1:])
def test_as_many_refreshes_of_sets_may_be_owed_as_are_postponed_for_each_set(standard):
    commands, interval = in_turn(standard, 2)
    postponed = 8 * len(commands) // 2
    late = [command._replace(cycle=command.cycle + (postponed + 1) * interval) for command in commands]
    assert judge(late, standard) == {}
    later = [late[0]._replace(cycle=late[0].cycle + 1), *late[1:]]
    assert judge(later, standard) == {"tREFI": 1, "refresh_debt": 1}
    assert judge([late[0], *late[2:]], standard) == {"refresh_debt": len(late) - 2, "refresh_turn": 1}


def test_a_refresh_of_all_banks_pays_for_its_interval_among_those_of_sets():
    commands, interval = in_turn(HBM3)
    between = of_set(100 * interval)
    last = of_set((16 + 1 + 8 * 16 + 1) * interval + 1, bank=1)
    assert judge([*commands, between, last], HBM3) == {"refresh_debt": 1}
    assert judge([*commands, between, last._replace(cycle=last.cycle - 1)], HBM3) == {}
    assert judge([*commands, ref(between.cycle), last], HBM3) == {}
    later = last._replace(cycle=last.cycle + 15 * interval)  # a REF pays for all 16 sets
    assert judge([*commands, ref(between.cycle), later], HBM3) == {"refresh_debt": 1}
    assert judge([*commands, ref(between.cycle), later._replace(cycle=later.cycle - 1)], HBM3) == {}


def test_a_command_that_a_standard_does_not_have_is_named():
    assert judge([Cmd(5, "REFsb", 0, 0, 0)], DDR4) == {"command": 1}
    assert judge([Cmd(5, "REFpb", 0, 0, 0)], DDR5) == {"command": 1}
    assert judge([Cmd(5, "REFpb", 0, 0, 0)], HBM2E) == {}


def test_a_refresh_of_a_set_names_its_bank_group_where_that_matters():
    for group, faults in ((-1, {}), (7, {}), (8, {"address": 1})):
        assert judge([Cmd(5, "REFsb", 0, group, 0)], DDR5) == faults
    for group, faults in ((-1, {"address": 1}), (3, {}), (4, {"address": 1})):
        assert judge([Cmd(5, "REFpb", 0, group, 0)], LPDDR5X) == faults


def test_a_command_of_two_clocks_keeps_its_bus_for_both():
    assert judge([act(10), pre(11, rank=1)], DDR5) == {"command_bus": 1}
    assert judge([act(10), pre(12, rank=1)], DDR5) == {}
    assert judge([act(0), rd(100), pre(101, rank=1)], DDR5) == {"command_bus": 1}
    assert judge([act(0), rd(100), pre(101, rank=1)], LPDDR5X) == {}
    assert judge([act(10), pre(10, rank=1), pre(11, bank=1)], DDR4) == {"command_bus": 1}
    assert judge([act(10), pre(10, rank=1), pre(11, bank=1)], LPDDR5X) == {"command_bus": 2}


def test_rows_and_columns_of_hbm_have_a_command_bus_each_for_both_pseudo_channels():
    opened = [act(0), act(10)._replace(pseudo=1)]
    for standard in (HBM2E, HBM3):
        assert judge([*opened, act(98, group=1), rd(99), wr(100)._replace(pseudo=1)], standard) == {}
        assert judge([*opened, rd(99), rd(99)._replace(pseudo=1)], standard) == {"command_bus": 1}
        assert judge([*opened, pre(99), pre(99)._replace(pseudo=1)], standard) == {"command_bus": 1}
        assert judge([*opened, rd(99), rd(100)._replace(pseudo=1)], standard) == {}
        assert judge([*opened, rd(99), rd(99)._replace(pseudo=1)], standard, "rank") == {"command_bus": 1}


def test_channels_and_pseudo_channels_share_no_rank():
    assert judge([act(0), act(2)._replace(pseudo=1), act(0)._replace(channel=1)], HBM3) == {}
    assert judge([act(0), act(0)._replace(pseudo=1)], DDR4) == {"address": 1}


def test_data_of_the_ndp_unit_stay_off_the_channel():
    opened = [act(0), act(10, group=1), act(20, rank=1)]
    ndp_read = rd(100)._replace(name="RDN")
    assert judge([*opened, ndp_read, rd(101, rank=1)], DDR4) == {}
    assert judge([*opened, ndp_read, rd(101, rank=1)._replace(name="RDN")], DDR4) == {}
    assert judge([*opened, rd(100), rd(101, rank=1)], DDR4) == {"data_bus": 1, "tRTRS": 1}
    close = with_overrides(DDR4, {"nCCD_S": 1})
    assert judge([*opened, ndp_read, rd(103, group=1)], close) == {"data_bus": 1}
    assert judge([*opened, ndp_read, wr(111)._replace(name="WRN")], DDR4) == {"tRTW": 1}
    assert judge([*opened, ndp_read, pre(111)], DDR4) == {"tRTP": 1}
    assert judge([*opened, ndp_read, ndp_read], DDR4) == {"tCCD_L": 1, "command_bus": 1, "data_bus": 1}
    assert judge([ndp_read], DDR4) == {"closed_bank": 1}


def test_ranks_that_ndp_units_share_have_command_busses_of_their_own_and_one_data_bus():
    opened = [act(0), act(0, rank=1)]
    ndp_read = rd(100, rank=1)._replace(name="RDN")
    assert judge([*opened, rd(100), ndp_read], DDR4, "shared") == {}
    assert judge([*opened, rd(100), ndp_read], DDR4) == {"command_bus": 2}
    assert judge([*opened, rd(100), rd(101, rank=1)], DDR4, "shared") == {"data_bus": 1, "tRTRS": 1}
    assert judge([*opened, rd(100), pre(100, bank=1)], DDR4, "shared") == {"command_bus": 1}
    assert judge([act(10), pre(11, bank=1)], DDR5, "shared") == {"command_bus": 1}
    assert judge([act(10), pre(11, rank=1)], DDR5, "shared") == {}
    assert judge([act(10), pre(9, rank=1)], DDR4, "shared") == {"order": 1}
    both = [act(0), act(0)._replace(pseudo=1)]
    assert judge([*both, rd(99), rd(99)._replace(pseudo=1)], HBM3, "shared") == {}


def test_ranks_of_the_log_may_be_more_than_those_of_the_preset():
    standard = load_standard("DDR4-3200AA")
    log = command_log([pre(5, rank=0), pre(6, rank=1), pre(7, rank=5)], "channel")
    assert check(log, standard).counts["address"] == 2
    assert check(log, standard, ranks=5).counts["address"] == 1
    assert check(log, standard, ranks=64).legal


def test_a_standard_of_another_family_or_without_a_timing_is_refused():
    with pytest.raises(InputError, match=r"^standard: expected one of the families DDR4, DDR5, .*, found 'GDDR6'"):
        check(command_log([]), replace(DDR4, family="GDDR6"))
    timing = {name: clocks for name, clocks in DDR4.timing.items() if name != "nRTP"}
    with pytest.raises(InputError, match=r"^standard: nRTP: expected a timing"):
        check(command_log([]), replace(DDR4, timing=timing))


def all_banks(name, cycle, rank=0, row=-1):
    return Cmd(cycle, name, rank, row=row)


def all_open(standard, but=None):
    """Return ACTs of all banks of rank 0 but one, 100 clocks apart."""
    organization = standard.organization
    banks = [(group, bank) for group in range(organization.bank_groups) for bank in range(organization.banks)]
    return [act(100 * i, group=group, bank=bank) for i, (group, bank) in enumerate(banks) if (group, bank) != but]


@pytest.mark.parametrize("standard", [DDR4, DDR5, LPDDR5X, HBM2E, HBM3], ids=NAMES)
def test_a_read_of_all_banks_needs_all_of_them_open_and_counts_as_a_read_in_each(standard):
    opened, t = all_open(standard), standard.timing
    last, read_clocks = opened[-1].cycle, standard.clocks["RD"]
    first = last + t.get("nRCD", t.get("nRCDRD")) + standard.clocks["ACT"] - read_clocks
    assert judge([*opened, all_banks("RDab", first), all_banks("RDab", first + t["nCCD_L"])], standard) == {}
    assert judge([*opened, all_banks("RDab", first - 1)], standard) == {"tRCD" if "nRCD" in t else "tRCDRD": 1}
    assert judge([*opened, all_banks("RDab", first), all_banks("RDab", first + t["nCCD_L"] - 1)], standard) == {
        "tCCD_L": 1
    }
    assert judge([*all_open(standard, but=(1, 1)), all_banks("WRab", first)], standard) == {"closed_bank": 1}
    assert judge([*opened, pre(last + 200, group=2), all_banks("WRab", last + 300)], standard) == {"closed_bank": 1}
    assert judge([*opened, prea(last + 200), all_banks("WRab", last + 300)], standard) == {"closed_bank": 1}
    recovery = t["nRTP"] + read_clocks - 1
    assert judge([*opened, all_banks("RDab", last + 200), pre(last + 200 + recovery)], standard) == {}
    assert judge([*opened, all_banks("RDab", last + 200), pre(last + 199 + recovery, group=3)], standard) == {"tRTP": 1}
    turn = t["nCWL"] + t["nCCD_L" if standard is LPDDR5X else "nBL"] + t["nWTR_L"]
    assert judge([*opened, all_banks("WRab", last + 200), rd(last + 200 + turn, group=2)], standard) == {}
    assert judge([*opened, all_banks("WRab", last + 200), rd(last + 199 + turn, group=2)], standard) == {"tWTR_L": 1}


def test_all_banks_together_put_nothing_on_a_data_bus():
    opened = [act(0, rank=1), *(c._replace(cycle=c.cycle + 1) for c in all_open(DDR4))]
    assert judge([*opened, all_banks("RDab", 3000), rd(3001, rank=1)], DDR4) == {}
    assert judge([*opened, rd(3000), rd(3001, rank=1)], DDR4) == {"data_bus": 1, "tRTRS": 1}
    overlap = with_overrides(DDR4, {"nCCD_S": 1, "nCCD_L": 1})
    assert judge([*opened, all_banks("RDab", 3000), all_banks("RDab", 3001)], overlap) == {}
