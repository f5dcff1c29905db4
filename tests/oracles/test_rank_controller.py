"""The per-cycle reference of a rank against cases computed by hand from ndpsim/dram/ndp/STREAM_CONTROLLER.md."""

from dataclasses import replace

import pytest

from ndpsim.dram.standard.standard import load_standard, with_overrides
from oracles.rank_controller import RankController
from oracles.rank_trains import Location, Train, locate, parse_map, trains_of


def hermes(**changes):
    """DDR4 with the timings of Hermes, some of them changed."""
    timing = {
        "nCL": 24, "nCWL": 16, "nBL": 4, "nRCD": 24, "nRP": 24, "nRAS": 52, "nRC": 76, "nRRD_S": 4, "nRRD_L": 6,
        "nFAW": 26, "nCCD_S": 4, "nCCD_L": 8, "nWR": 24, "nRTP": 12, "nWTR_S": 4, "nWTR_L": 12, "nRFC": 880,
        "nREFI": 12480,
    }  # fmt: skip
    return with_overrides(load_standard("DDR4-3200AA"), timing | changes)


def without_refresh(standard):
    return replace(standard, refresh_rows={})


HERMES = hermes()
NO_REFRESH = without_refresh(HERMES)
TCK = 625
SMALL = {"ranks": 2, "bank_groups": 2, "banks": 2, "rows": 4, "columns": 4}
FAST_MAC = TCK
ROTATING_MAP = "row bank rank column bank_group"
BANK_MAP = "row bank_group bank rank column"


def rank(standard=NO_REFRESH, ahead=8, depth=16, first_due=0):
    return RankController(standard, ahead, depth, first_due)


def train(bank_group, bank, row, n=1):
    """A train in one bank."""
    return Train(tuple(Location(0, bank_group, bank, row, column) for column in range(n)), 8)


