"""The host reference with NDP units that share the ranks, on cases worked out by hand from HOST_CONTROLLER.md.

NDP bursts are offered from cycle 0 on; a request that enters in cycle 0 is seen in 1.
"""

import pytest

from oracles.tiny_standard import ALL, COLUMN, Shape, Tiny, TinyRefresh, burst, kinds, request, sent, simulate

TWO_RANKS = Tiny(Shape(ranks=2))
POLICIES = ("host_first", "ndp_first", "alternate")


def test_a_lone_ndp_read_begins_at_once_and_counts_to_the_end():
    result = simulate(ndp=[[burst(group=2, bank=1, row=3, column=6)]])
    assert result.log == [(0, "ACT", 0, 0, 0, 2, 1, 3, -1), (4, "RDN", 0, 0, 0, 2, 1, 3, 6)]
    assert (result.ndp, result.end) == ([[4]], 11)  # 4 + nCL + nBL
    result = simulate(ndp=[[burst(write=True)]])
    assert (sent(result), result.ndp, result.end) == ("0 ACT, 4 WRN", [[4]], 9)


def test_sequences_are_numbered_by_channel_pseudo_channel_and_rank():
    standard = Tiny(Shape(channels=2, pseudo_channels=2, ranks=2))
    result = simulate(standard=standard, ndp=[[], [], [], [], [], [], [burst()], []])
    assert [entry[:5] for entry in result.log] == [(0, "ACT", 1, 1, 0), (4, "RDN", 1, 1, 0)]
    assert result.ndp == [[], [], [], [], [], [], [4], []]


def test_ndp_commands_of_other_ranks_leave_the_busses_of_the_channel_alone():
    result = simulate(request(), standard=TWO_RANKS, ndp=[[], [burst(column=i) for i in range(3)]])
    assert sent(result) == "0 ACT, 1 ACT, 4 RDN, 5 RD, 8 RDN, 12 RDN"
    # On one data bus the RD would keep nBL + nRTRS from either RDN.
    result = simulate(request(), standard=TWO_RANKS, ndp=[[], [burst(group=i, column=i) for i in (0, 1)]])
    assert sent(result) == "0 ACT, 1 ACT, 2 ACT, 4 RDN, 5 RD, 6 RDN"


def test_a_host_command_needs_the_bus_of_its_rank_for_all_clocks_of_an_ndp_command():
    slow = Tiny(Shape(ranks=2), clocks=dict.fromkeys(ALL, 1) | {"ACT": 3})
    result = simulate(request(group=1), standard=slow, ndp=[[burst()], []])
    # ACT could go in 2, RDN in 4; the RD keeps nCCD_S from the RDN.
    assert sent(result) == "0 ACT, 3 ACT, 6 RDN, 8 RD"
    assert sent(simulate(request(group=1), standard=slow, ndp=[[], [burst()]])) == "0 ACT, 1 ACT, 4 RDN, 5 RD"


def test_ndp_bursts_keep_the_turnarounds_of_their_rank():
    result = simulate(request(group=1), ndp=[[burst(write=True)]])
    assert sent(result) == "0 ACT, 2 ACT, 4 WRN, 11 RD"  # nCWL + nBL + nWTR_S
    result = simulate(request(group=1, write=True), ndp=[[burst()]])
    assert sent(result) == "0 ACT, 2 ACT, 4 RDN, 10 WR"
    result = simulate(request(column=1), ndp=[[burst(write=True)]], ndp_policy="ndp_first")
    assert sent(result) == "0 ACT, 4 WRN, 13 RD"  # nWTR_L in the bank group
    assert kinds(result) == "hit"


