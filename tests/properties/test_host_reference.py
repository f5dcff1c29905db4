"""What any memory controller must keep, whatever the case, holds for the per-cycle reference and its page."""

from collections import defaultdict
from itertools import pairwise

from hypothesis import given, settings
from properties.host_cases import case, requests_of, run_reference, shared_case

READS, WRITES = ("RD", "RDA"), ("WR", "WRA")


def column_cycles(a_case, result):
    """Return when the column command of each request was issued; None if it was forwarded."""
    standard = a_case.standard
    latency = {False: standard.read_latency, True: standard.write_latency}
    return [
        None if outcome.forwarded else outcome.done - latency[write] - standard.timing["nBL"]
        for outcome, write in zip(result.outcomes, a_case.writes, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(case())
def test_every_request_gets_one_column_command_at_its_place(a_case):
    result = run_reference(a_case)
    expected = [
        (cycle, one.write, one.channel, one.pseudo_channel, one.rank, one.bank_group, one.bank, one.row, one.column)
        for one, cycle in zip(requests_of(a_case), column_cycles(a_case, result), strict=True)
        if cycle is not None
    ]
    sent = [(entry[0], entry[1] in WRITES, *entry[2:]) for entry in result.log if entry[1] in READS + WRITES]
    assert sorted(sent) == sorted(expected)


@settings(max_examples=40, deadline=None)
@given(case())
def test_a_read_returns_what_the_last_write_before_it_in_the_trace_wrote(a_case):
    result = run_reference(a_case)
    requests = requests_of(a_case)
    written = {}
    wanted = {}
    for index, request in enumerate(requests):
        if request.write:
            written[request.burst] = index
        else:
            wanted[index] = written.get(request.burst)
    memory = {}
    read = {}
    columns = column_cycles(a_case, result)
    for index in sorted((i for i, cycle in enumerate(columns) if cycle is not None), key=lambda i: columns[i]):
        if requests[index].write:
            memory[requests[index].burst] = index
        else:
            read[index] = memory.get(requests[index].burst)
    for index, outcome in enumerate(result.outcomes):
        if outcome.forwarded:
            queued = [
                other
                for other in range(len(requests))
                if requests[other].write and requests[other].burst == requests[index].burst
                if result.outcomes[other].entry < outcome.entry <= columns[other]
            ]
            read[index] = max(queued, key=lambda other: result.outcomes[other].entry)
    assert read == wanted


@settings(max_examples=40, deadline=None)
@given(case())
def test_rows_are_open_when_used_and_closed_when_activated_or_refreshed(a_case):
    standard = a_case.standard
    open_row = {}
    for _, name, channel, pseudo_channel, rank, group, bank, row, _ in run_reference(a_case).log:
        of_rank = (channel, pseudo_channel, rank)
        where = (*of_rank, group, bank)
        if name == "ACT":
            assert where not in open_row
            open_row[where] = row
        elif name in READS + WRITES:
            assert open_row[where] == row
        elif name == "PRE":
            assert where in open_row
        elif name == "REF":
            assert not any(other[:3] == of_rank for other in open_row)
        elif name in ("REFsb", "REFpb"):
            groups = standard.organization.bank_groups
            step = groups // standard.refresh[a_case.config["refresh"]].covers_groups
            assert not any((*of_rank, other, bank) in open_row for other in range(max(group, 0), groups, step))
        if name in ("PRE", "RDA", "WRA"):
            del open_row[where]
        if name == "PREA":
            open_row = {other: row for other, row in open_row.items() if other[:3] != of_rank}


@settings(max_examples=40, deadline=None)
@given(case())
def test_no_two_bursts_meet_on_a_data_bus_and_no_two_commands_on_a_command_bus(a_case):
    standard = a_case.standard
    command_free = defaultdict(int)
    bursts = defaultdict(list)
    for cycle, name, channel, pseudo_channel, *_ in run_reference(a_case).log:
        bus = (channel, next(bus for bus in standard.busses if name in bus))
        assert cycle >= command_free[bus]
        command_free[bus] = cycle + standard.clocks[name]
        if name in READS + WRITES:
            latency = standard.read_latency if name in READS else standard.write_latency
            bursts[channel, pseudo_channel].append(cycle + latency)
    for starts in bursts.values():
        starts.sort()
        assert all(b - a >= standard.timing["nBL"] for a, b in pairwise(starts))


@settings(max_examples=40, deadline=None)
@given(case())
def test_queues_hold_no_more_than_their_places_and_requests_enter_in_order(a_case):
    result = run_reference(a_case)
    requests = requests_of(a_case)
    columns = column_cycles(a_case, result)
    places = {False: a_case.config["read_queue"], True: a_case.config["write_queue"]}
    last_entry = {}
    for index, (request, outcome) in enumerate(zip(requests, result.outcomes, strict=True)):
        assert outcome.entry > last_entry.get(request.channel, -1)
        assert outcome.entry >= request.arrival
        last_entry[request.channel] = outcome.entry
        if request.after:
            assert outcome.entry >= result.outcomes[index - request.after].done
        if not outcome.forwarded:
            beside = [
                other
                for other in range(index)
                if requests[other].channel == request.channel and requests[other].write == request.write
                if columns[other] is not None and columns[other] >= outcome.entry
            ]
            assert len(beside) < places[request.write]


@settings(max_examples=40, deadline=None)
@given(case())
def test_no_refresh_comes_before_it_is_due(a_case):
    result = run_reference(a_case)
    if a_case.config["refresh"] == "none":
        assert not any(entry[1].startswith("REF") for entry in result.log)
        return
    shape = a_case.standard.organization
    interval = a_case.standard.refresh[a_case.config["refresh"]].interval
    issued = defaultdict(int)
    for cycle, name, channel, pseudo_channel, rank, *_ in result.log:
        if name.startswith("REF"):
            number = pseudo_channel * shape.ranks + rank
            first_due = interval * (number + 1) // (shape.pseudo_channels * shape.ranks)
            assert cycle >= first_due + issued[channel, number] * interval
            issued[channel, number] += 1
