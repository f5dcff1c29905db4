"""Times computed by hand from ndp.toml and hermes.toml: core 1000 ps; DRAM clock 625 ps; nBL 4, nCWL 16, nCL 24 clocks.

The upload of up to four instructions (64 bytes) ends at (4 + 16) * 625 = 12500 ps; the other DIMM of a channel follows.
"""

from dataclasses import replace

import numpy as np
import pytest

from ndpsim.compiler.lower import layer_compiler
from ndpsim.compiler.placement import LayerShape
from ndpsim.dimm.config import load_machine
from ndpsim.dimm.timing import time_program
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp.rank_state import COUNTERS, N_RD
from ndpsim.dram.standard.standard import with_overrides
from ndpsim.errors import InputError, ProgramError
from ndpsim.isa.assembly import assemble
from ndpsim.isa.encoding import words_to_array
from ndpsim.isa.program import DimmProgram, Program, Region

UPLOADED = 12500  # at most four instructions
REGION = Region("r", 0, 1 << 20, writable=True)


def program(*texts, lists=()):
    """A program with one assembly text a DIMM; `;` stands between instructions."""
    return Program.of("{}", tuple(
        DimmProgram(words_to_array(assemble(text.replace(";", "\n"))), np.array(lists, np.uint32), (REGION,))
        for text in texts
    ))  # fmt: skip


def timed(*texts, lists=(), **named):
    return time_program(program(*texts, lists=lists), load_machine(dimms=len(texts)), **named)


def took(text, index=0):
    """Picoseconds of one instruction of a program for one DIMM."""
    begin, end = timed(text).spans[index]
    return end - begin


def test_the_upload_comes_first_and_end_takes_a_cycle():
    run = timed("end")
    assert run.upload_ps.tolist() == [UPLOADED]
    assert run.spans.tolist() == [[UPLOADED, UPLOADED + 1000]]
    assert run.total_ps == run.finish_ps[0] == UPLOADED + 1000


def test_the_upload_counts_instructions_and_lists_in_whole_bursts():
    three = "range l0, 0, 0; range l0, 0, 0; end"
    assert timed(three, lists=range(4)).upload_ps[0] == (1 * 4 + 16) * 625  # 48 + 16 bytes
    assert timed(three, lists=range(5)).upload_ps[0] == (2 * 4 + 16) * 625  # 48 + 20 bytes


def test_two_dimms_share_a_channel_for_the_upload():
    assert timed("end", "end", "end", "end").upload_ps.tolist() == [12500, 25000, 12500, 25000]


@pytest.mark.parametrize("text", ["end", "mat.f16 m0, 0, 1, 32, 1; end", "list l0, 0, 0; end", "range l0, 0, 9; end"])
def test_a_control_instruction_takes_a_core_cycle(text):
    assert took(text) == 1000


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        ("relu [0], [0], 1000", 4 + 8),  # ceil(1000 / 256), latency 8
        ("relu [0], [0], 1", 1 + 8),
        ("relu [0], [0], 0", 8),
        ("fill [0], 0, 256", 1 + 8),
        ("fill [0], 0, 257", 2 + 8),
        ("add.f32 [0], [0], [0], 512", 2 + 8),
        ("mul [0], [0], [0], 513", 3 + 8),
        ("cvt.f32.f16 [0], [4096], 1000", 4 + 8),
        ("silu [0], [0], 1000", 3 * 4 + 1000 + 8),  # 3 passes, and one divider for 1000 divisions
        ("gelu [0], [0], 300", 9 * 2 + 300 + 8),
        ("softmax [0], [0], 1000, 1", 5 * 4 + 1 + 8),  # one division a vector
        ("softmax [0], [0], 100, 3", 5 * 2 + 3 + 8),  # 300 elements, three vectors
        ("sum [0], [8192], 1000, 2", 8 + 8),
        ("max [0], [8192], 1000, 2", 8 + 8),
        ("softpart [0], [8192], [0], 100, 3", 4 * 2 + 3 + 8),
        ("scale [0], [8192], [0], 1000, 2", 8 + 8),
    ],
)
def test_a_vector_instruction_takes_passes_divisions_and_latency(text, cycles):
    assert took(f"{text}; end") == cycles * 1000