def rotating(row, n, first_group=0, bank=0):
    """A train that alternates between the two bank groups."""
    atoms = range(first_group, first_group + n)
    return Train(tuple(Location(0, atom % 2, bank, row, atom // 2) for atom in atoms), 4)


def commands(controller):
    """The log as `cycle command group.bank`, without rows and columns."""
    return [f"{c} {name} {g}.{b}" if g >= 0 else f"{c} {name}" for c, name, g, b, _, _ in controller.log]


# Addresses


def test_digits_are_most_significant_first():
    assert locate(0b10_1_0_11_1, parse_map(ROTATING_MAP, SMALL)) == Location(
        rank=0, bank_group=1, bank=1, row=2, column=3
    )


@pytest.mark.parametrize(
    "text", ["row column:1 bank rank bank_group column:1", "row column bank rank bank_group column:1"]
)
def test_the_first_part_of_a_split_digit_is_the_more_significant(text):
    assert locate(0b11_1_0_1_0_0, parse_map(text, SMALL)) == Location(rank=1, bank_group=0, bank=0, row=3, column=2)


def test_a_field_of_one_value_has_no_bits():
    assert locate(0b10_1_11_1, parse_map(ROTATING_MAP, {**SMALL, "ranks": 1})) == (0, 1, 1, 2, 3)


@pytest.mark.parametrize(
    "text",
    [
        "row bank rank column",
        "row bank rank column:1 bank_group",
        "row bank rank column:3 bank_group",
        "row bank rank column column bank_group",
        "row bank rank column bank_group die",
    ],
)
def test_a_map_names_every_bit_once(text):
    with pytest.raises(ValueError):
        parse_map(text, SMALL)


def test_the_bits_of_rank_are_contiguous():
    with pytest.raises(ValueError, match="contiguous"):
        parse_map("row rank:1 bank rank:1 column bank_group", {**SMALL, "ranks": 4})


def test_an_atom_outside_of_the_memory_is_refused():
    with pytest.raises(ValueError, match="outside"):
        locate(128, parse_map(ROTATING_MAP, SMALL))


# Trains


def shapes(rows, text, standard=HERMES, rank=0, organization=SMALL, kind="RD"):
    """Of each train: its pace and its bursts as (bank group, bank, row, column)."""
    trains = trains_of(rows, parse_map(text, organization), organization, standard, kind, rank)
    return [(t.pace, [tuple(burst)[1:] for burst in t.bursts]) for t in trains]


def test_a_train_of_a_rotating_map_runs_over_the_bank_groups():
    # Atoms 5..17 with 8 atoms of a bank in each rank: 5..7 are rank 0, 8..15 rank 1, 16..17 rank 0 of the next bank.
    assert shapes([(5, 13)], ROTATING_MAP) == [
        (4, [(1, 0, 0, 2), (0, 0, 0, 3), (1, 0, 0, 3)]),
        (4, [(0, 1, 0, 0), (1, 1, 0, 0)]),
    ]
    assert shapes([(5, 13)], ROTATING_MAP, rank=1) == [(4, [(g, 0, 0, c) for c in range(4) for g in range(2)])]


def test_a_run_in_one_row_and_bank_goes_on_across_the_other_ranks():
    # Rank lies below the column: atoms 0, 1, 4, 5 are rank 0.
    assert shapes([(0, 6)], "row bank column rank bank_group") == [
        (4, [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1)])
    ]


def test_rank_bits_below_the_bank_group_do_not_hinder_rotation():
    assert shapes([(0, 4)], "row bank column bank_group rank") == [(4, [(0, 0, 0, 0), (1, 0, 0, 0)])]


def test_bursts_are_alone_where_rotation_is_too_fast_for_a_bank_group():
    assert shapes([(0, 2)], ROTATING_MAP, hermes(nCCD_L=9)) == [(9, [(0, 0, 0, 0)]), (9, [(1, 0, 0, 0)])]


def test_a_train_of_any_other_map_stays_in_one_bank():
    # Atoms 2..9: the end of bank 0, all ranks of 4 columns; 2 and 3 are rank 0, 8 and 9 rank 0 of bank 1.
    assert shapes([(2, 8)], BANK_MAP) == [(8, [(0, 0, 0, 2), (0, 0, 0, 3)]), (8, [(0, 1, 0, 0), (0, 1, 0, 1)])]


def test_one_bank_group_takes_the_long_pace():
    one_group = {**SMALL, "bank_groups": 1}
    assert shapes([(0, 2)], ROTATING_MAP, hermes(nCCD_S=8), organization=one_group) == [
        (8, [(0, 0, 0, 0), (0, 0, 0, 1)])
    ]


def test_a_train_ends_with_its_matrix_row():
    assert shapes([(0, 2), (2, 1)], BANK_MAP) == [(8, [(0, 0, 0, 0), (0, 0, 0, 1)]), (8, [(0, 0, 0, 2)])]


def test_a_matrix_row_in_other_ranks_gives_no_train():
    assert shapes([(0, 8)], ROTATING_MAP, rank=1) == []


# Row and column commands


def test_a_burst_in_a_closed_bank_waits_for_tRCD():
    r = rank()
    # Issued at 34, arrives 28 clocks later, 5000 ps in the MAC array.
    assert r.run_stream([train(1, 2, 77)], "RD", 10, 5000) == 62 * TCK + 5000
    assert r.log == [(10, "ACT", 1, 2, 77, -1), (34, "RD", 1, 2, 77, 0)]


def test_an_open_row_is_read_at_once():
    r = rank()
    r.run_stream([train(0, 0, 5)], "RD", 0, FAST_MAC)
    r.run_stream([train(0, 0, 5)], "RD", 100, FAST_MAC)
    assert commands(r) == ["0 ACT 0.0", "24 RD 0.0", "100 RD 0.0"]


def test_a_row_conflict_between_reads_costs_tRAS_tRP_and_tRCD():
    r = rank()
    r.run_stream([train(0, 0, 5), train(0, 0, 6)], "RD", 0, FAST_MAC)
    assert r.log == [
        (0, "ACT", 0, 0, 5, -1),
        (24, "RD", 0, 0, 5, 0),
        (52, "PRE", 0, 0, -1, -1),
        (76, "ACT", 0, 0, 6, -1),
        (100, "RD", 0, 0, 6, 0),
    ]


def test_activates_of_a_bank_keep_tRC():
    r = rank(without_refresh(hermes(nRC=80)))
    r.run_stream([train(0, 0, 5), train(0, 0, 6)], "RD", 0, FAST_MAC)
    assert commands(r)[2:] == ["52 PRE 0.0", "80 ACT 0.0", "104 RD 0.0"]


def test_a_read_late_in_tRAS_holds_the_precharge_for_tRTP():
    r = rank()
    r.run_stream([train(0, 0, 5, n=5), train(0, 0, 6)], "RD", 0, FAST_MAC)
    # Bursts at 24, 32, 40, 48 and 56; 56 + 12 = 68 is past tRAS.
    assert commands(r)[-3:] == ["68 PRE 0.0", "92 ACT 0.0", "116 RD 0.0"]


def test_a_write_holds_the_precharge_for_tWR():
    r = rank()
    assert r.run_stream([train(0, 0, 5), train(0, 0, 6)], "WR", 0, FAST_MAC) == (116 + 16 + 4) * TCK
    # 24 + 16 + 4 + 24 = 68
    assert commands(r) == ["0 ACT 0.0", "24 WR 0.0", "68 PRE 0.0", "92 ACT 0.0", "116 WR 0.0"]


def test_activates_keep_tRRD_L_in_a_bank_group_and_reads_tCCD_L():
    r = rank()
    r.run_stream([train(0, 0, 0), train(0, 1, 0)], "RD", 0, FAST_MAC)
    assert commands(r) == ["0 ACT 0.0", "6 ACT 0.1", "24 RD 0.0", "32 RD 0.1"]


FIVE_BANKS = [train(0, 0, 0), train(1, 0, 0), train(0, 1, 0), train(1, 1, 0), train(0, 2, 0)]


def test_a_fifth_activate_waits_for_tFAW():
    r = rank()
    r.run_stream(FIVE_BANKS, "RD", 0, FAST_MAC)
    assert commands(r) == [
        "0 ACT 0.0", "4 ACT 1.0", "8 ACT 0.1", "12 ACT 1.1",
        "24 RD 0.0", "26 ACT 0.2", "28 RD 1.0", "32 RD 0.1", "36 RD 1.1", "50 RD 0.2",
    ]  # fmt: skip


def test_a_burst_takes_the_command_bus_before_an_activate():
    r = rank(without_refresh(hermes(nFAW=24)))
    r.run_stream(FIVE_BANKS, "RD", 0, FAST_MAC)
    assert commands(r)[4:6] == ["24 RD 0.0", "25 ACT 0.2"]


def test_an_activate_takes_the_command_bus_before_a_precharge():
    r = rank()
    r.run_stream([train(0, 0, 5)], "RD", 0, FAST_MAC)
    r.run_stream([train(1, 0, 0), train(0, 0, 6)], "RD", 60, FAST_MAC)
    assert commands(r)[2:] == ["60 ACT 1.0", "61 PRE 0.0", "84 RD 1.0", "85 ACT 0.0", "109 RD 0.0"]


def test_an_activate_that_waits_for_its_precharge_holds_those_behind():
    r = rank()
    r.run_stream([train(0, 0, 5)], "RD", 0, FAST_MAC)
    r.run_stream([train(0, 0, 6), train(1, 0, 0)], "RD", 60, FAST_MAC)
    assert commands(r)[2:] == ["60 PRE 0.0", "84 ACT 0.0", "88 ACT 1.0", "108 RD 0.0", "112 RD 1.0"]


# Trains in time


def test_bursts_in_one_bank_are_tCCD_L_apart():
    r = rank()
    r.run_stream([train(0, 0, 0, n=3)], "RD", 0, FAST_MAC)
    assert r.log[1:] == [(24, "RD", 0, 0, 0, 0), (32, "RD", 0, 0, 0, 1), (40, "RD", 0, 0, 0, 2)]


def test_rotating_bursts_are_tCCD_S_apart():
    r = rank()
    r.run_stream([rotating(row=3, n=4)], "RD", 0, FAST_MAC)
    assert r.log == [
        (0, "ACT", 0, 0, 3, -1),
        (4, "ACT", 1, 0, 3, -1),
        (24, "RD", 0, 0, 3, 0),
        (28, "RD", 1, 0, 3, 0),
        (32, "RD", 0, 0, 3, 1),
        (36, "RD", 1, 0, 3, 1),
    ]


def test_a_rotating_train_starts_late_enough_for_its_second_bank():
    r = rank(without_refresh(hermes(nRRD_S=9)))
    r.run_stream([rotating(row=3, n=2)], "RD", 0, FAST_MAC)
    # The second bank allows a read at 9 + 24 = 33, so that the train starts 4 clocks before.
    assert commands(r) == ["0 ACT 0.0", "9 ACT 1.0", "29 RD 0.0", "33 RD 1.0"]


def test_a_rotating_train_keeps_tCCD_L_to_the_train_before_in_both_bank_groups():
    r = rank()
    r.run_stream([rotating(row=3, n=3), rotating(row=3, n=2, first_group=0)], "RD", 0, FAST_MAC)
    # Group 0 was read at 32, so the second train starts at 40 rather than at 36.
    assert commands(r)[2:] == ["24 RD 0.0", "28 RD 1.0", "32 RD 0.0", "40 RD 0.0", "44 RD 1.0"]
    r.run_stream([rotating(row=3, n=2, first_group=1)], "RD", 45, FAST_MAC)
    assert commands(r)[7:] == ["52 RD 1.0", "56 RD 0.0"]


# The window


def test_a_window_of_one_prepares_a_train_after_the_first_burst_of_the_one_before():
    r = rank(ahead=1)
    r.run_stream([train(0, 0, 0, n=2), train(1, 0, 0)], "RD", 0, FAST_MAC)
    assert commands(r) == ["0 ACT 0.0", "24 RD 0.0", "25 ACT 1.0", "32 RD 0.0", "49 RD 1.0"]


def test_a_window_of_two_prepares_two_trains_at_the_start():
    r = rank(ahead=2)
    r.run_stream([train(0, 0, 0, n=2), train(1, 0, 0), train(1, 1, 0)], "RD", 0, FAST_MAC)
    assert commands(r) == [
        "0 ACT 0.0", "4 ACT 1.0", "24 RD 0.0", "25 ACT 1.1", "32 RD 0.0", "36 RD 1.0", "49 RD 1.1",
    ]  # fmt: skip


# The return queue of overlapped loads


def test_a_full_return_queue_holds_bursts_back():
    r = rank(depth=2)
    # In clocks, S = 20: f = 72, 92, 112, 132; burst i arrives at f(i-2) at the earliest, 28 after its issue.
    assert r.run_stream([train(0, 0, 0, n=4)], "RD", 0, 20 * TCK) == 132 * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "44 RD 0.0", "64 RD 0.0"]


def test_a_full_return_queue_holds_the_start_of_a_train_back():
    r = rank(depth=2)
    assert r.run_stream([train(0, 0, 0, n=2), train(0, 0, 0), train(1, 0, 0)], "RD", 0, 20 * TCK) == 132 * TCK
    assert commands(r)[2:] == ["24 RD 0.0", "32 RD 0.0", "44 RD 0.0", "64 RD 1.0"]


def test_room_in_the_queue_is_counted_in_picoseconds():
    r = rank(depth=2)
    # S = 20 clocks and 1 ps: room for burst 2 at 45001 ps, in clock 73 = 45 + 28; for burst 3 at 57502 ps, in clock 93.
    assert r.run_stream([train(0, 0, 0, n=4)], "RD", 0, 20 * TCK + 1) == 32500 + 4 * (20 * TCK + 1)
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "45 RD 0.0", "65 RD 0.0"]


