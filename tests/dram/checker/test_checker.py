from dram.logs import DDR4, act, blocked_until, broken, column, pre, prea, rd, ref, two_banks, wr

from ndpsim.dram.standard.standard import with_overrides


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


def test_tWTR_S_looks_past_a_later_write_to_the_same_bank_group():
    wide = with_overrides(DDR4, {"nWTR_S": 30})
    blocked_until("tWTR_S", [*two_banks(1), wr(40), wr(44, group=1)], rd(0, group=1), 40 + 16 + 4 + 30, standard=wide)


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