@pytest.mark.parametrize(
    ("text", "clocks"),
    [
        ("hin [0], 64", 4 + 16),
        ("hin [0], 68", 8 + 16),
        ("hin [0], 8192", 512 + 16),
        ("hin [0], 0", 0),
        ("hout [0], 4", 4 + 24),
        ("hout [0], 8192", 512 + 24),
        ("hout [0], 0", 0),
    ],
)
def test_a_transfer_takes_its_bursts_and_the_latency(text, clocks):
    assert took(f"{text}; end") == clocks * 625


def test_transfers_of_two_dimms_on_a_channel_follow_one_another():
    run = timed(*["hin [0], 640; end"] * 3)
    bursts = (10 * 4 + 16) * 625
    # DIMM 0 is ready first, and waits for the upload of DIMM 1; DIMM 2 has another channel.
    assert run.spans[::2].tolist() == [
        [UPLOADED, 2 * UPLOADED + bursts], [2 * UPLOADED, 2 * UPLOADED + 2 * bursts], [UPLOADED, UPLOADED + bursts],
    ]  # fmt: skip


def test_a_message_takes_its_bytes_and_a_latency():
    run = timed("send [0], 1000, 1; end", "recv [0], 1000, 0; end")
    sent = UPLOADED + 1000 * 40
    assert run.spans[[0, 2]].tolist() == [[UPLOADED, sent], [2 * UPLOADED, sent + 50_000]]


def test_a_message_that_has_arrived_is_there_at_once():
    run = timed("send [0], 1000, 1; end", "silu [0], [0], 1000; recv [0], 1000, 0; end")
    ready = 2 * UPLOADED + 1_020_000
    assert run.spans[2:4].tolist() == [[2 * UPLOADED, ready], [ready, ready]]


def test_messages_follow_one_another_on_a_link():
    run = timed("send [0], 1000, 1; send [0], 500, 1; end", "recv [0], 1000, 0; recv [0], 500, 0; end")
    first, second = UPLOADED + 40_000, UPLOADED + 60_000
    assert run.spans[:, 1].tolist() == [first, second, second + 1000, first + 50_000, second + 50_000, second + 51_000]


def test_the_two_directions_of_a_link_do_not_wait_for_each_other():
    run = timed(*[f"send [0], 1000, {peer}; recv [0], 1000, {peer}; end" for peer in (1, 0)])
    assert run.spans[[1, 4], 1].tolist() == [2 * UPLOADED + 90_000, max(UPLOADED + 90_000, 2 * UPLOADED + 40_000)]


def test_a_barrier_opens_a_latency_after_the_last_arrives():
    run = timed("bar; end", "silu [0], [0], 1000; bar; end", "bar; end")
    last = 2 * UPLOADED + 1_020_000
    opens = last + 100_000
    assert run.spans[[0, 3, 5]].tolist() == [[UPLOADED, opens], [last, opens], [UPLOADED, opens]]
    assert run.finish_ps.tolist() == [last + 101_000] * 3