def test_a_deeper_queue_takes_more_bursts_before_it_is_full():
    r = rank(depth=3)
    # Burst 3 is the first to wait: f(0) = 72, so that it is issued at 44 + 4 at the pace, burst 4 at f(1) - 28 = 64.
    r.run_stream([train(0, 0, 0, n=5)], "RD", 0, 20 * TCK)
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "40 RD 0.0", "48 RD 0.0", "64 RD 0.0"]


def test_the_queue_is_empty_at_the_start_of_a_stream():
    r = rank(depth=2)
    r.run_stream([train(0, 0, 0)], "RD", 0, 20 * TCK)
    assert r.run_stream([train(0, 0, 0)], "RD", 72, 10 * TCK) == 110 * TCK


def test_writes_do_not_use_the_return_queue():
    r = rank(depth=2)
    assert r.run_stream([train(0, 0, 0, n=4)], "WR", 0, 1000 * TCK) == (48 + 16 + 4) * TCK


def one_bank(n, sequences, row=0):
    """A train in one bank whose matrix row works for some sequences."""
    return Train(train(0, 0, row, n).bursts, 8, sequences)


def test_a_train_for_another_number_of_sequences_waits_until_the_queue_is_empty():
    r = rank(depth=16)
    # S = 10 and 20: f = 62 and 72, 92; the third burst may arrive at 72, and the fourth has room at once.
    trains = [one_bank(2, 1), one_bank(2, 2)]
    assert r.run_stream(trains, "RD", 0, {1: 10 * TCK, 2: 20 * TCK}) == (44 + 28 + 2 * 20) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "44 RD 0.0", "52 RD 0.0"]
    r = rank(depth=16)
    r.run_stream(trains, "RD", 0, {1: 10 * TCK, 2: 10 * TCK})  # the number counts, not the time
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "44 RD 0.0", "52 RD 0.0"]
    r = rank(depth=16)
    r.run_stream([one_bank(2, 2), one_bank(2, 2)], "RD", 0, {2: 10 * TCK})
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "40 RD 0.0", "48 RD 0.0"]