@pytest.mark.parametrize(
    ("policy", "columns"),
    [
        ("host_first", "4 RDN, 8 RD, 12 RD, 16 RD, 20 RDN, 24 RDN"),
        ("ndp_first", "4 RDN, 8 RDN, 12 RDN, 16 RD, 20 RD, 24 RD"),
        ("alternate", "4 RDN, 8 RD, 12 RDN, 16 RD, 20 RDN, 24 RD"),
    ],
)
def test_the_policy_says_whose_column_command_goes_first(policy, columns):
    reads = [request(column=i) for i in range(3)]
    # One bank group, so that all keep nCCD_L. The first RD could go in 7 but for the RDN.
    result = simulate(*reads, ndp=[[burst(bank=1, column=i) for i in range(3)]], ndp_policy=policy)
    assert sent(result) == "0 ACT, 3 ACT, " + columns


@pytest.mark.parametrize(
    ("policy", "commands"),
    [
        ("host_first", "8 PRE, 11 ACT, 15 RD, 19 PRE, 22 ACT, 26 RDN"),
        ("ndp_first", "8 PRE, 11 ACT, 15 RDN, 19 PRE, 22 ACT, 26 RD"),
        ("alternate", "8 PRE, 11 ACT, 15 RD, 19 PRE, 22 ACT, 26 RDN"),
    ],
)
def test_the_policy_says_whose_row_a_bank_opens_next(policy, commands):
    result = simulate(request(), ndp=[[burst(row=1), burst(row=2)]], ndp_policy=policy)
    assert sent(result) == "0 ACT, 4 RDN, " + commands
    assert kinds(result) == "conflict"


def test_under_ndp_first_the_host_closes_no_row_of_a_bank_with_offered_bursts():
    bursts = [burst(column=i) for i in range(4)]
    # The host's PRE would be legal in 11, between RDNs.
    result = simulate(request(row=1), ndp=[bursts], ndp_policy="ndp_first")
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 12 RDN, 16 RDN, 19 PRE, 22 ACT, 26 RD"


def test_under_host_first_ndp_closes_no_row_of_a_bank_that_the_active_queue_wants():
    reads = [request(column=i) for i in range(3)]
    bursts = [burst(group=1), burst(row=1)]
    # The second burst is offered from 5 on; NDP's PRE is legal in 13, between RDs.
    result = simulate(*reads, ndp=[bursts], ndp_window=1)
    assert sent(result) == "0 ACT, 2 ACT, 4 RDN, 6 RD, 10 RD, 14 RD, 17 PRE, 20 ACT, 24 RDN"
    result = simulate(*reads, ndp=[bursts], ndp_window=1, ndp_policy="alternate")
    assert sent(result) == "0 ACT, 2 ACT, 4 RDN, 6 RD, 10 PRE, 13 ACT, 17 RDN, 21 PRE, 24 ACT, 28 RD, 32 RD"
    assert kinds(result) == "miss conflict hit"


def test_ndp_column_commands_go_before_its_older_precharges():
    result = simulate(ndp=[[burst(), burst(row=1), burst(bank=1)]])
    assert sent(result) == "0 ACT, 3 ACT, 4 RDN, 8 RDN, 9 PRE, 12 ACT, 16 RDN"  # 8: nCCD_L, and nRAS of the first ACT


@pytest.mark.parametrize(
    ("policy", "commands", "ranks"),
    [
        # Rank 1's read could go in 8, too: it waits nBL + nRTRS after rank 0's.
        ("host_first", "4 RD, 4 RDN, 8 RD, 11 RD, 12 RDN", [0, 1, 0, 1, 0]),
        # In 8 rank 0's older read is passed over, as NDP goes first there; it waits nCCD_L for the RDN.
        ("alternate", "4 RD, 4 RDN, 8 RD, 8 RDN, 12 RD", [0, 1, 1, 0, 0]),
        ("ndp_first", "4 RDN, 4 RDN, 8 RD, 11 RD, 14 RD", [0, 1, 0, 1, 0]),
    ],
)
def test_where_ndp_goes_first_in_a_rank_the_host_turns_to_another(policy, commands, ranks):
    requests = [request(column=1), request(column=2), request(rank=1)]
    result = simulate(*requests, standard=TWO_RANKS, ndp=[[burst()], [burst(bank=1)]], ndp_policy=policy)
    assert sent(result) == "0 ACT, 0 ACT, 3 ACT, " + commands
    assert [entry[4] for entry in result.log] == [0, 1, 1, *ranks]
    assert kinds(result) == "hit hit miss"


