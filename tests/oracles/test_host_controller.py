"""The host reference on cases whose cycles were worked out by hand from HOST_CONTROLLER.md.

A request that enters in cycle c is seen from c + 1 on, so a lone read that enters in 0 is activated in 1.
"""

import pytest

from oracles.host_address_map import parse_map, place_requests
from oracles.tiny_standard import ALL, COLUMN, Shape, Tiny, TinyRefresh, kinds, request, sent, simulate


def test_a_lone_read_is_activated_one_cycle_after_its_entry_and_done_after_its_last_data():
    result = simulate(request(group=2, bank=1, row=3, column=6))
    assert result.log == [(1, "ACT", 0, 0, 0, 2, 1, 3, -1), (5, "RD", 0, 0, 0, 2, 1, 3, 6)]
    assert (result.outcomes[0].entry, result.outcomes[0].done, result.end) == (0, 12, 12)  # 5 + nCL + nBL
    assert kinds(result) == "miss"


def test_without_requests_nothing_happens():
    assert simulate() == ([], [], 0, [])


def test_a_second_read_of_the_row_is_a_hit_and_keeps_tccd_l():
    result = simulate(request(), request(column=1))
    assert sent(result) == "1 ACT, 5 RD, 9 RD"
    assert kinds(result) == "miss hit"
    assert [outcome.entry for outcome in result.outcomes] == [0, 1]


def test_another_row_of_the_bank_is_a_conflict_and_its_precharge_waits_for_tras():
    result = simulate(request(), request(row=1))
    assert sent(result) == "1 ACT, 5 RD, 9 PRE, 12 ACT, 16 RD"  # PRE: max(1 + nRAS, 5 + nRTP)
    assert result.log[2] == (9, "PRE", 0, 0, 0, 0, 0, -1, -1)
    assert kinds(result) == "miss conflict"


def test_a_write_is_precharged_after_its_recovery():
    result = simulate(request(write=True), request(row=1, write=True))
    assert sent(result) == "1 ACT, 5 WR, 14 PRE, 17 ACT, 21 WR"
    assert result.outcomes[1].done == 21 + 3 + 2


