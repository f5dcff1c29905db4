"""The per-cycle reference on other standards than DDR4, by hand: two clocks, two busses, fractions, pace by kind."""

from dataclasses import replace

import pytest

from ndpsim.dram.standard.constraints import RuleRow
from ndpsim.dram.standard.standard import load_standard, with_overrides
from oracles.rank_controller import RankController
from oracles.rank_trains import Location, Train, parse_map, trains_of


def unrefreshed(name, **timing):
    return replace(changed(name, **timing), refresh_rows={})


def changed(name, **timing):
    return with_overrides(load_standard(name), timing)


def rank(standard, ahead=4, depth=16, first_due=0):
    return RankController(standard, ahead, depth, first_due)


def train(bank_group, bank, row, n=1, pace=12):
    """A train in one bank."""
    return Train(tuple(Location(0, bank_group, bank, row, column) for column in range(n)), pace)


def over_groups(groups, row, n, pace):
    """A train in bank 0 that goes round the bank groups."""
    return Train(tuple(Location(0, groups[k % len(groups)], 0, row, k // len(groups)) for k in range(n)), pace)


def commands(controller):
    """The log as `cycle command group.bank`, without rows and columns."""
    return [f"{c} {name} {g}.{b}" if g >= 0 else f"{c} {name}" for c, name, g, b, _, _ in controller.log]


# Commands of two clocks on one bus


def test_gaps_of_ddr5_are_counted_between_first_clocks_and_the_end_is_rounded_up():
    r = rank(unrefreshed("DDR5-4800B"))
    # tRCD 39 from an ACT to a RD of two clocks each; arrival 1 + 40 + 8 later, at 88 clocks of 416 2/3 ps = 36666 2/3.
    assert r.run_stream([train(0, 0, 7)], "RD", 0, 5000) == 41667
    assert commands(r) == ["0 ACT 0.0", "39 RD 0.0"]


def test_the_data_of_a_write_end_with_its_burst():
    # 39 + 1 + 38 + 8 = 86 clocks of 416 2/3 ps.
    assert rank(unrefreshed("DDR5-4800B")).run_stream([train(0, 0, 7)], "WR", 0) == 35834


def test_a_burst_waits_for_the_second_clock_of_its_activate():
    r = rank(unrefreshed("DDR5-4800B", nRCD=1))
    r.run_stream([train(0, 0, 7)], "RD", 0, 5000)
    assert commands(r) == ["0 ACT 0.0", "2 RD 0.0"]


def test_an_activate_waits_for_the_second_clock_of_a_burst():
    r = rank(unrefreshed("DDR5-4800B"), ahead=1)
    r.run_stream([train(0, 0, 0, n=3), train(1, 0, 0)], "RD", 0, 1000)
    # Taken up at 40, the burst's second clock.
    assert commands(r) == ["0 ACT 0.0", "39 RD 0.0", "41 ACT 1.0", "51 RD 0.0", "63 RD 0.0", "80 RD 1.0"]


def test_an_activate_is_not_issued_in_the_clock_before_a_burst():
    r = rank(unrefreshed("DDR5-4800B", nRRD_S=9), ahead=1)
    r.run_stream([train(0, 0, 0, n=3), over_groups([1, 2], 0, 2, pace=8)], "RD", 0, 1000)
    # The second ACT would be allowed at 50. The second train may read group 2 at 53 + 39 = 92.
    assert commands(r) == [
        "0 ACT 0.0", "39 RD 0.0", "41 ACT 1.0", "51 RD 0.0", "53 ACT 2.0", "63 RD 0.0", "84 RD 1.0", "92 RD 2.0",
    ]  # fmt: skip


def test_a_precharge_fits_between_bursts_of_lpddr5x_and_an_activate_does_not():
    r = rank(unrefreshed("LPDDR5X-8533"), ahead=1)
    r.run_stream([train(0, 1, 5)], "RD", 0, 1000)
    r.run_stream([over_groups([0, 1], 3, 20, pace=2), train(0, 1, 6)], "RD", 100, 1000)
    # Group 1 is read from 104 + 21 on. The long train ends at 123 + 38; tRP would allow the ACT at 124 + 19.
    bursts = [f"{123 + 2 * k} RD {k % 2}.0" for k in range(20)]
    assert commands(r)[:5] == ["0 ACT 0.1", "21 RD 0.1", "100 ACT 0.0", "104 ACT 1.0", bursts[0]]
    assert commands(r)[5:] == ["124 PRE 0.1", *bursts[1:], "162 ACT 0.1", "183 RD 0.1"]


def test_a_row_conflict_of_lpddr5x():
    r = rank(unrefreshed("LPDDR5X-8533"))
    r.run_stream([train(0, 0, 5), train(0, 0, 6)], "RD", 0, 1000)
    # tRAS 45 from the second clock of the ACT; tRP 20 to the second clock of the next one, as tRC 65.
    assert commands(r) == ["0 ACT 0.0", "21 RD 0.0", "46 PRE 0.0", "65 ACT 0.0", "86 RD 0.0"]


def test_precharges_keep_tPPD():
    r = rank(unrefreshed("LPDDR5X-8533"))
    r.run_stream([train(0, 0, 5), train(1, 0, 5)], "RD", 0, 1000)
    r.run_stream([train(0, 0, 6), train(1, 0, 6)], "RD", 200, 1000)
    assert commands(r)[4:] == [
        "200 PRE 0.0", "202 PRE 1.0", "219 ACT 0.0", "223 ACT 1.0", "240 RD 0.0", "244 RD 1.0",
    ]  # fmt: skip


def test_the_next_stream_starts_after_the_second_clock_of_the_last_burst():
    r = rank(unrefreshed("DDR5-4800B"))
    r.run_stream([train(0, 0, 0)], "RD", 0, 1000)
    with pytest.raises(ValueError, match="already"):
        r.run_stream([train(0, 0, 0)], "RD", 40, 1000)
    r.run_stream([train(1, 0, 0)], "RD", 41, 1000)
    assert commands(r)[2:] == ["41 ACT 1.0", "80 RD 1.0"]


# Two busses


def test_the_two_busses_of_hbm_carry_an_activate_and_a_burst_in_the_same_clock():
    r = rank(unrefreshed("HBM3-6400", nRRD_S=3), ahead=1)
    r.run_stream([train(0, 0, 0, n=3, pace=4), over_groups([1, 2], 0, 2, pace=2)], "RD", 0, 1000)
    # tRCDRD 31 from the second clock of the ACT. Group 2 is read at 36 + 32 = 68.
    assert commands(r) == [
        "0 ACT 0.0", "32 RD 0.0", "33 ACT 1.0", "36 RD 0.0", "36 ACT 2.0", "40 RD 0.0", "66 RD 1.0", "68 RD 2.0",
    ]  # fmt: skip


def test_an_activate_of_two_clocks_goes_over_a_burst_on_the_other_bus():
    r = rank(unrefreshed("HBM3-6400", nRRD_S=2), ahead=1)
    r.run_stream([train(0, 0, 0, n=3, pace=4), over_groups([1, 2], 0, 2, pace=2)], "RD", 0, 1000)
    # The ACT at 35 has the row bus in 35 and 36.
    assert commands(r)[2:5] == ["33 ACT 1.0", "35 ACT 2.0", "36 RD 0.0"]


def test_hbm_writes_sooner_after_an_activate_than_it_reads():
    r = rank(unrefreshed("HBM3-6400"))
    assert r.run_stream([train(0, 0, 0)], "WR", 0) == (16 + 10 + 2) * 625
    assert commands(r) == ["0 ACT 0.0", "16 WR 0.0"]


# Pace by kind


def paces(standard, kind, groups):
    """Pace and bank groups of the trains of four bursts under a rotating map."""
    organization = {"ranks": 1, "bank_groups": groups, "banks": 1, "rows": 1, "columns": 4}
    amap = parse_map("row bank rank column bank_group", organization)
    trains = trains_of([(0, 4)], amap, organization, standard, kind, 0)
    return [(t.pace, [burst.bank_group for burst in t.bursts]) for t in trains]


def test_two_groups_of_ddr5_rotate_for_reads_but_not_for_writes():
    standard = load_standard("DDR5-4800B")  # tCCD_S 8, tCCD_L 12, tCCD_L_WR 24
    assert paces(standard, "RD", 2) == [(8, [0, 1, 0, 1])]
    assert paces(standard, "WR", 2) == [(24, [0]), (24, [1]), (24, [0]), (24, [1])]
    assert paces(standard, "WR", 4) == [(8, [0, 1, 2, 3])]


def test_the_pace_is_never_below_that_of_the_rank():
    assert paces(changed("DDR5-4800B", nCCD_S=14), "RD", 1) == [(14, [0, 0, 0, 0])]


# Fractions of picoseconds


@pytest.mark.parametrize(
    ("service", "bursts", "end"),
    [
        # In clocks of 833 1/3 ps, S = 12 and f = 48, 60, 72, 84: room at 48 and 60, 20 after the issue.
        (10000, ["16 RD 0.0", "22 RD 0.0", "28 RD 0.0", "40 RD 0.0"], 70000),
        # Room at 40001 ps, in clock 49, and at 50002 ps, in clock 61.
        (10001, ["16 RD 0.0", "22 RD 0.0", "29 RD 0.0", "41 RD 0.0"], 70004),
    ],
)
def test_room_in_the_queue_is_exact_where_a_clock_is_a_fraction(service, bursts, end):
    r = rank(unrefreshed("DDR4-2400R"), depth=2)
    assert r.run_stream([train(0, 0, 0, n=4, pace=6)], "RD", 0, service) == end
    assert commands(r)[1:] == bursts


def test_a_service_of_less_than_a_clock_is_refused():
    with pytest.raises(ValueError, match="a clock or more"):
        rank(unrefreshed("DDR5-4800B")).run_stream([train(0, 0, 0)], "RD", 0, 416)


# Refresh


def test_all_banks_of_lpddr5x_take_longer_to_precharge_and_the_row_engine_counts_from_first_clocks():
    r = rank(load_standard("LPDDR5X-8533"), first_due=1000)
    r.run_stream([train(0, 0, 5)], "RD", 0, 1000)
    r.run_stream([train(0, 0, 5)], "RD", 1100, 1000)
    # tRPab 23, tRFC 299 to the second clock of the ACT.
    assert commands(r)[2:] == ["1000 PREA", "1023 REF", "1321 ACT 0.0", "1342 RD 0.0"]


@pytest.mark.parametrize(
    ("interval", "later"),
    [
        # The first REF ends at 69 + 719 = 788. A refresh due by then follows 720 after the first one.
        (787, ["789 REF", "1508 ACT 0.0", "1529 RD 0.0"]),
        (788, ["788 ACT 0.0", "809 RD 0.0"]),
    ],
)
def test_a_refresh_follows_at_once_if_it_is_due_when_the_row_engine_goes_on(interval, later):
    r = rank(changed("HBM2E-3200", nREFI=interval), first_due=1)
    r.run_stream([train(0, 0, 0)], "RD", 0, 1000)
    r.run_stream([train(0, 0, 0)], "RD", 22, 1000)
    # tRAS 45 and tRC 68, both from the second clock of the ACT.
    assert commands(r) == ["0 ACT 0.0", "21 RD 0.0", "46 PREA", "69 REF", *later]


def test_an_empty_stream_leaves_refreshes_to_the_next_one_and_is_done_at_a_whole_picosecond():
    r = rank(load_standard("DDR5-4800B"), first_due=10)
    assert r.run_stream([], "RD", 2000, 1000) == 833334
    assert r.log == []
    r.run_stream([train(0, 0, 0)], "RD", 3000, 1000)
    assert commands(r) == ["10 REF", "3000 ACT 0.0", "3039 RD 0.0"]


# What it refuses


@pytest.mark.parametrize(
    "row",
    [
        RuleRow("tX", "bank_group", "PRE", "ACT", "nRP"),
        RuleRow("tX", "rank", "ACT", "ACT", "nFAW", window=2),
        RuleRow("tX", "rank", "RD", "RD", "nFAW", window=2),
        RuleRow("tX", "rank", "REF", "RD", "nRFC + nRC"),
    ],
)
def test_a_standard_with_a_rule_that_is_not_kept_is_refused_by_its_name(row):
    standard = load_standard("HBM3-6400")
    with pytest.raises(ValueError, match="tX"):
        rank(replace(standard, rows=(*standard.rows, row)))


def test_rules_between_ranks_and_for_other_commands_are_of_no_concern():
    standard = load_standard("HBM3-6400")
    rows = (RuleRow("tX", "other_rank", "PRE", "ACT", "nRP"), RuleRow("tY", "rank", "RDA", "PRE", "nRP"))
    rank(replace(standard, rows=standard.rows + rows))


@pytest.mark.parametrize(
    ("standard", "fault"),
    [
        (changed("HBM3-6400", nREFI=560), "interval"),
        (changed("HBM3-6400", nCCD_S=1), "nBL"),
        (replace(load_standard("HBM3-6400"), clocks=load_standard("HBM3-6400").clocks | {"PRE": 2}), "one clock"),
    ],
)
def test_refreshes_without_end_bursts_that_overlap_and_long_precharges_are_refused(standard, fault):
    with pytest.raises(ValueError, match=fault):
        rank(standard)