ONE_ROW = "mat.{} m0, 0, 1, {}, 1; range l0, 0, 1; "
BEGIN = UPLOADED + 2000
# The first clock from BEGIN on is 24: ACT at 24, RD at 24 + nRCD = 48, all data at 48 + nCL + nBL = 76.
ARRIVAL = 76 * 625
ARRAY_LATENCY = 16_000


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (ONE_ROW.format("f16", 32) + "ld m0, l0, [0]; end", ARRIVAL + 1000 + ARRAY_LATENCY),
        # A rank has a fourth of 128 MACs a cycle: 32 elements take 1 cycle a vector, 64 INT8 elements half a cycle.
        (ONE_ROW.format("f16", 32) + "dot m0, l0, [0], [256], 1; end", ARRIVAL + 1000 + ARRAY_LATENCY),
        (ONE_ROW.format("bf16", 32) + "dot m0, l0, [0], [2048], 16; end", ARRIVAL + 16_000 + ARRAY_LATENCY),
        (ONE_ROW.format("f16", 1) + "axpy m0, l0, [0], [2048], 16; end", ARRIVAL + 16_000 + ARRAY_LATENCY),
        (ONE_ROW.format("i8", 64) + "dot m0, l0, [0], [2048], 5; end", ARRIVAL + 3_000 + ARRAY_LATENCY),
        # WR at 48, data until 48 + nCWL + nBL.
        (ONE_ROW.format("f16", 32) + "st m0, l0, [0]; end", (48 + 16 + 4) * 625 + ARRAY_LATENCY),
        ("mat.f16 m0, 0, 1, 32, 1; range l0, 0, 0; ld m0, l0, [0]; end", 24 * 625 + ARRAY_LATENCY),
    ],
    ids=["ld", "dot", "dot of a batch", "axpy of a short row", "dot in INT8", "st", "ld of no row"],
)
def test_a_stream_of_at_most_one_burst(text, end):
    run = timed(text)
    assert run.spans[2].tolist() == [BEGIN, end]


def test_the_commands_of_a_single_burst():
    log = timed(ONE_ROW.format("f16", 32) + "ld m0, l0, [0]; end", log=True).log
    assert [(c, COMMANDS[k]) for c, k in zip(log.cycle, log.command, strict=True)] == [(24, "ACT"), (48, "RD")]
    assert (log.bus, log.standard) == ("rank", "DDR4-3200-Hermes")


def test_a_rank_whose_refresh_fell_due_meanwhile_reads_after_it():
    # Upload of 80 bytes until 15000 ps, two core cycles, silu of 3 * 8 + 2000 + 8 cycles: ld begins in clock 3279.
    # Rank 0 owes its first REF at clock 12480 / 4 = 3120, which takes 880; the other ranks owe theirs later.
    run = timed(ONE_ROW.format("f16", 32) + "silu [0], [0], 2000; ld m0, l0, [0]; end", log=True)
    assert run.spans[3].tolist() == [2_049_000, (4024 + 24 + 4) * 625 + 1000 + ARRAY_LATENCY]
    assert [(c, COMMANDS[k]) for c, k in zip(run.log.cycle, run.log.command, strict=True)] == [
        (3120, "REF"), (4000, "ACT"), (4024, "RD"),
    ]  # fmt: skip


# With alternating loads a pass of 16 bursts a rank, 512 MACs for each of its 32 MAC slots a cycle, takes 16 cycles and
# 11 more in the reduction tree for each sequence; for the end of an instruction nothing is added.
LAST_OF_PASS = 48 + 15 * 4  # neighbouring bursts alternate bank groups
# Data of the next pass begin 24 clocks after its command, when the first pass is over: 27 ns are 43.2 clocks.
NEXT_PASS = LAST_OF_PASS + 28 + 44 - 24


def timed_alternating(text, lists=()):
    return time_program(program(text, lists=lists), load_machine("hermes-alternating", dimms=1))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (ONE_ROW.format("f16", 32) + "dot m0, l0, [0], [256], 1; end", ARRIVAL + 27_000),
        (ONE_ROW.format("bf16", 32) + "axpy m0, l0, [0], [2048], 16; end", ARRIVAL + 16 * 27_000),
        # 16 bursts of 64 values on 128 MACs a cycle: 8 cycles.
        (ONE_ROW.format("i8", 64) + "dot m0, l0, [0], [2048], 5; end", ARRIVAL + 5 * 19_000),
        (ONE_ROW.format("f16", 512) + "dot m0, l0, [0], [2048], 1; end", (LAST_OF_PASS + 28) * 625 + 27_000),
        (ONE_ROW.format("f16", 544) + "dot m0, l0, [0], [2048], 1; end", (NEXT_PASS + 28) * 625 + 27_000),
        (ONE_ROW.format("f16", 32) + "ld m0, l0, [0]; end", ARRIVAL + 1000),
        (ONE_ROW.format("f16", 544) + "ld m0, l0, [0]; end", (LAST_OF_PASS + 4 + 28) * 625 + 1000),
        (ONE_ROW.format("f16", 32) + "st m0, l0, [0]; end", (48 + 16 + 4) * 625),
    ],
    ids=["dot", "axpy of a batch", "dot in INT8", "a full pass", "two passes", "ld", "ld of 17 bursts", "st"],
)
def test_with_alternating_loads_a_pass_waits_for_the_one_before(text, end):
    assert timed_alternating(text).spans[2].tolist() == [BEGIN, end]