# Alternating loads


def test_a_pass_is_loaded_when_the_array_is_through_with_the_one_before():
    r = rank(depth=2)
    # The second burst arrives at 60, the array is through at 90; data begin 24 after the command.
    assert r.run_stream([train(0, 0, 0, n=5)], "RD", 0, 30 * TCK, alternating=True) == (108 + 28 + 30) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "66 RD 0.0", "74 RD 0.0", "108 RD 0.0"]


def test_data_of_a_pass_begin_in_the_first_clock_in_which_they_may():
    r = rank(depth=2)
    r.run_stream([train(0, 0, 0, n=3)], "RD", 0, 30 * TCK + 1, alternating=True)
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "67 RD 0.0"]


def test_a_pass_ends_before_a_train_for_another_number_of_sequences_and_takes_as_long_as_a_full_one():
    r = rank(depth=4)
    # P = 30 and 60 clocks: data of the second train begin at 24 + 28 + 30, those of the third at 58 + 28 + 60.
    trains = [one_bank(1, 1), one_bank(1, 2), one_bank(3, 1)]
    assert r.run_stream(trains, "RD", 0, {1: 30 * TCK, 2: 60 * TCK}, alternating=True) == (138 + 28 + 30) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "58 RD 0.0", "122 RD 0.0", "130 RD 0.0", "138 RD 0.0"]