def test_a_column_command_goes_before_a_row_command_to_its_bank():
    columns = tuple(COLUMN.split())
    two = Tiny(busses=(tuple(name for name in ALL if name not in columns), columns))
    bursts = [burst(row=1, column=i) for i in range(3)]
    # In 8 both the host's PRE and the second RDN are legal; on one bus the host goes first.
    result = simulate(request(), standard=two, ndp=[bursts])
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 11 PRE, 14 ACT, 18 RD, 22 PRE, 25 ACT, 29 RDN"
    result = simulate(request(), ndp=[bursts])
    assert sent(result) == "0 ACT, 4 RDN, 8 PRE, 11 ACT, 15 RD, 19 PRE, 22 ACT, 26 RDN, 30 RDN"
    # So does the host's column command before NDP's PRE.
    bursts = [burst(row=1), burst(row=2)]
    result = simulate(request(row=1, column=1, arrival=3), standard=two, ndp=[bursts], ndp_policy="ndp_first")
    assert sent(result) == "0 ACT, 4 RDN, 8 RD, 11 PRE, 14 ACT, 18 RDN"
    result = simulate(request(row=1, column=1, arrival=3), ndp=[bursts], ndp_policy="ndp_first")
    assert sent(result) == "0 ACT, 4 RDN, 8 PRE, 11 ACT, 15 RDN, 19 PRE, 22 ACT, 26 RD"


def test_commands_of_a_cycle_are_logged_by_bus_and_the_hosts_before_those_of_ndp():
    columns = tuple(COLUMN.split())
    two = Tiny(Shape(ranks=3), busses=(tuple(name for name in ALL if name not in columns), columns))
    ndp = [[burst(group=i) for i in range(4)], [burst(group=i) for i in range(2)], []]
    result = simulate(request(rank=2, arrival=1), standard=two, ndp=ndp)
    assert [(entry[1], entry[4]) for entry in result.log if entry[0] == 6] == [
        ("ACT", 0), ("RD", 2), ("RDN", 0), ("RDN", 1)
    ]  # fmt: skip


def test_only_bursts_in_the_window_are_offered():
    bursts = [burst(), burst(group=1)]
    assert sent(simulate(ndp=[bursts], ndp_window=2)) == "0 ACT, 2 ACT, 4 RDN, 6 RDN"
    assert sent(simulate(ndp=[bursts], ndp_window=1)) == "0 ACT, 4 RDN, 5 ACT, 9 RDN"


def test_ndp_row_hits_overtake_within_the_window():
    bursts = [burst(), burst(row=1), burst(column=1), burst(group=1)]
    result = simulate(ndp=[bursts], ndp_window=2)
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 9 ACT, 11 PRE, 13 RDN, 14 ACT, 18 RDN"
    assert result.ndp == [[4, 18, 8, 13]]


def ndp_refreshed(interval):
    return Tiny(Shape(ranks=2), refresh={"all_bank": TinyRefresh("REF", interval, 4)})


@pytest.mark.parametrize("policy", POLICIES)
def test_a_refresh_goes_before_ndp_and_holds_its_rank_only(policy):
    eight = [burst(column=i) for i in range(8)]
    result = simulate(standard=ndp_refreshed(60), refresh="all_bank", ndp=[eight, eight[:2]], ndp_policy=policy)
    # Rank 0 is due in 30, and held from then on: PREA nRTP after the RDN of 28.
    assert [entry[:2] for entry in result.log if entry[4] == 0] == [
        (0, "ACT"), *((cycle, "RDN") for cycle in range(4, 29, 4)),
        (31, "PREA"), (34, "REF"), (54, "ACT"), (58, "RDN"),
    ]  # fmt: skip
    assert result.ndp[1] == [4, 8]
    result = simulate(standard=ndp_refreshed(32), refresh="all_bank", ndp=[[], eight[:4]], ndp_policy=policy)
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 12 RDN, 16 REF, 16 RDN"