def macs_per_cycle(batch, rows, cols, refresh):
    """Rate of a dense dot product on one DIMM, with refreshes or without."""
    machine = load_machine(dimms=1)
    if not refresh:
        machine = replace(machine, standard=with_overrides(machine.standard, {"nREFI": 1 << 29}))
    text = f"mat.f16 m0, 0, {rows}, {cols}, {cols // 32}; range l0, 0, {rows}; "
    begin, end = time_program(program(text + f"dot m0, l0, [0], [{2 * batch * cols}], {batch}; end"), machine).spans[2]
    return rows * cols * batch / ((end - begin) / 1000)


def test_a_dense_dot_of_a_large_batch_is_paced_by_the_macs():
    assert 0.99 * 128 < macs_per_cycle(16, 1024, 2048, refresh=False) <= 128


def test_refreshes_cost_the_macs_what_the_return_queue_does_not_cover():
    # Every 12480 clocks a rank stands still for 880 and some row commands; the queue has 16 bursts of 16 core cycles.
    lost = (880 * 625 - 16 * 16_000) / (12480 * 625)
    assert (1 - lost - 0.015) * 128 < macs_per_cycle(16, 1024, 2048, refresh=True) < (1 - lost) * 128


def test_a_dense_dot_of_one_vector_is_paced_by_the_dram():
    peak = 102.4 / 2  # GB/s over bytes of a weight; GMAC/s is MAC a core cycle of 1 ns
    assert 0.98 * peak < macs_per_cycle(1, 4096, 2048, refresh=False) <= peak


# DDR5-4800B: a clock of 1250/3 ps; nBL 8, nCL 40, nCWL 38, nRCD 39; ACT, RD and WR take two clocks; two sub-channels.


