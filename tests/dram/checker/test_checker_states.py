import pytest
from dram.logs import DDR4, act, blocked_until, broken, column, command_log, pre, prea, rd, ref, two_banks, wr

from ndpsim.dram.checker.checker import check
from ndpsim.dram.checker.rules import FAMILIES
from ndpsim.dram.standard.standard import with_overrides


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
    assert broken([pre(5), pre(5)._replace(dimm=1)], "channel") == {"command_bus": 1}
    assert broken([pre(5), pre(5)._replace(channel=1)], "channel") == {}
    assert broken([pre(5), pre(5)._replace(dimm=1)], "rank") == {}


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
        assert broken([*open_ranks(), first(40), second(39 + gap, rank=1)], "channel") == {"tRTRS": 1}
        assert broken([*open_ranks(), first(40), second(39 + gap, rank=1)], "rank") == {}


def test_bursts_do_not_overlap_on_a_shared_bus():
    blocked = broken([*open_ranks(), rd(40), rd(43, rank=1)], "channel")
    assert blocked == {"data_bus": 1, "tRTRS": 1}
    assert broken([*open_ranks(), rd(40), rd(43, rank=1)], "rank") == {}
    assert broken([*open_ranks(), rd(40), wr(46, rank=1)], "channel") == {"data_bus": 1, "tRTRS": 1}


def test_a_write_may_put_its_burst_before_that_of_an_earlier_read_of_another_rank():
    assert broken([*open_ranks(), rd(40), wr(42, rank=1)], "channel") == {}
    assert broken([*open_ranks(), rd(40), wr(43, rank=1)], "channel") == {"tRTRS": 1}


def test_bursts_do_not_overlap_even_where_the_chips_would_allow_it():
    close = with_overrides(DDR4, {"nCCD_S": 1})
    blocked_until("data_bus", [*two_banks(1), rd(40)], rd(0, group=1), 40 + 4, standard=close)


INTERVAL = DDR4.timing["nREFI"]


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
    (owed,) = check(command_log([*postponed[:1], ref(17 * INTERVAL)]), DDR4).first
    assert str(owed).endswith(
        f"REF rank 0 at cycle {17 * INTERVAL} (command 1): {16 * INTERVAL} clocks, at most {9 * INTERVAL} required"
    )


def test_refreshes_beyond_eight_in_advance_do_not_count():
    later = [ref(9 * INTERVAL), ref(18 * INTERVAL)]
    for ahead, paid in ((8, 8 * INTERVAL), (12, 8 * INTERVAL + 11 * 880)):
        begin = [ref(880 * i) for i in range(ahead)]
        assert broken([*begin, *later, pre(paid + 11 * INTERVAL)]) == {}
        assert broken([*begin, *later, pre(paid + 11 * INTERVAL + 1)]) == {"refresh_debt": 1}


def test_a_report_lists_every_rule_and_names_both_commands_of_a_violation():
    report = check(command_log([act(0), rd(23)]), DDR4)
    assert tuple(report.counts) == FAMILIES["DDR4"].rules
    assert report.commands == 2 and not report.legal
    (violation,) = report.first
    assert (violation.rule, violation.gap, violation.required) == ("tRCD", 23, 24)
    assert (violation.earlier, violation.later) == (0, 1)
    assert str(violation) == (
        "tRCD: RD rank 0 bank_group 0 bank 0 column 0 at cycle 23 (command 1) after "
        "ACT rank 0 bank_group 0 bank 0 row 7 at cycle 0 (command 0): 23 clocks, at least 24 required"
    )


def test_a_report_describes_the_first_violation_of_each_rule_in_the_order_of_the_log():
    report = check(command_log([act(0), *[rd(100 + 7 * i) for i in range(50)], pre(444), ref(445)]), DDR4)
    assert {rule: count for rule, count in report.counts.items() if count} == {"tCCD_L": 49, "tRTP": 1, "tRP": 1}
    assert [(violation.rule, violation.earlier, violation.later) for violation in report.first] == [
        ("tCCD_L", 1, 2), ("tRTP", 50, 51), ("tRP", 51, 52),
    ]  # fmt: skip


def test_an_empty_log_is_legal():
    assert check(command_log([]), DDR4).legal
