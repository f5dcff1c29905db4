"""The front of the host controller: what it takes, what it refuses, and that its figures are those of its log."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from ndpsim.dram.address_map import host_map
from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.host.controller import HostConfig, HostController, simulate
from ndpsim.dram.log.log import COMMANDS, FIELDS, joined, read_log
from ndpsim.dram.requests.trace import array_trace, open_trace, write_trace
from ndpsim.dram.standard.standard import load_standard, with_overrides
from ndpsim.errors import InputError

DDR4 = load_standard("DDR4-3200AA", ranks=2)
HBM3 = load_standard("HBM3-6400")


def run(standard, trace, config=None, *, block=1 << 18, threads=1):
    """Return the result of a trace, given in blocks, and its log."""
    pieces = []
    controller = HostController(
        standard, config, timed=trace.timed, dependent=trace.dependent, log=pieces.append, threads=threads
    )
    for requests in trace.blocks(block):
        controller.feed(requests)
    return controller.finish(), joined(pieces) if pieces else None


def drawn(seed, n, standard, *, writes=True, back=0, rows=1 << 10):
    """Return n requests within the first rows of each bank; some depend on one up to `back` requests before."""
    rng = np.random.default_rng(seed)
    bursts = host_map(None, standard).size // standard.burst_bytes
    address = rng.integers(0, bursts // standard.organization.rows * rows, n) * standard.burst_bytes
    after = np.minimum(rng.integers(0, back + 1, n), np.arange(n)) * (rng.random(n) < 0.3)
    return array_trace(address, rng.random(n) < 0.4 if writes else None, after=after)


def figures(result):
    """Return all figures of a result, as plain Python."""
    return result.summary() | {
        "histogram": result.read_latency.histogram.tolist(),
        "open_clocks": result.open_clocks.tolist(),
        "commands": {name: counts.tolist() for name, counts in result.commands.items()},
    }


def commands(log, *names):
    """Return which commands of a log have one of these names, bool[n]."""
    return np.isin(log.command, [COMMANDS.index(name) for name in names])


def assert_same(left, right):
    """Check that figures and commands are the same."""
    assert figures(left[0]) == figures(right[0])
    for name in FIELDS:
        assert np.array_equal(getattr(left[1], name), getattr(right[1], name)), name


def faults(standard=DDR4, **config):
    with pytest.raises(InputError) as error:
        HostController(standard, HostConfig(**config))
    return str(error.value).splitlines()


def test_all_faults_of_a_configuration_are_listed_at_once():
    assert faults(read_queue=0, write_queue=4097, starvation=1 << 21, row_policy="shut", refresh="per_bank") == [
        "read_queue: expected an integer from 1 to 4096, found 0",
        "write_queue: expected an integer from 1 to 4096, found 4097",
        f"starvation: expected an integer from 1 to 1048576, found {1 << 21}",
        "row_policy: expected one of open, closed, timeout, found 'shut'",
        "refresh: expected one of none, all_bank for DDR4-3200AA, found 'per_bank'",
    ]
    assert faults(high=7, low=7, row_policy="timeout", postpone=8) == [
        "low: expected an integer from 0 to 6, found 7",
        "row_timeout: expected an integer from 1 to 1099511627776, found 0",
        "postpone: expected an integer from 0 to 7, found 8",
    ]
    assert faults(high=33, row_timeout=5, refresh="none", postpone=1) == [
        "high: expected an integer from 1 to 32, found 33",
        "row_timeout: expected 0 unless row_policy is timeout, found 5",
        "postpone: expected 0 without refresh, found 1",
    ]


def test_numbers_that_are_no_integers_are_refused():
    for value in ("8", 8.0, True, None):
        assert faults(read_queue=value) == [f"read_queue: expected an integer from 1 to 4096, found {value!r}"]


def test_a_refresh_command_for_each_set_may_be_postponed():
    assert faults(HBM3, refresh="per_bank", postpone=8 * 16) == [
        "postpone: expected an integer from 0 to 127, found 128"
    ]
    lpddr = load_standard("LPDDR5X-8533")
    assert faults(lpddr, refresh="per_bank", postpone=64) == ["postpone: expected an integer from 0 to 63, found 64"]
    HostController(lpddr, HostConfig(refresh="per_bank", postpone=63))


@pytest.mark.parametrize(
    ("standard", "words"),
    [
        (with_overrides(DDR4, {"nRC": 73}), r"^nRC: expected at least nRAS \+ nRP = 74, found 73$"),
        (load_standard("DDR5-4800B", ranks=64), "^DDR5-4800B: banks of a channel: expected at most 1024, found 2048$"),
        (with_overrides(DDR4, {"nRFC": 1 << 25}), "longest constraint in clocks: expected at most 16777216, found"),
    ],
)
def test_a_standard_that_the_engine_has_no_room_for_is_refused(standard, words):
    with pytest.raises(InputError, match=words):
        HostController(standard)


def test_a_trace_may_come_in_blocks_of_any_size():
    for standard in (DDR4, HBM3):
        for trace in (drawn(1, 2000, standard), drawn(2, 1000, standard, back=30)):
            whole = run(standard, trace)
            for block in (1, 77, 1024):
                assert_same(run(standard, trace, block=block), whole)


def test_requests_enter_as_far_as_the_blocks_given_determine_what_happens():
    controller = HostController(DDR4)
    entered = []
    for requests in drawn(3, 4096, DDR4).blocks(256):
        controller.feed(requests)
        entered.append(controller.entered)
    assert entered == sorted(entered)
    given = 256 * np.arange(1, len(entered) + 1)
    assert (entered <= given).all() and (entered > given - 64).all()
    assert controller.finish().requests == controller.entered == 4096


def test_a_file_of_the_log_holds_the_pieces_that_a_program_is_given(tmp_path):
    trace, told = drawn(4, 5000, HBM3), []
    result = simulate(trace, HBM3, log=tmp_path / "log.h5", progress=told.append)
    log = read_log(tmp_path / "log.h5")
    assert_same((result, log), run(HBM3, trace, block=700))
    assert (log.standard, log.bus) == ("HBM3-6400", "channel")
    assert (np.diff(log.cycle) >= 0).all()
    assert len(told) == 1 and 0 < told[0] <= 5000


CONFIGURATIONS = {
    "open": {}, "closed": {"row_policy": "closed"}, "timeout": {"row_policy": "timeout", "row_timeout": 60},
    "refresh of sets": {"refresh": "per_bank", "postpone": 5}, "no refresh": {"refresh": "none"},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_figures_are_those_of_the_log(name):
    standard, config = load_standard("HBM3-6400", channels=2), HostConfig(**CONFIGURATIONS[name])
    trace = drawn(5, 20_000, standard, rows=2)
    result, log = run(standard, trace, config)
    counted, logged = result.activity(), activity_of_log(log, standard, end=result.cycles)
    assert np.ravel(counted.open_clocks).tolist() == logged.open_clocks.tolist()
    rank = (log.channel * 2 + log.pseudo_channel) * 2 + log.rank
    for command, counts in result.commands.items():
        assert np.ravel(counts).tolist() == np.bincount(rank[commands(log, command)], minlength=8).tolist(), command
    assert set(result.commands) | {"REFpb"} >= {COMMANDS[code] for code in np.unique(log.command)}
    write = np.concatenate([requests.write for requests in trace.blocks()])
    reads, writes = commands(log, "RD", "RDA").sum(), commands(log, "WR", "WRA").sum()
    assert (result.requests, result.writes, result.reads) == (20_000, write.sum(), 20_000 - write.sum())
    assert (reads, writes) == (result.reads - result.forwarded, result.writes)
    assert result.forwarded > 0 and result.bursts == reads + writes
    assert result.row_hits + result.row_misses + result.row_conflicts == result.bursts
    latency = np.where(commands(log, "RD", "RDA"), 20 + 2, np.where(commands(log, "WR", "WRA"), 10 + 2, 0))
    assert result.cycles == (log.cycle + latency).max()
    assert result.bus_use == (reads + writes) * 2 / (result.cycles * 4)
    assert result.read_latency.histogram.sum() == result.read_latency.count == result.reads
    busy = {"REF": 560, "REFpb": 320 / 16}
    refreshing = sum(commands(log, name).sum() * clocks for name, clocks in busy.items())
    assert result.refresh_share == pytest.approx(refreshing / (result.cycles * 8))


def test_without_refresh_each_activate_is_for_one_miss_or_conflict_and_each_precharge_for_a_conflict():
    for rows in (1, 2, 64):
        trace = drawn(6, 10_000, DDR4, writes=False, rows=rows)
        result, log = run(DDR4, trace, HostConfig(refresh="none", starvation=1 << 20))
        activates, precharges = commands(log, "ACT").sum(), commands(log, "PRE").sum()
        assert (result.row_conflicts, result.row_misses) == (precharges, activates - precharges)
        assert result.row_hits == 10_000 - activates


def test_channels_in_threads_give_the_result_of_one_thread():
    trace = drawn(7, 30_000, HBM3)
    alone = run(HBM3, trace)
    assert_same(run(HBM3, trace, threads=2), alone)
    assert_same(run(HBM3, trace, threads=16, block=1000), alone)
    assert np.unique(alone[1].channel).tolist() == list(range(16))


def test_dependencies_over_channels_give_the_same_result_with_any_number_of_threads():
    trace = drawn(8, 3000, HBM3, back=100)
    alone = run(HBM3, trace)
    assert_same(run(HBM3, trace, threads=2), alone)
    assert_same(run(HBM3, trace, threads=16, block=500), alone)
    assert alone[0].cycles > 2 * run(HBM3, replace(trace, dependent=False))[0].cycles


@pytest.mark.parametrize("standard", [DDR4, HBM3], ids=["DDR4", "HBM3"])
def test_nothing_happens_without_requests(standard):
    for trace in (array_trace([]), array_trace([], arrival=[])):
        result, log = run(standard, trace)
        assert log is None
        summary = result.summary()
        assert summary["cycles"] == summary["requests"] == summary["bandwidth_gb_per_s"] == summary["bus_use"] == 0
        not_known = dict.fromkeys(("mean", "p50", "p90", "p99", "max"))
        assert summary["read_latency_clocks"] == summary["write_latency_ns"] == not_known
        assert summary["row_hit_rate"] is summary["refresh_share"] is None


def test_an_address_beyond_the_memory_wraps_to_its_start():
    size = 2 * 8 << 30
    trace = drawn(9, 1000, DDR4)
    (requests,) = trace.blocks()
    beyond = array_trace(requests.address + size * np.arange(1000) + 63, requests.write)
    wrapped, within = run(DDR4, beyond, block=300), run(DDR4, trace)
    assert (wrapped[0].beyond.requests, wrapped[0].beyond.memory_bytes) == (999, size)
    assert wrapped[0].beyond.first == requests.address[1] + size + 63
    assert (within[0].beyond.requests, within[0].beyond.first) == (0, None)
    assert_same((replace(wrapped[0], beyond=within[0].beyond), wrapped[1]), within)


@pytest.mark.parametrize("standard", [DDR4, HBM3, load_standard("LPDDR5X-8533")], ids=lambda one: one.name)
@pytest.mark.parametrize("text", [None, "column bank bank_group row pseudo_channel rank channel | rank ^= row>>1"])
def test_the_last_burst_of_the_memory_is_within_it_and_the_next_beyond(standard, text):
    size = host_map(text, standard).size
    result, _ = run(standard, array_trace([size - 1, size, 0, 2 * size]), HostConfig(address_map=text))
    assert result.beyond == (size, 2, size)


def test_percentiles_are_those_of_the_sorted_latencies():
    bursts = np.random.default_rng(10).permutation(1 << 20)[:20_000]
    for spacing in (12, 8):  # clocks between arrivals: idle, and more than one rank can take
        arrival = np.arange(20_000) * spacing
        standard = load_standard("DDR4-3200AA", ranks=1)
        result, log = run(standard, array_trace(bursts * 64, arrival=arrival))
        reads = commands(log, "RD")
        place = (((log.row.astype(int) * 4 + log.bank) * 128 + log.column) * 4 + log.bank_group)[reads]
        done = np.empty(1 << 20, np.int64)
        done[place] = log.cycle[reads] + 22 + 4
        latency = np.sort(done[bursts] - arrival)
        found = result.read_latency
        assert (found.count, found.total, found.longest) == (20_000, latency.sum(), latency[-1])
        assert found.mean == pytest.approx(latency.mean())
        for percent in (0, 1, 25, 50, 90, 99, 99.9, 100):
            exact = latency[max(int(np.ceil(20_000 * percent / 100)), 1) - 1]
            assert exact <= found.percentile(percent) <= (exact if exact < 1024 else exact * (1 + 1 / 512)), percent
    assert latency[-1] > 10_000


def peak_memory(path):
    trace = open_trace(path)
    tracemalloc.start()
    result = simulate(trace, DDR4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, result.requests


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_trace_in_a_file(tmp_path):
    peaks = []
    for length in (2_000_000, 20_000_000):
        write_trace(tmp_path / "trace.h5", np.arange(length) * 64, np.arange(length) % 3 == 2)
        peak, requests = peak_memory(tmp_path / "trace.h5")
        assert requests == length
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 1_000_000


def clocks_of(address):
    """Return the clocks that reads of these addresses take on one channel of HBM3."""
    return run(load_standard("HBM3-6400", channels=1), array_trace(address))[0].cycles


def test_two_pseudo_channels_do_twice_the_work_of_one_in_the_same_time():
    one, both = clocks_of(np.arange(50_000) * 64), clocks_of(np.arange(100_000) * 32)
    assert one <= both <= 1.01 * one


@pytest.mark.parametrize("name", ["HBM3-6400", "HBM2E-3200"])
def test_a_sequential_stream_takes_more_than_nine_tenths_of_the_peak_of_pseudo_channels(name):
    standard = load_standard(name, channels=1)
    result, _ = run(standard, array_trace(np.arange(200_000) * standard.burst_bytes))
    assert result.bandwidth_gb_per_s > 0.9 * result.peak_gb_per_s


def test_a_channel_waits_for_no_pseudo_channel_that_has_no_requests():
    standard = load_standard("HBM3-6400", channels=1)
    trace = array_trace(np.arange(3_000) * 64)  # all in pseudo-channel 0
    assert_same(run(standard, trace), run(standard, trace, block=100))
