"""The engine of ranks that NDP units share sends the commands of the per-cycle reference, in the same cycles."""

import numpy as np
import pytest
from hypothesis import given, settings
from properties.host_cases import run_reference, shared_case

from ndpsim.dram.host.controller import HostConfig, HostController
from ndpsim.dram.host.shared.bursts import NdpBursts
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.requests.trace import array_trace

FIELDS = ("cycle", "command", "channel", "pseudo_channel", "rank", "bank_group", "bank", "row", "column")


def sequences(a_case):
    """The NDP bursts of a case as the engine takes them."""
    return [
        NdpBursts(*(np.array([burst[i] for burst in bursts], np.int64) for i in range(5))) if bursts else None
        for bursts in a_case.ndp
    ]


def run_engine(a_case, block):
    """The result and the log; the channels of one cycle may come in any order, and are put in theirs."""
    trace = array_trace(a_case.addresses, a_case.writes, a_case.arrivals, a_case.afters)
    pieces = []
    controller = HostController(
        a_case.standard,
        HostConfig(**a_case.config, address_map=a_case.address_map),
        timed=trace.timed,
        dependent=trace.dependent,
        log=pieces.append,
        ndp=sequences(a_case),
    )
    for requests in trace.blocks(block):
        controller.feed(requests)
    result = controller.finish()
    assert {piece.bus for piece in pieces} == {"shared" if any(a_case.ndp) else "channel"}
    log = [
        tuple(entry) for piece in pieces for entry in zip(*(getattr(piece, f).tolist() for f in FIELDS), strict=True)
    ]
    assert [entry[0] for entry in log] == sorted(entry[0] for entry in log)
    log = [(entry[0], COMMANDS[entry[1]], *entry[2:]) for entry in log]
    return result, sorted(log, key=lambda entry: (entry[0], entry[2]))


def agree(a_case, block=1 << 18):
    expected = run_reference(a_case)
    result, log = run_engine(a_case, block)
    assert sorted(log) == sorted(expected.log)
    assert result.cycles == max(outcome.done for outcome in expected.outcomes)
    assert result.end == expected.end
    kinds = [outcome.kind for outcome in expected.outcomes]
    assert (result.row_hits, result.row_misses, result.row_conflicts) == tuple(
        kinds.count(kind) for kind in ("hit", "miss", "conflict")
    )
    if any(a_case.ndp):
        assert log == expected.log
        agree_on_ndp(a_case, expected, result.ndp)


def agree_on_ndp(a_case, expected, ndp):
    standard = a_case.standard
    latency = [standard.read_latency + standard.timing["nBL"], standard.write_latency + standard.timing["nBL"]]
    assert ndp.bursts.ravel().tolist() == [len(bursts) for bursts in a_case.ndp]
    assert ndp.done.ravel().tolist() == [
        max((cycle + latency[burst.write] for cycle, burst in zip(cycles, bursts, strict=True)), default=0)
        for cycles, bursts in zip(expected.ndp, a_case.ndp, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(shared_case())
def test_engine_and_reference_agree_command_for_command(a_case):
    agree(a_case)


@settings(max_examples=30, deadline=None)
@given(shared_case())
def test_how_the_trace_is_cut_into_blocks_changes_nothing(a_case):
    agree(a_case, block=7)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(shared_case())
def test_engine_and_reference_agree_on_many_shared_cases(a_case):
    agree(a_case)