def ddr5_clocks(n):
    """Clocks in picoseconds, rounded up."""
    return -(-n * 1250 // 3)


def timed_on_ddr5(text, **named):
    return time_program(program(text), load_machine("ddr5", dimms=1), **named)


@pytest.mark.parametrize(
    ("text", "clocks"),
    [
        ("hin [0], 64", 8 + 39),  # the data of a write begin 1 + nCWL after its first clock
        ("hin [0], 128", 8 + 39),  # one burst on each sub-channel
        ("hin [0], 132", 16 + 39),
        ("hin [0], 0", 0),
        ("hout [0], 8192", 64 * 8 + 41),
    ],
)
def test_a_transfer_to_a_ddr5_dimm_is_spread_over_its_sub_channels(text, clocks):
    begin, end = timed_on_ddr5(f"{text}; end").spans[0]
    assert end - begin == ddr5_clocks(clocks)


def test_a_burst_of_ddr5_is_timed_in_thirds_of_a_picosecond():
    run = timed_on_ddr5(ONE_ROW.format("f16", 32) + "ld m0, l0, [0]; end", log=True)
    begin = ddr5_clocks(8 + 39) + 2000
    act = -(-begin * 3 // 1250)
    # RD one nRCD after ACT, both being counted from their second clocks.
    assert [(c, COMMANDS[k]) for c, k in zip(run.log.cycle, run.log.command, strict=True)] == [
        (act, "ACT"), (act + 39, "RD"),
    ]  # fmt: skip
    arrival = act + 39 + 41 + 8
    assert arrival * 1250 % 3  # no whole picosecond: rounded up after the 1000 ps of the buffer's port, not before
    assert run.spans[2].tolist() == [begin, ddr5_clocks(arrival) + 1000 + ARRAY_LATENCY]


def test_all_ranks_of_both_sub_channels_of_a_ddr5_dimm_work_at_once():
    rows = f"mat.f16 m0, 0, 4096, 2048, 64; range l0, 0, 4096; dot m0, l0, [0], [{2 * 2048}], 1; end"
    run = timed_on_ddr5(rows, log=True)
    begin, end = run.spans[2]
    # 4 data busses of 19.2 GB/s, less 295 ns of refresh every 3.9 us; GB/s is bytes a nanosecond
    share = 4096 * 4096 / ((end - begin) / 1000) / (4 * 19.2)
    assert 0.9 < share < 1 - 295 / 3900
    assert {(c, r) for c, r in zip(run.log.channel.tolist(), run.log.rank.tolist(), strict=True)} == {
        (0, 0), (0, 1), (1, 0), (1, 1),
    }  # fmt: skip


@pytest.fixture(scope="module")
def layer():
    """A gated layer of 600 neurons on three DIMMs, a third of them active: long enough for refreshes."""
    machine = load_machine(dimms=3)
    active = np.random.default_rng(3).permutation(600)[:200]
    return layer_compiler(LayerShape(600, 1500, "silu", gated=True), machine).compile(active), machine


def test_the_log_holds_as_many_commands_as_the_counters_say(layer):
    run = time_program(*layer, log=True)
    for dimm, ranks in enumerate(run.counters):
        for rank, counts in enumerate(ranks):
            mine = run.log.command[(run.log.dimm == dimm) & (run.log.rank == rank)]
            logged = [int((mine == COMMANDS.index(name)).sum()) for name in COUNTERS if name != "trains"]
            assert logged == counts[: COUNTERS.index("trains")].tolist()
    assert run.counters[:, :, COUNTERS.index("REF")].any()
    assert run.dram_bytes == 64 * run.counters[:, :, N_RD].sum() == 200 * 3 * 47 * 64


def test_the_log_is_in_order_and_no_rank_gets_two_commands_at_once(layer):
    log = time_program(*layer, log=True).log
    keys = np.stack([log.cycle, log.dimm, log.rank], axis=1).tolist()
    assert keys == sorted(keys)
    assert len(set(map(tuple, keys))) == len(keys)


def assert_same_run(a, b):
    assert a.total_ps == b.total_ps
    for name in ("finish_ps", "upload_ps", "spans", "counters"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_keeping_a_log_changes_no_time(layer):
    quiet = time_program(*layer)
    assert quiet.log is None
    assert_same_run(quiet, time_program(*layer, log=True))


def test_two_runs_are_the_same(layer):
    first, second = time_program(*layer, log=True), time_program(*layer, log=True)
    assert_same_run(first, second)
    assert all(np.array_equal(a, b) for a, b in zip(first.log, second.log, strict=True))


def test_instructions_of_a_dimm_follow_one_another_without_gap(layer):
    run = time_program(*layer)
    for dimm, (first, last) in enumerate(zip(run.resolved.starts[:-1], run.resolved.starts[1:], strict=True)):
        spans = run.spans[first:last]
        assert spans[0, 0] == run.upload_ps[dimm]
        assert np.array_equal(spans[1:, 0], spans[:-1, 1])
        assert spans[-1, 1] == run.finish_ps[dimm] <= run.total_ps


def test_the_time_of_a_dimm_is_divided_among_the_classes(layer):
    run = time_program(*layer)
    assert sum(run.class_ps().values()) == run.finish_ps.sum()
    assert set(run.class_ps()) == {"upload", "control", "channel", "link", "stream", "vector"}


def test_a_program_that_traps_is_not_timed():
    with pytest.raises(ProgramError) as error:
        timed("hin [0], 64; relu [2], [0], 1; end", "recv [0], 4, 0; end")
    assert str(error.value) == (
        "DIMM 0, instruction 1 (relu [0x2], [0x0], 1): misaligned: "
        "buffer address or byte count that is not a multiple of 4"
    )


def test_a_program_for_another_number_of_dimms_is_refused():
    with pytest.raises(InputError, match="program: expected 4 DIMMs as in its machine, found 1"):
        time_program(program("end"), load_machine(dimms=4))
