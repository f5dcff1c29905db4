import pytest
from dram.logs import act, column, command_log, pre, prea, rd, ref, wr

from ndpsim.dram.checker import check
from ndpsim.dram.rules import RULES
from ndpsim.dram.standard import load_standard, with_overrides

DDR4 = load_standard("DDR4-3200-Hermes")
T = DDR4.timing


def broken(commands, bus="rank", standard=DDR4):
    report = check(command_log(commands, bus), standard)
    assert report.legal == (not any(report.counts.values()))
    assert bool(report.first) != report.legal
    return {rule: count for rule, count in report.counts.items() if count}


def blocked_until(rule, before, command, cycle, *, also=(), bus="rank", standard=DDR4):
    """Check that the command is legal at the cycle, and a clock earlier breaks the rule (and only those in `also`)."""
    assert broken([*before, command._replace(cycle=cycle)], bus, standard) == {}
    assert set(broken([*before, command._replace(cycle=cycle - 1)], bus, standard)) == {rule, *also}


def test_tRCD_holds_back_reads_and_writes():
    for name in ("RD", "WR", "RDA", "WRA"):
        blocked_until("tRCD", [act(10)], column(name, 0), 10 + 24)


def test_tRAS_holds_back_precharge():
    blocked_until("tRAS", [act(10)], pre(0), 10 + 52)


def test_tRAS_of_any_bank_holds_back_precharge_all():
    blocked_until("tRAS", [act(10), act(20, group=1)], prea(0), 20 + 52)


def test_tRC_holds_back_the_next_activate_of_a_bank():
    slow = with_overrides(DDR4, {"nRC": 90})
    blocked_until("tRC", [act(10), pre(62)], act(0), 10 + 90, standard=slow)


def test_tRC_of_any_bank_holds_back_refresh():
    slow = with_overrides(DDR4, {"nRC": 90})
    blocked_until("tRC", [act(10), pre(62)], ref(0), 10 + 90, standard=slow)


def test_tRP_holds_back_activate():
    blocked_until("tRP", [act(0), pre(60)], act(0), 60 + 24)


def test_tRP_after_precharge_all_holds_back_activate_of_every_bank():
    blocked_until("tRP", [act(0), prea(60)], act(0, group=1, bank=3), 60 + 24)


def test_tRP_counts_from_the_last_precharge_even_of_a_closed_bank():
    blocked_until("tRP", [act(0), pre(60), pre(70)], act(0), 70 + 24)


def test_tRP_holds_back_refresh():
    blocked_until("tRP", [act(0), pre(60), pre(65, bank=1)], ref(0), 65 + 24)


def test_tRP_after_a_read_with_auto_precharge_counts_from_tRTP():
    blocked_until("tRP", [act(0), column("RDA", 50)], act(0), 50 + 12 + 24)


def test_tRP_after_an_early_read_with_auto_precharge_counts_from_tRAS():
    quick = with_overrides(DDR4, {"nRC": 1})
    blocked_until("tRP", [act(0), column("RDA", 24)], act(0), 52 + 24, standard=quick)


def test_tRP_after_a_write_with_auto_precharge_counts_from_write_recovery():
    blocked_until("tRP", [act(0), column("WRA", 24)], act(0), 24 + 16 + 4 + 24 + 24)


def test_tRP_before_refresh_counts_from_the_auto_precharge_that_begins_last():
    before = [act(0), act(30, bank=1), column("RDA", 54, bank=1), column("RDA", 66)]
    blocked_until("tRP", before, ref(0), 82 + 24, also=("tRC",))


def test_tRRD_S_holds_back_activates_of_other_bank_groups():
    blocked_until("tRRD_S", [act(10)], act(0, group=1), 10 + 4)


def test_tRRD_S_looks_past_later_activates_of_the_same_group():
    wide = with_overrides(DDR4, {"nRRD_S": 9, "nRRD_L": 5})
    blocked_until("tRRD_S", [act(10, group=1), act(19, group=0)], act(0, group=1, bank=1), 28, standard=wide)
    assert broken([act(10, group=0), act(19, group=1), act(24, group=1, bank=1)], standard=wide) == {}


def test_tRRD_L_holds_back_activates_of_the_same_bank_group():
    blocked_until("tRRD_L", [act(10)], act(0, bank=1), 10 + 6)


