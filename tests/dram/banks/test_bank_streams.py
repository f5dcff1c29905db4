"""Bank-level streams worked out by hand from STREAM_CONTROLLER.md.

DDR4-3200AA: 4 groups of 4 banks; nCL 22, nCWL 16, nBL 4, nRCD 22, nRP 22, nRAS 52, nRRD_S 4, nRRD_L 8, nFAW 34,
nCCD_L 8, nRTP 12, nWR 24, nWTR_L 12, nRFC 560; a clock is 625 ps. Four ACTs in 12 clocks and every 34: the last of 16
is at 114.
"""

import numpy as np
import pytest

from ndpsim.dram.banks.stream import LockstepBanks, bank_stream
from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.energy.energy import dram_energy, event_energy
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.standard.standard import load_standard, with_overrides
from ndpsim.errors import InputError

DDR4 = load_standard("DDR4-3200AA")
TCK = 625
LAST_ACT = 3 * 34 + 12
FIRST = LAST_ACT + 22  # the first column command of a rank that begins with all banks closed


def cycles_of(run, *names):
    """The cycles of some commands in a log."""
    codes = [COMMANDS.index(name) for name in names]
    return run.log.cycle[np.isin(run.log.command, codes)].tolist()


def test_all_banks_are_activated_in_order_under_the_standard_power_rule():
    run = bank_stream(DDR4, [7], 1, log=True)
    assert cycles_of(run, "ACT") == [34 * bank + 4 * group for bank in range(4) for group in range(4)]
    assert run.log.bank_group.tolist() == [0, 1, 2, 3] * 4 + [-1]
    assert run.log.bank.tolist() == [bank for bank in range(4) for _ in range(4)] + [-1]
    assert run.log.row.tolist() == [7] * 17
    assert cycles_of(run, "RDab") == [FIRST]
    assert run.counters == {"ACT": 16, "PREA": 0, "RDab": 1, "WRab": 0, "REF": 0, "trains": 1}


@pytest.mark.parametrize(
    ("activates", "acts"),
    [
        (None, [34 * i + 4 * k for i in range(4) for k in range(4)]),
        (4, [34 * i + 4 * k for i in range(4) for k in range(4)]),
        (2, [34 * i + 4 * k for i in range(8) for k in range(2)]),
        (8, [34 * i + 2 * k for i in range(2) for k in range(8)]),  # tRRD_S halved to 2, tRRD_L to 4
        (16, list(range(16))),  # tRRD_S a quarter, tRRD_L 2: one a clock
        (3, [34 * i + 4 * k for i in range(6) for k in range(3)][:16]),
        (6, [34 * i + 3 * k for i in range(3) for k in range(6)][:16]),  # tRRD_S 2.67, rounded up
        (0, list(range(16))),
    ],
)
def test_the_power_rule_says_how_many_activates_fall_into_tFAW(activates, acts):
    run = bank_stream(DDR4, [0], 1, activates=activates, log=True)
    assert cycles_of(run, "ACT") == acts
    assert cycles_of(run, "RDab") == [acts[-1] + 22]


def test_an_activate_of_two_clocks_takes_two_without_a_power_rule():
    run = bank_stream(load_standard("DDR5-4800B"), [0], 1, activates=0, log=True)
    assert cycles_of(run, "ACT") == list(range(0, 64, 2))
    assert cycles_of(run, "RDab") == [62 + 39]


def test_hbm_has_other_times_from_activate_to_read_and_to_write():
    hbm = load_standard("HBM3-6400")
    last = cycles_of(bank_stream(hbm, [0], 1, log=True), "ACT")[-1]
    assert cycles_of(bank_stream(hbm, [0], 1, log=True), "RDab") == [last + hbm.timing["nRCDRD"] + 1]
    assert cycles_of(bank_stream(hbm, [0], 1, write=True, log=True), "WRab") == [last + hbm.timing["nRCDWR"] + 1]


def test_column_commands_are_tCCD_L_apart_and_name_their_columns():
    run = bank_stream(DDR4, [0], 3, log=True)
    assert cycles_of(run, "RDab") == [FIRST, FIRST + 8, FIRST + 16]
    assert run.log.column.tolist() == [-1] * 16 + [0, 1, 2]
    assert (run.cycles, run.end_ps) == (FIRST + 16 + 26, (FIRST + 16 + 26) * TCK)