@pytest.mark.parametrize(("second_ps", "last_burst"), [(60 * TCK, 98 + 4 + 60), (30 * TCK, 98 + 4 + 30)])
def test_a_pass_for_another_number_of_sequences_takes_its_full_depth(second_ps, last_burst):
    r = rank(depth=4)
    # The second pass begins at 40 + 4 + 30, also where both numbers take the array as long; its fourth burst is in the
    # third train.
    trains = [one_bank(3, 1), one_bank(3, 2), one_bank(2, 2)]
    done = r.run_stream(trains, "RD", 0, {1: 30 * TCK, 2: second_ps}, alternating=True)
    assert done == (last_burst + 28) * TCK + second_ps
    assert [entry[0] for entry in r.log[1:]] == [24, 32, 40, 74, 82, 90, 98, last_burst]


def test_a_pass_goes_on_in_the_next_train_of_its_row():
    r = rank(depth=4)
    # The fourth burst arrives at 76, the array is through at 106; the last pass has two bursts.
    trains = [train(0, 0, 0, n=3), train(0, 0, 0, n=3)]
    assert r.run_stream(trains, "RD", 0, 30 * TCK, alternating=True) == (90 + 28 + 30) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "40 RD 0.0", "48 RD 0.0", "82 RD 0.0", "90 RD 0.0"]