def test_columns_go_before_activates_and_the_fifth_activate_waits_for_tfaw():
    result = simulate(*(request(group=i % 4, bank=i // 4) for i in range(5)))
    # Activates 3 and 4 could go in 5 and 7 but for the reads; the fifth could go in 10 but for 1 + nFAW.
    assert sent(result) == "1 ACT, 3 ACT, 5 RD, 6 ACT, 7 RD, 8 ACT, 10 RD, 12 RD, 13 ACT, 17 RD"


def test_activates_go_before_older_precharges():
    result = simulate(request(), request(row=1), request(group=1, arrival=8))
    # In 9 both are legal. Then 10 + nRP = 13, but the read of group 1 goes first.
    assert sent(result) == "1 ACT, 5 RD, 9 ACT, 10 PRE, 13 RD, 14 ACT, 18 RD"


def test_a_row_bus_and_a_column_bus_carry_commands_in_the_same_cycle():
    columns = tuple(COLUMN.split())
    two = Tiny(busses=(tuple(name for name in ALL if name not in columns), columns))
    result = simulate(*(request(group=i) for i in range(4)), standard=two)
    assert sent(result) == "1 ACT, 3 ACT, 5 ACT, 5 RD, 7 ACT, 7 RD, 9 RD, 11 RD"


def test_a_command_occupies_its_bus_for_all_its_clocks():
    slow = Tiny(clocks=dict.fromkeys(ALL, 1) | {"ACT": 3})
    result = simulate(request(group=0), request(group=1), standard=slow)
    assert sent(result) == "1 ACT, 4 ACT, 7 RD, 9 RD"  # the first read could go in 5, the second ACT in 3


def test_other_ranks_share_the_data_bus():
    result = simulate(request(), request(rank=1), standard=Tiny(Shape(ranks=2)))
    assert sent(result) == "1 ACT, 2 ACT, 5 RD, 8 RD"  # nBL + nRTRS = 3


def test_pseudo_channels_share_only_the_command_bus():
    result = simulate(request(), request(pseudo_channel=1), standard=Tiny(Shape(pseudo_channels=2)))
    assert sent(result) == "1 ACT, 2 ACT, 5 RD, 6 RD"
    assert [entry[3] for entry in result.log] == [0, 1, 0, 1]


PSEUDO = Tiny(Shape(pseudo_channels=2))


def entries(result):
    return [outcome.entry for outcome in result.outcomes]


def test_a_full_queue_of_one_pseudo_channel_does_not_keep_requests_from_the_other():
    both = [request(), request(column=1), request(pseudo_channel=1), request(pseudo_channel=1, column=1)]
    result = simulate(*both, standard=PSEUDO, read_queue=1)
    # The first reads leave their queues in 5 and 6; the places can be taken from 6 and 7 on.
    assert entries(result) == [0, 6, 0, 7]
    assert sent(result) == "1 ACT, 2 ACT, 5 RD, 6 RD, 9 RD, 10 RD"


def test_one_pseudo_channel_writes_while_the_other_reads():
    result = simulate(request(write=True), request(pseudo_channel=1), standard=PSEUDO, high=1, low=0)
    assert sent(result) == "1 ACT, 2 ACT, 5 WR, 6 RD"


def test_of_two_pseudo_channels_the_command_of_the_older_request_goes_first():
    # When the bus is free again in 5, both other ACTs are legal; that of pseudo-channel 1 is for the older request.
    slow = Tiny(Shape(pseudo_channels=2), clocks=dict.fromkeys(ALL, 1) | {"ACT": 3})
    older = [request(group=1, arrival=1), request(pseudo_channel=1, arrival=1), request(arrival=2)]
    result = simulate(*older, standard=slow)
    acts = [(entry[0], entry[3], entry[5]) for entry in result.log if entry[1] == "ACT"]
    assert acts == [(2, 0, 1), (5, 1, 0), (10, 0, 0)]  # reads go in 8 and 9


def test_a_column_command_of_one_pseudo_channel_goes_before_an_older_activate_of_the_other():
    # The row of pseudo-channel 0 is open from 1 on; in 5 its read and the ACT of the older request are both legal.
    slow = Tiny(Shape(pseudo_channels=2), clocks=dict.fromkeys(ALL, 1) | {"ACT": 4})
    result = simulate(request(), request(pseudo_channel=1), standard=slow)
    assert [(entry[0], entry[1], entry[3]) for entry in result.log] == [
        (1, "ACT", 0), (5, "RD", 0), (6, "ACT", 1), (10, "RD", 1),
    ]  # fmt: skip


def test_a_request_that_starves_in_one_pseudo_channel_does_not_hold_up_the_other():
    both = [request(), request(row=1), request(pseudo_channel=1), request(pseudo_channel=1, column=1)]
    calm = simulate(*both, standard=PSEUDO)
    starving = simulate(*both, standard=PSEUDO, starvation=2)
    assert sent(starving) == "1 ACT, 2 ACT, 5 RD, 6 RD, 9 PRE, 10 RD, 12 ACT, 16 RD"
    assert [entry for entry in starving.log if entry[3] == 1] == [entry for entry in calm.log if entry[3] == 1]


def test_ranks_that_share_a_data_bus_fall_due_for_refresh_as_far_apart_as_can_be():
    shape = Shape(pseudo_channels=2, ranks=2)
    standard = Tiny(shape, refresh={"all_bank": TinyRefresh("REF", 400, 0)})
    result = simulate(request(arrival=500), standard=standard, refresh="all_bank")
    assert [(entry[0], entry[3], entry[4]) for entry in result.log if entry[1] == "REF"] == [
        (100, 0, 0), (200, 1, 0), (300, 0, 1), (400, 1, 1), (500, 0, 0),
    ]  # fmt: skip


def test_a_read_is_forwarded_from_a_queued_write_of_its_burst_only():
    result = simulate(request(write=True), request(), request(column=1), high=1, low=0)
    assert kinds(result) == "miss forwarded hit"
    assert [outcome.entry for outcome in result.outcomes] == [0, 1, 2]
    assert result.outcomes[1].done == 1 + 2
    # Write mode begins in 1 and ends only when the write is gone, in 6; then nCWL + nBL + nWTR_L after the write.
    assert sent(result) == "1 ACT, 5 WR, 14 RD"


def test_a_read_is_forwarded_though_the_read_queue_is_full_and_in_the_cycle_of_the_column_command():
    # Read mode from 2 on, as 1 write <= low: the read of group 1 is activated in 3, leaves in 7 and fills its queue.
    result = simulate(request(write=True), request(group=1), request(arrival=3), read_queue=1, high=2, low=1)
    assert result.outcomes[2].entry == 3 and result.outcomes[2].forwarded
    result = simulate(request(write=True), request(arrival=5), request(arrival=6))
    assert kinds(result) == "miss forwarded hit"  # the write's command is in 5


def test_a_write_waits_for_a_queued_read_of_its_burst():
    result = simulate(request(), request(write=True), request(group=1))
    assert [outcome.entry for outcome in result.outcomes] == [0, 6, 7]
    # Write mode in 7, without reads; read mode in 8, as 1 write <= low; write mode in 13: 12 + RTW.
    assert sent(result) == "1 ACT, 5 RD, 8 ACT, 12 RD, 18 WR"


@pytest.mark.parametrize("write", [False, True])
def test_a_place_freed_in_a_cycle_is_taken_in_the_next(write):
    result = simulate(request(write=write), request(column=1, write=write), read_queue=1, write_queue=1, high=1, low=0)
    assert result.outcomes[1].entry == 6


def test_arrival_and_dependency_hold_up_all_behind_them():
    result = simulate(request(), request(group=1, after=1), request(group=2), request(group=3, arrival=20))
    assert [outcome.entry for outcome in result.outcomes] == [0, 12, 13, 20]
    assert result.outcomes[3].latency == result.outcomes[3].done - 20
    assert result.outcomes[1].latency == result.outcomes[1].done - 12


def test_channels_enter_independently_and_share_dependencies():
    result = simulate(request(), request(channel=1), request(channel=1, after=2), standard=Tiny(Shape(channels=2)))
    assert [outcome.entry for outcome in result.outcomes] == [0, 0, 12]
    assert [entry[:3] for entry in result.log] == [
        (1, "ACT", 0), (1, "ACT", 1), (5, "RD", 0), (5, "RD", 1), (13, "RD", 1)
    ]  # fmt: skip


def test_writes_are_drained_from_the_high_to_the_low_watermark():
    writes = [request(group=1, column=i, write=True) for i in range(2)]
    result = simulate(request(), *writes, high=2, low=1)
    # Write mode in 3. The read could go in 5; it may from 8 on, and waits for the write in 7 (nCWL + nBL + nWTR_S).
    # Reads are gone in 15: write mode, and the row is still open; 14 + RTW.
    assert sent(result) == "1 ACT, 3 ACT, 7 WR, 14 RD, 20 WR"
    assert kinds(result) == "miss miss hit"


def test_reads_go_first_below_the_high_watermark():
    writes = [request(group=1, column=i, write=True) for i in range(2)]
    result = simulate(request(), *writes, high=3, low=1)
    assert sent(result) == "1 ACT, 5 RD, 6 ACT, 11 WR, 15 WR"


def test_row_hits_overtake_until_the_oldest_starves():
    requests = [request(), request(row=1), request(column=1), request(column=2), request(column=3)]
    assert sent(simulate(*requests)) == "1 ACT, 5 RD, 9 RD, 13 RD, 17 RD, 20 PRE, 23 ACT, 27 RD"
    # With 10 clocks, the request of cycle 1 starves in 11, the one of cycle 3 in 13.
    starved = simulate(*requests, starvation=10)
    assert sent(starved) == "1 ACT, 5 RD, 9 RD, 12 PRE, 15 ACT, 19 RD, 23 PRE, 26 ACT, 30 RD, 34 RD"
    assert kinds(starved) == "miss conflict hit conflict hit"


def test_a_starving_request_is_served_in_whichever_queue_it_is():
    requests = [request(write=True, group=1), *(request(column=i) for i in range(4))]
    # Reads enter from 1 on, so write mode (begun in 1) ends in 2 (1 write <= low): ACT of the write in 1, of the reads
    # in 3. The write starves in 5 and goes at once; the reads follow after nCWL + nBL + nWTR_S.
    result = simulate(*requests, starvation=5)
    assert sent(result) == "1 ACT, 3 ACT, 5 WR, 12 RD, 16 RD, 20 RD, 24 RD"
    assert sent(simulate(*requests)) == "1 ACT, 3 ACT, 7 RD, 11 RD, 15 RD, 19 RD, 25 WR"


def test_the_closed_policy_precharges_with_the_last_request_for_the_row():
    result = simulate(request(), request(column=1), request(row=1), row_policy="closed")
    assert sent(result) == "1 ACT, 5 RD, 9 RDA, 15 ACT, 19 RDA"  # 9 + nRTP + nRP
    assert kinds(result) == "miss hit miss"


def test_the_closed_policy_keeps_a_row_open_for_an_older_request_of_the_other_queue():
    # Write mode in 1, read mode in 2 (1 write <= low), write mode again in 6; 5 + RTW.
    result = simulate(request(write=True), request(column=1), row_policy="closed", high=2, low=1)
    assert sent(result) == "1 ACT, 5 RD, 11 WRA"


def test_the_timeout_policy_precharges_an_idle_row():
    requests = [request(), request(row=1, arrival=60)]
    result = simulate(*requests, row_policy="timeout", row_timeout=10)
    assert sent(result) == "1 ACT, 5 RD, 15 PRE, 61 ACT, 65 RD"
    assert kinds(result) == "miss miss"
    assert sent(simulate(*requests)) == "1 ACT, 5 RD, 61 PRE, 64 ACT, 68 RD"


def test_the_timeout_policy_spares_a_row_that_a_queued_request_of_the_other_queue_wants():
    reads = [request(group=1, column=i) for i in range(5)]
    requests = [request(), request(column=1, write=True), *reads]
    result = simulate(*requests, row_policy="timeout", row_timeout=1, low=1, high=2)
    # Group 0 stays open for the write; group 1, which nobody wants after 23, is precharged nRTP later.
    assert sent(result) == "1 ACT, 3 ACT, 5 RD, 7 RD, 11 RD, 15 RD, 19 RD, 23 RD, 26 PRE, 29 WR"
    assert result.log[8][5] == 1


REFRESHED = Tiny(refresh={"all_bank": TinyRefresh("REF", 200, 4)})


def test_a_refresh_that_may_not_be_postponed_holds_the_rank_and_closes_it():
    result = simulate(request(arrival=195), standard=REFRESHED, refresh="all_bank")
    # The read could go in 200. PREA: 196 + nRAS; REF after nRP, ACT after nRFC.
    assert sent(result) == "196 ACT, 204 PREA, 207 REF, 227 ACT, 231 RD"
    assert result.log[1] == (204, "PREA", 0, 0, 0, -1, -1, -1, -1)
    assert result.outcomes[0].latency == 231 + 7 - 195
    assert kinds(result) == "miss"


def test_a_refresh_may_be_postponed_while_requests_are_queued():
    result = simulate(request(arrival=195), request(arrival=201), standard=REFRESHED, refresh="all_bank", postpone=1)
    # The first request leaves in 200 and the second is not seen before 202: the refresh begins in 201.
    assert sent(result) == "196 ACT, 200 RD, 204 PREA, 207 REF, 227 ACT, 231 RD"
    result = simulate(request(arrival=195), request(arrival=196), standard=REFRESHED, refresh="all_bank", postpone=1)
    assert sent(result) == "196 ACT, 200 RD, 204 RD"


def test_the_timeout_policy_leaves_held_banks_to_the_refresh():
    requests = [request(arrival=180), request(group=1, arrival=194), request(arrival=240)]
    result = simulate(*requests, standard=REFRESHED, refresh="all_bank", row_policy="timeout", row_timeout=16)
    # Group 0 would time out in 201, but all is held from 200 on until PREA may close group 1: 195 + nRAS.
    assert sent(result) == "181 ACT, 185 RD, 195 ACT, 199 RD, 203 PREA, 206 REF, 241 ACT, 245 RD"


def test_idle_ranks_are_refreshed_in_turn():
    standard = Tiny(Shape(ranks=2), refresh=REFRESHED.refresh)
    result = simulate(request(arrival=450), standard=standard, refresh="all_bank")
    assert [entry[:5] for entry in result.log] == [
        (100, "REF", 0, 0, 0), (200, "REF", 0, 0, 1), (300, "REF", 0, 0, 0), (400, "REF", 0, 0, 1),
        (451, "ACT", 0, 0, 0), (455, "RD", 0, 0, 0),
    ]  # fmt: skip


def same_bank(covers_groups):
    return Tiny(refresh={"same_bank": TinyRefresh("REFsb", 100, covers_groups)})


def test_same_bank_refresh_takes_the_banks_in_turn_and_names_no_group_if_it_covers_all():
    result = simulate(request(arrival=350), standard=same_bank(4), refresh="same_bank")
    assert [entry for entry in result.log if entry[1] == "REFsb"] == [
        (cycle, "REFsb", 0, 0, 0, -1, bank, -1, -1) for cycle, bank in [(100, 0), (200, 1), (300, 0)]
    ]


def test_set_refresh_takes_all_groups_of_a_bank_number_before_the_next():
    result = simulate(request(arrival=550), standard=same_bank(2), refresh="same_bank")
    assert [entry[4:7] for entry in result.log if entry[1] == "REFsb"] == [
        (0, group, bank) for group, bank in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0)]
    ]


def test_set_refresh_precharges_the_open_banks_of_the_set_and_leaves_the_others_to_their_requests():
    requests = [request(group=group, bank=bank, arrival=80) for group, bank in [(2, 0), (0, 0), (0, 1)]]
    result = simulate(*requests, request(bank=1, column=1, arrival=99), standard=same_bank(2), refresh="same_bank")
    # Activates in 81, 83, 86 (same group as the one before), reads in 85, 87, 91. The set is groups 0 and 2 of bank 0.
    # Precharges of it go before the read in 100 and 101; the read follows in 102, the refresh would in 101 + nRP.
    assert [(entry[0], entry[1], *entry[5:7]) for entry in result.log] == [
        (81, "ACT", 2, 0), (83, "ACT", 0, 0), (85, "RD", 2, 0), (86, "ACT", 0, 1), (87, "RD", 0, 0), (91, "RD", 0, 1),
        (100, "PRE", 0, 0), (101, "PRE", 2, 0), (102, "RD", 0, 1),
    ]  # fmt: skip


def test_a_set_that_requests_want_may_be_postponed_and_holds_its_banks_only():
    wanted = [request(column=i, arrival=94) for i in range(3)]
    standard = same_bank(4)
    # ACT in 95, reads in 99 and 103 and 107 if the refresh of bank 0 waits, else after it: PRE in 103, REFsb in 106.
    postponed = simulate(*wanted, standard=standard, refresh="same_bank", postpone=1)
    assert sent(postponed) == "95 ACT, 99 RD, 103 RD, 107 RD"
    at_once = simulate(*wanted, request(bank=1, arrival=101), standard=standard, refresh="same_bank")
    assert sent(at_once) == "95 ACT, 99 RD, 102 ACT, 103 PRE, 106 REFsb, 107 RD, 116 ACT, 120 RD, 124 RD"


MAPPED = Tiny(Shape(channels=2, ranks=2, bank_groups=4, banks=2, rows=8, columns=4))


def test_digits_are_read_from_the_least_significant_end():
    the_map = parse_map("row rank bank column:1 bank_group channel column", MAPPED)
    # column bit 0, channel, two bits of the group, column bit 1, bank, rank, three bits of the row.
    address = 0b101_1_0_1_10_1_0 << 6
    assert the_map.locate(address) == {
        "channel": 1, "pseudo_channel": 0, "rank": 1, "bank_group": 2, "bank": 0, "row": 5, "column": 2
    }  # fmt: skip
    assert the_map.locate(address + 63 + (5 << 16)) == the_map.locate(address)
    assert the_map.burst(address + 63 + (5 << 16)) == address >> 6


def test_fields_are_hashed_with_the_low_bits_of_row_and_column():
    text = "row rank bank column bank_group channel"
    plain = parse_map(text, MAPPED)
    hashed = parse_map(text + " | bank ^= row, bank_group ^= row>>1, rank ^= column", MAPPED)
    for address in range(0, 1 << 16, 64):
        fields = plain.locate(address)
        fields["bank"] ^= fields["row"] & 1
        fields["bank_group"] ^= fields["row"] >> 1
        fields["rank"] ^= fields["column"] & 1
        assert hashed.locate(address) == fields


@pytest.mark.parametrize(
    "text", ["row rank bank column bank_group", "row row rank bank column bank_group channel", "bank:3 row"]
)
def test_a_map_without_exactly_all_bits_is_refused(text):
    with pytest.raises(ValueError, match="exactly once"):
        parse_map(text, MAPPED)


def test_a_hash_of_anything_but_row_or_column_is_refused():
    with pytest.raises(ValueError, match="row or column"):
        parse_map("row rank bank column bank_group channel | bank ^= rank", MAPPED)


def test_requests_of_one_burst_share_its_identity():
    placed = place_requests(MAPPED, "row rank bank column bank_group channel", [0, 63, 64], [False, True, False])
    assert placed[0].burst == placed[1].burst != placed[2].burst
    assert not any(one.timed for one in placed)