def test_no_ndp_command_goes_to_a_held_bank():
    bursts = [*(burst(column=i) for i in range(5)), burst(row=1)]
    result = simulate(standard=ndp_refreshed(60), refresh="all_bank", ndp=[bursts, []])
    # The last RDN could go in 30, when the refresh of rank 0 begins; PREA waits nRAS.
    assert [entry[:2] for entry in result.log if entry[4] == 0] == [
        (0, "ACT"), *((cycle, "RDN") for cycle in range(4, 21, 4)), (23, "PRE"), (26, "ACT"),
        (34, "PREA"), (37, "REF"), (57, "ACT"), (61, "RDN"),
    ]  # fmt: skip


def test_a_refresh_may_be_postponed_for_ndp_bursts():
    eight = [burst(column=i) for i in range(8)]
    result = simulate(standard=ndp_refreshed(60), refresh="all_bank", ndp=[eight, []], postpone=1)
    assert result.ndp == [[4 * i for i in range(1, 9)], []]
    # The set of bank 0, due in 10, waits; that of bank 1, due in 20, is not wanted, nor owed before bank 0's.
    standard = Tiny(refresh={"same_bank": TinyRefresh("REFsb", 10, 4)})
    result = simulate(standard=standard, refresh="same_bank", ndp=[eight[:4]], postpone=1)
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 12 RDN, 16 RDN"
    other = [burst(bank=1, column=i) for i in range(4)]
    result = simulate(standard=standard, refresh="same_bank", ndp=[other], postpone=1)
    assert sent(result) == "0 ACT, 4 RDN, 8 RDN, 10 REFsb, 12 RDN, 16 RDN"


def test_a_starving_request_goes_before_ndp_in_its_rank():
    six = [burst(column=i) for i in range(6)]
    result = simulate(request(row=1), ndp=[six], ndp_policy="ndp_first", starvation=10)
    # It starves in 10; else it would wait for all six.
    served = "11 PRE, 14 ACT, 18 RD, 22 PRE, 25 ACT"
    assert sent(result) == f"0 ACT, 4 RDN, 8 RDN, {served}, 29 RDN, 33 RDN, 37 RDN, 41 RDN"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_starving_request_silences_ndp_in_its_rank_alone(policy):
    ndp = [[burst(group=1)], [burst(group=1)]]
    result = simulate(request(), standard=TWO_RANKS, ndp=ndp, ndp_policy=policy, starvation=1)
    # It starves in 1. Rank 0's RDN could go in 4.
    assert sent(result) == "0 ACT, 0 ACT, 2 ACT, 4 RDN, 6 RD, 8 RDN"
    assert result.ndp == [[8], [4]]


def test_the_closed_policy_keeps_a_row_open_for_offered_bursts():
    assert sent(simulate(request(), ndp=[[burst(column=1)]], row_policy="closed")) == "0 ACT, 4 RD, 8 RDN"
    result = simulate(request(), ndp=[[burst(bank=1)]], row_policy="closed")
    assert sent(result) == "0 ACT, 3 ACT, 4 RDN, 8 RDA"
    result = simulate(request(), ndp=[[burst(bank=1), burst(column=1)]], row_policy="closed", ndp_window=1)
    assert sent(result) == "0 ACT, 3 ACT, 4 RDN, 8 RD, 12 RDN"


def test_the_timeout_policy_counts_ndp_bursts_and_spares_banks_that_they_want():
    policy = {"row_policy": "timeout", "row_timeout": 10}
    result = simulate(request(group=1, arrival=40), ndp=[[burst()]], **policy)
    assert sent(result) == "0 ACT, 4 RDN, 14 PRE, 41 ACT, 45 RD"
    # After the RDN, the write must wait for RTW; a PRE would be legal in 8.
    result = simulate(ndp=[[burst(), burst(write=True)]], row_policy="timeout", row_timeout=1)
    assert sent(result) == "0 ACT, 4 RDN, 10 WRN"