def test_a_pass_goes_on_across_a_row_conflict():
    r = rank(depth=3)
    # The array waits for the third burst, and the fourth one for 4 + 100 clocks after it.
    trains = [train(0, 0, 5, n=2), train(0, 0, 6, n=2)]
    assert r.run_stream(trains, "RD", 0, 100 * TCK, alternating=True) == (204 + 28 + 100) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "52 PRE 0.0", "76 ACT 0.0", "100 RD 0.0", "204 RD 0.0"]


def test_a_train_in_the_middle_of_a_pass_keeps_the_gaps_to_the_train_before():
    r = rank(depth=4)
    # tCCD_L from 32 to 40, where the pass ends.
    trains = [rotating(row=3, n=3), rotating(row=3, n=2)]
    assert r.run_stream(trains, "RD", 0, 30 * TCK, alternating=True) == (74 + 28 + 30) * TCK
    assert commands(r)[2:] == ["24 RD 0.0", "28 RD 1.0", "32 RD 0.0", "40 RD 0.0", "74 RD 1.0"]


def test_a_pass_may_span_more_trains_than_the_window():
    r = rank(ahead=1, depth=3)
    # Each train is taken up in the clock after the burst before; the fourth could be read at 99.
    trains = [train(0, 0, 0), train(1, 0, 0), train(0, 1, 0), train(1, 1, 0)]
    assert r.run_stream(trains, "RD", 0, 100 * TCK, alternating=True) == (178 + 28 + 100) * TCK
    assert commands(r) == [
        "0 ACT 0.0", "24 RD 0.0", "25 ACT 1.0", "49 RD 1.0", "50 ACT 0.1", "74 RD 0.1", "75 ACT 1.1", "178 RD 1.1",
    ]  # fmt: skip


def test_a_refresh_does_not_end_a_pass():
    r = rank(HERMES, ahead=1, depth=2, first_due=10)
    # The second burst follows the refresh, long before the array could be through with a pass of the first one alone.
    trains = [train(0, 0, 0), train(0, 0, 0, n=2)]
    assert r.run_stream(trains, "RD", 0, 2000 * TCK, alternating=True) == (2984 + 28 + 2000) * TCK
    assert commands(r) == [
        "0 ACT 0.0", "24 RD 0.0", "52 PREA", "76 REF", "956 ACT 0.0", "980 RD 0.0", "2984 RD 0.0",
    ]  # fmt: skip


def test_the_last_pass_of_a_stream_may_be_shorter_and_takes_as_long_as_a_full_one():
    r = rank(depth=2)
    trains = [train(0, 0, 0), train(0, 0, 0), train(0, 0, 0)]
    assert r.run_stream(trains, "RD", 0, 30 * TCK, alternating=True) == (66 + 28 + 30) * TCK
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "66 RD 0.0"]


def test_a_stream_begins_with_a_fresh_pass():
    r = rank(depth=3)
    assert r.run_stream([train(0, 0, 0, n=2)], "RD", 0, 30 * TCK, alternating=True) == (32 + 28 + 30) * TCK
    assert r.run_stream([train(0, 0, 0, n=4)], "RD", 100, 30 * TCK, alternating=True) == (150 + 28 + 30) * TCK
    assert commands(r)[3:] == ["100 RD 0.0", "108 RD 0.0", "116 RD 0.0", "150 RD 0.0"]


def test_bursts_of_passes_are_paced_where_the_array_is_faster():
    r = rank(depth=2)
    # 4 + 2 clocks from the last burst of a pass to the first of the next one are less than tCCD_L.
    r.run_stream([train(0, 0, 0, n=4)], "RD", 0, 2 * TCK, alternating=True)
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "40 RD 0.0", "48 RD 0.0"]


# Precharges behind bursts