def test_tFAW_holds_back_the_fifth_activate():
    before = [act(4 * i, group=i % 2, bank=i // 2) for i in range(4)]
    blocked_until("tFAW", before, act(0, group=0, bank=2), 26)


def test_tFAW_slides():
    before = [act(26 + 4 * i if i else 0, group=i % 2, bank=i // 2) for i in range(5)]
    blocked_until("tFAW", before, act(0, group=1, bank=2), 30 + 26)


def test_tFAW_is_a_matter_of_one_rank():
    acts = [act(4 * i, rank=i % 2, group=i // 2 % 2, bank=i // 4) for i in range(5)]
    assert broken(acts) == {}


def two_banks(group, bank=0):
    return [act(0), act(10, group=group, bank=bank)]


def test_tCCD_S_holds_back_reads_of_other_bank_groups():
    blocked_until("tCCD_S", [*two_banks(1), rd(40)], rd(0, group=1), 40 + 4, also=("data_bus",))


def test_tCCD_S_holds_back_writes_of_other_bank_groups():
    blocked_until("tCCD_S", [*two_banks(1), wr(40)], wr(0, group=1), 40 + 4, also=("data_bus",))


def test_tCCD_L_holds_back_reads_of_the_same_bank_group():
    blocked_until("tCCD_L", [*two_banks(0, 1), rd(40)], rd(0, bank=1), 40 + 8)


def test_tCCD_L_holds_back_writes_of_the_same_bank_group():
    blocked_until("tCCD_L", [*two_banks(0, 1), wr(40)], wr(0, bank=1), 40 + 8)


def test_tWTR_S_holds_back_reads_after_a_write_to_another_bank_group():
    blocked_until("tWTR_S", [*two_banks(1), wr(40)], rd(0, group=1), 40 + 16 + 4 + 4)


def test_tWTR_L_holds_back_reads_after_a_write_to_the_same_bank_group():
    blocked_until("tWTR_L", [*two_banks(0, 1), wr(40)], rd(0, bank=1), 40 + 16 + 4 + 12)


def test_tRTW_holds_back_writes_after_a_read():
    blocked_until("tRTW", [*two_banks(1), rd(40)], wr(0, group=1), 40 + 24 + 4 + 2 - 16)


def test_tRTP_holds_back_precharge():
    blocked_until("tRTP", [act(0), rd(50)], pre(0), 50 + 12)


def test_tRTP_of_any_bank_holds_back_precharge_all():
    blocked_until("tRTP", [*two_banks(1), rd(60, group=1)], prea(0), 60 + 12)


def test_tRTP_is_a_matter_of_one_bank():
    assert broken([*two_banks(1), rd(60, group=1), pre(61)]) == {}


def test_tWR_holds_back_precharge():
    blocked_until("tWR", [act(0), wr(50)], pre(0), 50 + 16 + 4 + 24)


def test_tWR_of_any_bank_holds_back_precharge_all():
    blocked_until("tWR", [*two_banks(1), wr(50)], prea(0), 50 + 16 + 4 + 24)


def test_tRFC_holds_back_activate_and_refresh_and_precharge():
    for command in (act(0, bank=3), ref(0), pre(0), prea(0)):
        blocked_until("tRFC", [ref(100)], command, 100 + 880)


def test_tRFC_is_a_matter_of_one_rank():
    assert broken([ref(100), act(101, rank=1)]) == {}


def test_refresh_of_an_open_bank_is_refused():
    assert broken([act(0), act(10, bank=1), pre(62, bank=1), ref(200)]) == {"ref_open_bank": 1}
    assert broken([act(0), act(10, bank=1), prea(62), ref(200)]) == {}
    assert broken([act(0), prea(60), act(90), ref(200)]) == {"ref_open_bank": 1}


def test_activate_of_an_open_bank_is_refused():
    assert broken([act(0), act(76)]) == {"act_open_bank": 1}


def test_reads_and_writes_of_a_closed_bank_are_refused():
    assert broken([act(0), rd(40, bank=1)]) == {"closed_bank": 1}
    assert broken([act(0), column("WRA", 40), wr(60)]) == {"closed_bank": 1}
    assert broken([act(0), prea(60), rd(61)]) == {"closed_bank": 1}


def test_a_read_that_names_another_row_than_the_open_one_is_refused():
    assert broken([act(0, row=7), rd(40, row=7), rd(50, row=8)]) == {"other_row": 1}


def test_precharge_of_a_closed_bank_is_legal():
    assert broken([pre(0), prea(1), pre(2)]) == {}


def test_addresses_beyond_the_organization_are_refused():
    for bad in (act(0, rank=4), act(0, rank=-1), act(0, group=2), act(0, bank=4), act(0, bank=-1), act(0, row=131072)):
        assert broken([bad]) == {"address": 1}
    assert broken([act(0, row=-1)]) == {"address": 1}
    assert broken([act(0), rd(40)._replace(column=128)]) == {"address": 1}
    assert broken([act(0)._replace(dimm=-1)]) == {"address": 1}


def test_a_bus_carries_one_command_a_clock():
    assert broken([pre(5), pre(5, rank=1)], "channel") == {"command_bus": 1}
    assert broken([pre(5), pre(5, rank=1)], "rank") == {}
    assert broken([pre(5), pre(5)._replace(dimm=1)], "channel") == {}


def test_cycles_on_a_bus_do_not_decrease():
    assert broken([pre(5), pre(4, rank=1), pre(6)], "channel") == {"order": 1}
    assert broken([pre(5), pre(4, rank=1), pre(6)], "rank") == {}


def test_a_log_out_of_order_is_judged_by_cycle():
    assert broken([rd(24), act(0)]) == {"order": 1}


def open_ranks():
    return [act(0), act(1, rank=1)]


@pytest.mark.parametrize(
    ("first", "second", "gap"), [(rd, rd, 4 + 2), (wr, wr, 4 + 2), (rd, wr, 24 + 4 + 2 - 16), (wr, rd, 16 + 4 + 2 - 24)]
)
def test_bursts_of_two_ranks_leave_a_shared_bus_idle_for_two_clocks(first, second, gap):
    gap = max(gap, 1)  # a write's burst may end long before that of a read one clock later begins
    assert broken([*open_ranks(), first(40), second(40 + gap, rank=1)], "channel") == {}
    if gap > 1:
        assert broken([*open_ranks(), first(40), second(39 + gap, rank=1)], "channel") == {"rank_gap": 1}
        assert broken([*open_ranks(), first(40), second(39 + gap, rank=1)], "rank") == {}


def test_bursts_do_not_overlap_on_a_shared_bus():
    blocked = broken([*open_ranks(), rd(40), rd(43, rank=1)], "channel")
    assert blocked == {"data_bus": 1, "rank_gap": 1}
    assert broken([*open_ranks(), rd(40), rd(43, rank=1)], "rank") == {}
    assert broken([*open_ranks(), rd(40), wr(46, rank=1)], "channel") == {"data_bus": 1, "rank_gap": 1}


def test_bursts_do_not_overlap_even_where_the_chips_would_allow_it():
    close = with_overrides(DDR4, {"nCCD_S": 1})
    blocked_until("data_bus", [*two_banks(1), rd(40)], rd(0, group=1), 40 + 4, standard=close)


INTERVAL = T["nREFI"]


def test_a_rank_is_refreshed_within_nine_intervals_of_the_start():
    assert broken([ref(9 * INTERVAL)]) == {}
    assert set(broken([ref(9 * INTERVAL + 1)])) == {"tREFI", "refresh_debt"}


def test_a_rank_is_refreshed_within_nine_intervals_of_its_last_refresh():
    ahead = [ref(INTERVAL - 10_000 + 1_000 * i) for i in range(9)]
    last = ahead[-1].cycle
    assert broken([*ahead, ref(last + 9 * INTERVAL)]) == {}
    assert broken([*ahead, ref(last + 9 * INTERVAL + 1)]) == {"tREFI": 1}


def test_a_rank_is_refreshed_within_nine_intervals_of_the_end_of_the_log():
    assert broken([ref(0), pre(9 * INTERVAL)]) == {}
    assert broken([ref(0), ref(0, rank=1), pre(9 * INTERVAL + 1)]) == {"tREFI": 2}
    assert broken([ref(INTERVAL), pre(9 * INTERVAL, rank=1), pre(10 * INTERVAL)]) == {"tREFI": 1, "refresh_debt": 1}


def test_at_most_eight_refreshes_are_owed():
    postponed = [ref(9 * INTERVAL + 880 * i) for i in range(8)]
    assert broken([*postponed, ref(17 * INTERVAL)]) == {}
    assert set(broken([*postponed[:1], ref(17 * INTERVAL)])) == {"refresh_debt"}


def test_refreshes_beyond_eight_in_advance_do_not_count():
    ahead = [ref(880 * i) for i in range(8)]
    more = [ref(880 * i) for i in range(8, 12)]
    later = [ref(9 * INTERVAL), ref(18 * INTERVAL)]
    for begin in (ahead, [*ahead, *more]):
        assert broken([*begin, *later, pre(19 * INTERVAL)]) == {}
        assert broken([*begin, *later, pre(19 * INTERVAL + 1)]) == {"refresh_debt": 1}


def test_a_report_lists_every_rule_and_names_both_commands_of_a_violation():
    report = check(command_log([act(0), rd(23)]), DDR4)
    assert tuple(report.counts) == RULES
    assert report.commands == 2 and not report.legal
    (violation,) = report.first
    assert (violation.rule, violation.gap, violation.required) == ("tRCD", 23, 24)
    assert (violation.earlier, violation.later) == (0, 1)
    assert str(violation) == (
        "tRCD: RD dimm 0 rank 0 bank_group 0 bank 0 column 0 at cycle 23 (command 1) after "
        "ACT dimm 0 rank 0 bank_group 0 bank 0 row 7 at cycle 0 (command 0): 23 clocks, at least 24 required"
    )


def test_a_report_describes_the_first_violations_of_the_log():
    report = check(command_log([rd(100 + 10 * i) for i in range(50)]), DDR4, limit=3)
    assert report.counts["closed_bank"] == 50
    assert [violation.later for violation in report.first] == [0, 1, 2]


def test_an_empty_log_is_legal():
    assert check(command_log([]), DDR4).legal