def test_writes_to_ddr5_are_tCCD_L_WR_apart():
    run = bank_stream(load_standard("DDR5-4800B"), [0], 2, write=True, log=True)
    assert np.diff(cycles_of(run, "WRab")).tolist() == [24]


def test_a_row_that_is_open_is_not_activated_again():
    run = bank_stream(DDR4, [5, 5], [1, 2], log=True)
    assert cycles_of(run, "RDab") == [FIRST, FIRST + 8, FIRST + 16]
    assert run.counters["ACT"] == 16


def test_another_row_waits_for_tRAS_and_tRP():
    run = bank_stream(DDR4, [5, 6], 2, log=True)
    assert cycles_of(run, "PREA") == [LAST_ACT + 52]
    assert cycles_of(run, "RDab") == [FIRST, FIRST + 8, LAST_ACT + 52 + 22 + FIRST, LAST_ACT + 52 + 22 + FIRST + 8]


def test_another_row_waits_for_tRTP_after_many_reads():
    run = bank_stream(DDR4, [5, 6], 8, log=True)
    assert cycles_of(run, "PREA") == [FIRST + 7 * 8 + 12]


def test_another_row_waits_for_write_recovery():
    run = bank_stream(DDR4, [5, 6], 1, write=True, log=True)
    assert cycles_of(run, "PREA") == [FIRST + 16 + 4 + 24]


def test_a_slow_unit_paces_the_reads_once_its_queue_is_full():
    run = bank_stream(DDR4, [0], 4, service_ps=20 * TCK, queue=2, log=True)
    # f = 162 + 20, 202, 222, 242 clocks; burst i arrives (26 clocks after its issue) at f(i-2) at the earliest.
    assert cycles_of(run, "RDab") == [136, 144, 156, 176]
    assert run.end_ps == 242 * TCK


def test_writes_do_not_wait_for_the_unit():
    run = bank_stream(DDR4, [0], 4, write=True, service_ps=20 * TCK, queue=2, log=True)
    assert np.diff(cycles_of(run, "WRab")).tolist() == [8, 8, 8]


def test_streams_of_both_kinds_keep_the_turn_of_the_rank():
    banks = LockstepBanks(DDR4)
    banks.run([0], 1)
    assert banks.now == FIRST + 26
    write = banks.run([0], 1, write=True, start=banks.now, log=True)
    assert cycles_of(write, "WRab") == [FIRST + 26]  # tRTW would allow it at FIRST + 12
    read = banks.run([0], 1, log=True)
    assert cycles_of(read, "RDab") == [FIRST + 26 + 16 + 4 + 12]  # tWTR_L: all bank groups were written


def test_a_refresh_that_is_due_at_the_start_comes_first():
    run = bank_stream(DDR4, [0], 1, first_due=0, log=True)
    assert cycles_of(run, "REF") == [0]
    assert cycles_of(run, "ACT")[0] == 560


def test_a_refresh_closes_the_banks_between_trains():
    run = bank_stream(DDR4, [5, 5], 1, first_due=100, log=True)
    assert cycles_of(run, "PREA", "REF") == [LAST_ACT + 52, LAST_ACT + 52 + 22]
    assert cycles_of(run, "ACT")[16] == LAST_ACT + 52 + 22 + 560
    assert run.counters["ACT"] == 32