def test_a_precharge_waits_for_all_bursts_to_its_bank_of_earlier_trains():
    r = rank(depth=2)
    # S = 40: f = 92, 132, 172; burst 2 waits for arrival at 92, which is issue at 64; 64 + tRTP = 76.
    r.run_stream([train(0, 0, 5), train(0, 0, 5, n=2), train(0, 0, 6)], "RD", 0, 40 * TCK)
    assert commands(r)[1:] == ["24 RD 0.0", "32 RD 0.0", "64 RD 0.0", "76 PRE 0.0", "100 ACT 0.0", "124 RD 0.0"]


def test_a_precharge_does_not_wait_for_bursts_to_other_banks():
    r = rank(depth=2)
    # The rotating train still owes a burst to group 0 (at 64) when group 1 is precharged at 4 + tRAS.
    assert r.run_stream([rotating(5, n=3), train(1, 0, 6)], "RD", 0, 40 * TCK) == 212 * TCK
    assert commands(r)[2:] == ["24 RD 0.0", "28 RD 1.0", "56 PRE 1.0", "64 RD 0.0", "80 ACT 1.0", "104 RD 1.0"]


# Between reads and writes


def test_a_read_after_a_write_in_the_bank_group_waits_for_tWTR_L():
    r = rank()
    assert r.run_stream([train(0, 0, 0)], "WR", 0, FAST_MAC) == (24 + 16 + 4) * TCK
    r.run_stream([train(0, 0, 0)], "RD", 25, FAST_MAC)
    assert commands(r)[-1] == "56 RD 0.0"


WRITES = [train(1, 0, 0), train(0, 0, 0, n=3)]  # at 24 to group 1, at 28, 36 and 44 to group 0


def test_a_read_after_a_write_in_another_bank_group_waits_for_tWTR_S():
    r = rank()
    r.run_stream(WRITES, "WR", 0, FAST_MAC)
    r.run_stream([train(1, 0, 0), train(0, 0, 0)], "RD", 45, FAST_MAC)
    assert commands(r)[5:] == ["44 WR 0.0", "68 RD 1.0", "76 RD 0.0"]


def test_a_rotating_read_starts_late_enough_for_tWTR_L_in_its_second_bank_group():
    r = rank()
    r.run_stream(WRITES, "WR", 0, FAST_MAC)
    r.run_stream([rotating(0, n=2, first_group=1)], "RD", 45, FAST_MAC)
    assert commands(r)[6:] == ["72 RD 1.0", "76 RD 0.0"]


def test_a_write_after_a_read_leaves_the_data_bus_two_clocks():
    r = rank()
    r.run_stream([train(0, 0, 0)], "RD", 0, FAST_MAC)
    r.run_stream([train(0, 0, 0)], "WR", 25, FAST_MAC)
    assert commands(r)[-1] == "38 WR 0.0"


# Refresh


def test_a_refresh_in_idle_precharges_all_and_comes_tRP_later():
    r = rank(hermes(nREFI=3000), first_due=1000)
    r.run_stream([train(0, 0, 7)], "RD", 0, FAST_MAC)
    r.run_stream([train(0, 0, 7)], "RD", 5000, FAST_MAC)
    assert r.log[2:] == [
        (1000, "PREA", -1, -1, -1, -1),
        (1024, "REF", -1, -1, -1, -1),
        (4000, "REF", -1, -1, -1, -1),
        (5000, "ACT", 0, 0, 7, -1),
        (5024, "RD", 0, 0, 7, 0),
    ]


def test_a_stream_that_starts_during_a_refresh_waits_for_its_end():
    r = rank(HERMES, first_due=1000)
    r.run_stream([train(0, 0, 7)], "RD", 1500, FAST_MAC)
    assert commands(r) == ["1000 REF", "1880 ACT 0.0", "1904 RD 0.0"]


def test_a_refresh_due_at_the_start_of_a_stream_comes_first():
    r = rank(HERMES, first_due=100)
    r.run_stream([train(0, 0, 7)], "RD", 100, FAST_MAC)
    assert commands(r) == ["100 REF", "980 ACT 0.0", "1004 RD 0.0"]


