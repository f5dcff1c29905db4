"""The host controller's engine sends the commands of the per-cycle reference, in the same cycles, on every case."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from properties.host_cases import Case, case, run_reference

from ndpsim.dram.address_map import HOST_MAP, host_map
from ndpsim.dram.host.controller import HostConfig, HostController
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.requests.synthetic import synthetic
from ndpsim.dram.requests.trace import array_trace
from ndpsim.dram.standard.constraints import RuleRow
from ndpsim.dram.standard.standard import load_standard


def run_engine(a_case, block=1 << 18, with_log=True):
    trace = array_trace(a_case.addresses, a_case.writes, a_case.arrivals, a_case.afters)
    pieces = []
    controller = HostController(
        a_case.standard,
        HostConfig(**a_case.config, address_map=a_case.address_map),
        timed=trace.timed,
        dependent=trace.dependent,
        log=pieces.append if with_log else None,
    )
    for requests in trace.blocks(block):
        controller.feed(requests)
    result = controller.finish()
    fields = ("cycle", "command", "channel", "pseudo_channel", "rank", "bank_group", "bank", "row", "column")
    columns = [np.concatenate([getattr(piece, name) for piece in pieces] or [[]]).tolist() for name in fields]
    return result, [(cycle, COMMANDS[command], *rest) for cycle, command, *rest in zip(*columns, strict=True)]


def agree(a_case, block=1 << 18):
    expected = run_reference(a_case)
    result, log = run_engine(a_case, block)
    silent, _ = run_engine(a_case, block, with_log=False)
    assert silent.summary() == result.summary()
    assert sorted(log) == sorted(expected.log)
    assert [entry[0] for entry in log] == [entry[0] for entry in expected.log]
    kinds = Counter(outcome.kind for outcome in expected.outcomes)
    assert (result.row_hits, result.row_misses, result.row_conflicts, result.forwarded) == (
        kinds["hit"], kinds["miss"], kinds["conflict"], kinds["forwarded"],
    )  # fmt: skip
    assert result.cycles == max((outcome.done for outcome in expected.outcomes), default=0)
    for writes, found in enumerate((result.read_latency, result.write_latency)):
        latencies = [o.latency for o, write in zip(expected.outcomes, a_case.writes, strict=True) if write == writes]
        assert (found.count, found.total, found.longest) == (
            len(latencies), sum(latencies), max(latencies, default=0),
        )  # fmt: skip
        if latencies:
            median = np.sort(latencies)[(len(latencies) - 1) // 2]
            assert median <= found.percentile(50) <= median * (1 if median < 1024 else 1 + 1 / 512)


@settings(max_examples=100, deadline=None)
@given(case())
def test_engine_and_reference_agree_command_for_command(a_case):
    agree(a_case)


@settings(max_examples=25, deadline=None)
@given(case())
def test_how_the_trace_is_cut_into_blocks_changes_nothing(a_case):
    agree(a_case, block=7)


@pytest.mark.parametrize("name", ["sequential", "row-hit", "mixed"])
@pytest.mark.parametrize("standard_name", ["DDR4-3200AA", "DDR5-4800B", "LPDDR5X-8533", "HBM3-6400"])
@pytest.mark.parametrize("gap", [0, 3, 40])
def test_a_run_with_a_log_and_one_without_are_the_same(name, standard_name, gap):
    standard = load_standard(standard_name, ranks=1, channels=1)
    (requests,) = synthetic(name, 20_000, standard, host_map(None, standard)).blocks()
    arrival = np.cumsum(np.arange(20_000) % 7 % (gap + 1)) if gap else None
    trace = array_trace(requests.address, requests.write, arrival)
    results = []
    for log in (None, lambda piece: None):
        controller = HostController(standard, timed=trace.timed, log=log)
        for block in trace.blocks(4_999):
            controller.feed(block)
        results.append(controller.finish())
    silent, logged = results
    assert silent.summary() == logged.summary()
    assert np.array_equal(silent.read_latency.histogram, logged.read_latency.histogram)
    assert np.array_equal(silent.write_latency.histogram, logged.write_latency.histogram)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(case())
def test_engine_and_reference_agree_on_many_cases(a_case):
    agree(a_case)


def with_defaults(name, standard):
    """The first 600 requests of a synthetic trace."""
    (requests,) = synthetic(name, 600, standard).blocks()
    return Case(
        standard=standard,
        made_from={"name": standard.name},
        config={},
        address_map=HOST_MAP,
        addresses=requests.address.tolist(),
        writes=requests.write.astype(bool).tolist(),
        arrivals=None,
        afters=requests.after.tolist(),
    )


@pytest.mark.parametrize("name", ["sequential", "random", "mixed", "row-hit", "chase"])
@pytest.mark.parametrize("standard_name", ["DDR4-3200AA", "DDR5-4800B", "HBM3-6400"])
def test_engine_and_reference_agree_on_real_memories_with_default_parameters(name, standard_name):
    agree(with_defaults(name, load_standard(standard_name, ranks=2, channels=1)))


def test_engine_and_reference_agree_where_a_standard_limits_reads_in_a_window():
    standard = load_standard("DDR4-3200AA")
    row = RuleRow(rule="tWindow", scope="rank", earlier="RD", later="RD", gap="nRCD + 8", window=4)
    agree(with_defaults("sequential", replace(standard, rows=(*standard.rows, row))))


@pytest.mark.parametrize("seed", range(8))
def test_requests_that_wait_for_one_in_another_channel_enter_as_soon_as_it_is_done(seed):
    """One channel has nothing to do for long; what it waits for comes from the other, whose own next request waits."""
    rng = np.random.default_rng(seed)
    standard = load_standard("DDR4-2400P", channels=2)
    burst = standard.burst_bytes
    run = rng.integers(0, 60, 12).repeat(rng.integers(1, 12, 12))  # stretches in one channel, then the other
    count = len(run)
    a_case = Case(
        standard=standard,
        made_from={"name": standard.name},
        config={"read_queue": 1},
        address_map=HOST_MAP,
        addresses=(run * burst).tolist(),
        writes=[False] * count,
        arrivals=None,
        afters=np.minimum(np.arange(count), rng.choice([0, 1, 1, 2], count)).tolist(),
    )
    agree(a_case)