def test_the_first_refresh_is_due_after_an_interval_and_one_every_interval():
    clocks = 10 * 12480
    rows = np.arange(10_000) % 2
    run = bank_stream(DDR4, rows[: clocks // (LAST_ACT + 52 + 22)], 1, log=True)
    refreshes = np.array(cycles_of(run, "REF"))
    assert len(refreshes) == run.cycles // 12480
    late = refreshes - 12480 * np.arange(1, len(refreshes) + 1)
    assert ((late >= 0) & (late < 2 * (LAST_ACT + 52 + 22))).all()


def test_an_empty_stream_does_nothing():
    banks = LockstepBanks(DDR4)
    run = banks.run([], 1, start=40, log=True)
    assert (run.cycles, run.end_ps, len(run.log.cycle), banks.now) == (0, 40 * TCK, 0, 40)


def test_a_log_costs_no_time_and_counters_count_one_stream():
    streams = [([1, 2, 3], 4), ([3, 4], 2)]
    quiet, loud = LockstepBanks(DDR4), LockstepBanks(DDR4)
    for rows, columns in streams:
        a, b = quiet.run(rows, columns, service_ps=9000), loud.run(rows, columns, service_ps=9000, log=True)
        assert (a.cycles, a.end_ps, a.counters) == (b.cycles, b.end_ps, b.counters)
        assert a.log is None and len(b.log.cycle) == sum(b.counters.values()) - b.counters["trains"]
        assert b.counters["RDab"] == len(rows) * columns


def test_ends_are_exact_for_a_clock_of_no_whole_picoseconds():
    run = LockstepBanks(load_standard("DDR5-4800B")).run([0], 1, service_ps=1000, start=1, log=True)
    (command,) = cycles_of(run, "RDab")
    arrival = command + 41 + 8  # 1 + nCL + nBL
    assert arrival * 1250 % 3
    assert run.end_ps == -(-arrival * 1250 // 3) + 1000
    assert run.cycles == arrival + 3 - 1  # 1000 ps are 2.4 clocks


def test_all_banks_read_faster_than_the_data_bus_carries():
    hbm = load_standard("HBM3-6400")
    run = bank_stream(hbm, range(100), 32)
    banks, bus = 16 * 100 * 32 / run.cycles, 1 / hbm.timing["nCCD_S"]
    assert banks > 2 * bus
    assert bank_stream(hbm, range(100), 32, activates=0).cycles < run.cycles


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rows": [65536]}, "rows: expected integers from 0 to 65535, found others"),
        ({"rows": [-1]}, "rows: expected integers from 0 to 65535, found others"),
        ({"rows": [0.5]}, "rows: expected integers from 0 to 65535, found others"),
        ({"columns": 129}, "columns: expected integers from 1 to 128, found others"),
        ({"columns": [1, 0]}, "columns: expected integers from 1 to 128, found others"),
        ({"columns": [1]}, r"rows, columns: expected lists of one length, found \(2,\) and \(1,\)"),
        ({"service_ps": -1}, "service_ps: expected an integer from 0 to 1073741824, found -1"),
        ({"activates": -1}, "activates: expected an integer from 0 to 4096, found -1"),
        ({"activates": 2.0}, r"activates: expected an integer from 0 to 4096, found 2\.0"),
        ({"queue": 1}, "queue: expected an integer from 2 to 4096, found 1"),
        ({"first_due": -1}, "first_due: expected an integer from 0 to 1099511627776, found -1"),
    ],
)
def test_what_cannot_be_is_refused(arguments, sentence):
    with pytest.raises(InputError, match=f"^{sentence}$"):
        bank_stream(DDR4, **{"rows": [0, 1], "columns": 1, **arguments})


def test_a_stream_cannot_start_before_the_one_before_is_over():
    banks = LockstepBanks(DDR4)
    banks.run([0], 1)
    with pytest.raises(InputError, match=r"^start: expected an integer from 162 to \d+, found 161$"):
        banks.run([0], 1, start=161)


def test_refreshes_that_would_never_end_are_refused():
    with pytest.raises(InputError, match="refresh: expected an interval longer than a refresh"):
        LockstepBanks(with_overrides(DDR4, {"nREFI": 560}))


def test_energy_counts_a_burst_of_every_bank_and_nothing_on_the_bus():
    run = bank_stream(DDR4, [1, 2], 8, log=True)
    event = event_energy(DDR4)
    energy = run.energy()
    assert energy.activate == pytest.approx(32 * event.activate_pj * 1e-12)
    assert energy.read == pytest.approx(16 * 16 * event.read_pj * 1e-12)
    assert energy.write == energy.io == 0.0
    logged = dram_energy(DDR4, activity_of_log(run.log, DDR4)).summary()
    assert logged["read"] == pytest.approx(energy.read) and logged["activate"] == pytest.approx(energy.activate)
    assert logged["total"] == pytest.approx(energy.total, rel=0.1)