def test_a_refresh_due_just_after_the_start_waits_for_the_trains_taken_up():
    r = rank(HERMES, first_due=101)
    r.run_stream([train(0, 0, 7)], "RD", 100, FAST_MAC)
    assert commands(r) == ["100 ACT 0.0", "124 RD 0.0"]
    r.run_stream([train(0, 0, 7)], "RD", 125, FAST_MAC)
    # Precharge at 100 + tRAS.
    assert commands(r)[2:] == ["152 PREA", "176 REF", "1056 ACT 0.0", "1080 RD 0.0"]


def test_a_refresh_due_in_a_stream_comes_between_trains_and_closes_their_rows():
    r = rank(HERMES, ahead=2, first_due=10)
    r.run_stream([train(0, 0, 0), train(1, 0, 0), train(0, 0, 0)], "RD", 0, FAST_MAC)
    # The third train would be taken up at 25. Bank 1.0 was activated at 4 and may be precharged at 56.
    assert commands(r) == [
        "0 ACT 0.0", "4 ACT 1.0", "24 RD 0.0", "28 RD 1.0", "56 PREA", "80 REF", "960 ACT 0.0", "984 RD 0.0",
    ]  # fmt: skip


def test_a_refresh_waits_for_write_recovery():
    r = rank(HERMES, ahead=1, first_due=10)
    r.run_stream([train(0, 0, 0), train(0, 0, 0)], "WR", 0, FAST_MAC)
    assert commands(r) == ["0 ACT 0.0", "24 WR 0.0", "68 PREA", "92 REF", "972 ACT 0.0", "996 WR 0.0"]


def test_refreshes_that_fell_due_meanwhile_follow_one_another():
    r = rank(hermes(nRFC=100, nREFI=400), ahead=1, first_due=10)
    r.run_stream([train(0, 0, 0, n=128), train(0, 0, 0)], "RD", 0, FAST_MAC)
    # Last burst of the long train at 24 + 127 * 8 = 1040, PREA tRTP later; due were 10, 410, 810 and by 1376 also 1210.
    assert commands(r)[129:] == [
        "1052 PREA", "1076 REF", "1176 REF", "1276 REF", "1376 REF", "1476 ACT 0.0", "1500 RD 0.0",
    ]  # fmt: skip


def test_a_refresh_due_by_the_end_of_the_last_one_follows_before_any_train():
    r = rank(hermes(nREFI=900), first_due=101)
    r.run_stream([train(0, 0, 7)], "RD", 100, FAST_MAC)
    r.run_stream([train(0, 0, 7)], "RD", 1000, FAST_MAC)
    # The REFs end at 1056, 1936 and 2816, by when those due at 1001, 1901 and 2801 are owed; 3701 is after 3696.
    assert commands(r)[2:] == [
        "152 PREA", "176 REF", "1056 REF", "1936 REF", "2816 REF", "3696 ACT 0.0", "3720 RD 0.0",
    ]  # fmt: skip


def test_a_long_train_is_not_interrupted_and_no_refresh_follows_the_last_stream():
    r = rank(HERMES, first_due=10)
    r.run_stream([train(0, 0, 0, n=128)], "RD", 0, FAST_MAC)
    assert commands(r)[-1] == "1040 RD 0.0"
    assert len(r.log) == 129


def test_a_standard_without_an_all_bank_refresh_is_never_refreshed():
    r = rank(NO_REFRESH, first_due=0)
    r.run_stream([train(0, 0, 7)], "RD", 20000, FAST_MAC)
    assert commands(r) == ["20000 ACT 0.0", "20024 RD 0.0"]


# Streams


def test_an_empty_stream_is_done_at_its_start():
    r = rank()
    assert r.run_stream([], "RD", 40, FAST_MAC) == 40 * TCK
    assert r.log == []


def test_a_stream_does_not_start_before_the_bursts_of_the_one_before_are_issued():
    r = rank()
    r.run_stream([train(0, 0, 0)], "RD", 0, FAST_MAC)
    with pytest.raises(ValueError, match="already"):
        r.run_stream([train(0, 0, 0)], "RD", 24, FAST_MAC)
