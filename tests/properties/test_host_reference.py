"""What any memory controller must keep, whatever the case, holds for the per-cycle reference and its page."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.host_controller import Config, run
from properties.host_cases import CYCLE_LIMIT, case, requests_of, run_reference, shared_case

from ndpsim.dram.checker.checker import check
from ndpsim.dram.log.log import COMMANDS, FIELDS, CommandLog

READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
NDP = ("RDN", "WRN")
any_case = case() | shared_case()


def column_cycles(a_case, result):
    """Return when the column command of each request was issued; None if it was forwarded."""
    standard = a_case.standard
    latency = {False: standard.read_latency, True: standard.write_latency}
    return [
        None if outcome.forwarded else outcome.done - latency[write] - standard.timing["nBL"]
        for outcome, write in zip(result.outcomes, a_case.writes, strict=True)
    ]


@settings(max_examples=20, deadline=None)
@given(any_case)
def test_every_request_gets_one_column_command_at_its_place(a_case):
    result = run_reference(a_case)
    expected = [
        (cycle, one.write, one.channel, one.pseudo_channel, one.rank, one.bank_group, one.bank, one.row, one.column)
        for one, cycle in zip(requests_of(a_case), column_cycles(a_case, result), strict=True)
        if cycle is not None
    ]
    sent = [(entry[0], entry[1] in WRITES, *entry[2:]) for entry in result.log if entry[1] in READS + WRITES]
    assert sorted(sent) == sorted(expected)


@settings(max_examples=20, deadline=None)
@given(any_case)
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


@settings(max_examples=20, deadline=None)
@given(any_case)
def test_rows_are_open_when_used_and_closed_when_activated_or_refreshed(a_case):
    standard = a_case.standard
    open_row = {}
    for _, name, channel, pseudo_channel, rank, group, bank, row, _ in run_reference(a_case).log:
        of_rank = (channel, pseudo_channel, rank)
        where = (*of_rank, group, bank)
        if name == "ACT":
            assert where not in open_row
            open_row[where] = row
        elif name in READS + WRITES + NDP:
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


@settings(max_examples=20, deadline=None)
@given(any_case)
def test_no_two_bursts_meet_on_a_data_bus_and_no_two_commands_on_a_command_bus(a_case):
    standard = a_case.standard
    command_free = defaultdict(int)
    bursts = defaultdict(set)
    for cycle, name, channel, pseudo_channel, rank, *_ in run_reference(a_case).log:
        like = {"RDN": "RD", "WRN": "WR"}.get(name, name)
        kind = next(bus for bus in standard.busses if like in bus)
        busses = [(channel, pseudo_channel, rank, kind)]
        if not any(a_case.ndp) or name not in ("ACT", "PRE", *NDP):  # a log does not tell whose an ACT or PRE is
            busses.append((channel, kind))
        for bus in busses:
            assert cycle >= command_free[bus]
            command_free[bus] = cycle + standard.clocks[like]
        if name in READS + WRITES + NDP:
            begin = cycle + (standard.read_latency if like in READS else standard.write_latency)
            where = [(channel, pseudo_channel, rank)] + ([] if name in NDP else [(channel, pseudo_channel)])
            for bus in where:
                assert begin not in bursts[bus]
                bursts[bus].add(begin)
    for starts in bursts.values():
        assert all(b - a >= standard.timing["nBL"] for a, b in pairwise(sorted(starts)))


@settings(max_examples=20, deadline=None)
@given(any_case)
def test_queues_hold_no_more_than_their_places_and_requests_enter_in_order(a_case):
    result = run_reference(a_case)
    requests = requests_of(a_case)
    columns = column_cycles(a_case, result)
    places = {False: a_case.config["read_queue"], True: a_case.config["write_queue"]}
    last_entry = {}
    for index, (request, outcome) in enumerate(zip(requests, result.outcomes, strict=True)):
        own = request.channel, request.pseudo_channel
        assert outcome.entry > last_entry.get(own, -1)
        assert outcome.entry >= request.arrival
        last_entry[own] = outcome.entry
        if request.after:
            assert outcome.entry >= result.outcomes[index - request.after].done
        if not outcome.forwarded:
            beside = [
                other
                for other in range(index)
                if (requests[other].channel, requests[other].pseudo_channel) == own
                if requests[other].write == request.write
                if columns[other] is not None and columns[other] >= outcome.entry
            ]
            assert len(beside) < places[request.write]


@settings(max_examples=20, deadline=None)
@given(any_case)
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
            turn = rank * shape.pseudo_channels + pseudo_channel
            first_due = interval * (turn + 1) // (shape.pseudo_channels * shape.ranks)
            assert cycle >= first_due + issued[channel, turn] * interval
            issued[channel, turn] += 1


@settings(max_examples=20, deadline=None)
@given(any_case)
def test_the_log_is_legal(a_case):
    result = run_reference(a_case)
    names = ("cycle", "command", "channel", "pseudo_channel", "rank", "bank_group", "bank", "row", "column")
    fields = dict(zip(names, zip(*result.log, strict=True), strict=True))
    fields["command"] = [COMMANDS.index(name) for name in fields["command"]]
    arrays = {name: np.array(values, FIELDS[name]) for name, values in fields.items()}
    report = check(CommandLog.of(bus="shared" if a_case.ndp else "channel", **arrays), a_case.standard)
    allowed = {"tREFI", "refresh_debt"} if a_case.config["refresh"] == "none" else set()
    assert {rule for rule, count in report.counts.items() if count} <= allowed


@settings(max_examples=20, deadline=None)
@given(shared_case())
def test_every_ndp_burst_gets_one_column_command_at_its_place(a_case):
    shape = a_case.standard.organization
    result = run_reference(a_case)
    expected = []
    for number, (sequence, cycles) in enumerate(zip(a_case.ndp, result.ndp, strict=True)):
        channel, rank = divmod(number, shape.pseudo_channels * shape.ranks)
        for (*place, write), cycle in zip(sequence, cycles, strict=True):
            expected.append((cycle, "WRN" if write else "RDN", channel, *divmod(rank, shape.ranks), *place))
    assert sorted(entry for entry in result.log if entry[1] in NDP) == sorted(expected)


@settings(max_examples=20, deadline=None)
@given(shared_case())
def test_older_ndp_bursts_of_a_row_go_first_and_others_are_overtaken_within_the_window(a_case):
    result = run_reference(a_case)
    for sequence, cycles in zip(a_case.ndp, result.ndp, strict=True):
        last = {}
        for place, (burst, cycle) in enumerate(zip(sequence, cycles, strict=True)):
            assert cycle > last.get(burst[:3], -1)
            last[burst[:3]] = cycle
            assert sum(other > cycle for other in cycles[:place]) < a_case.config["ndp_window"]


@settings(max_examples=20, deadline=None)
@given(shared_case())
def test_the_run_ends_when_the_last_request_and_the_last_ndp_burst_are_done(a_case):
    standard, result = a_case.standard, run_reference(a_case)
    ends = [outcome.done for outcome in result.outcomes]
    for sequence, cycles in zip(a_case.ndp, result.ndp, strict=True):
        for burst, cycle in zip(sequence, cycles, strict=True):
            latency = standard.write_latency if burst.write else standard.read_latency
            ends.append(cycle + latency + standard.timing["nBL"])
    assert result.end == max(ends)
    served = [entry[0] for entry in result.log if entry[1] in READS + WRITES + NDP]
    forwarded = [outcome.entry for outcome in result.outcomes if outcome.forwarded]
    assert all(entry[0] <= max(served + forwarded) for entry in result.log)


@settings(max_examples=20, deadline=None)
@given(shared_case(), st.data())
def test_units_on_ranks_that_the_host_does_not_use_leave_it_alone(a_case, data):
    shape = a_case.standard.organization
    ranks = shape.pseudo_channels * shape.ranks
    mine = data.draw(st.integers(0, shape.ranks - 1))
    requests = [replace(request, rank=mine) for request in requests_of(a_case)]
    ndp = [[] if number % ranks % shape.ranks == mine else sequence for number, sequence in enumerate(a_case.ndp)]
    # Refreshes and the timeouts of rows that NDP opened would take the channel's command bus.
    config = Config(**a_case.config | {"refresh": "none", "row_policy": "open"})
    alone, beside = (run(a_case.standard, config, requests, CYCLE_LIMIT, units) for units in ((), ndp))
    assert [entry for entry in beside.log if entry[4] == mine] == alone.log
    assert beside.outcomes == alone.outcomes
