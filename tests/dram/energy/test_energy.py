"""DRAM energy: by hand, against the loops of the data sheets, and counted from logs.

One device, DDR4-3200 8 Gb x8: VDD 1.2 V, I0 57, I2N 37, I3N 52, I4R 168, I4W 150, I5B 250 mA; tRC 46.25, tRAS 32.5,
tRFC 350 ns; IPP 3 mA at 2.5 V throughout. mA * V * ns = pJ.

Activate: one bank open draws 37 + (52 - 37) / 16 = 37.9375 mA, so that standby takes
37.9375 * 32.5 + 37 * (46.25 - 32.5) = 1741.71875 mA ns of the loop, and the activate (57 * 46.25 - 1741.71875) * 1.2
= 1073.4375 pJ: the 1.07 nJ of a one-bank baseline. (The classic form takes 52 mA for the open bank:
(2636.25 - 52 * 32.5 - 508.75) * 1.2 = 525 pJ, the 0.53 nJ of old calculators.)
Read: (168 - 52) * 1.2 V * 2.5 ns = 348 pJ for 64 bits, 5.4375 pJ a bit. Write: (150 - 52) * 3 = 294 pJ, 4.59 a bit.
Refresh: (250 - 37) * 1.2 * 350 = 89460 pJ.
Standby: 37 * 1.2 + 3 * 2.5 = 51.9 mW precharged, 52 * 1.2 + 7.5 = 69.9 mW active. A rank has 8 devices.
"""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ndpsim.data import workloads_dir
from ndpsim.dram.energy.counts import activity_of_log
from ndpsim.dram.energy.energy import RankActivity, dram_energy, event_energy
from ndpsim.dram.log.log import COMMANDS, CommandLog
from ndpsim.dram.standard.currents import DeviceCurrents, DeviceEnergies, nearest_currents
from ndpsim.dram.standard.standard import load_standard, read_standards, with_overrides
from ndpsim.errors import InputError

DDR4 = load_standard("DDR4-3200AA-8Gb_x8")
_BY_CURRENTS = {
    id(standard.currents): standard
    for path in sorted((workloads_dir() / "hardware" / "dram").glob("*.toml"))
    for standard in read_standards(path).values() if standard.currents
}  # fmt: skip
WITH_CURRENTS = [pytest.param(standard, id=standard.name) for standard in _BY_CURRENTS.values()]
OF_SHEETS = [one for one in WITH_CURRENTS if isinstance(one.values[0].currents, DeviceCurrents)]

ENERGIES = DeviceEnergies(
    kind="energies", data_rate_mtps=3200, activate_pj=900, read_pj_per_bit=2, write_pj_per_bit=3, refresh_pj=8000,
    bank_refreshes=4, precharged_mw=50, active_mw=60, source="s",
    interface={"read_pj_per_bit": 0.5, "write_pj_per_bit": 0.25, "source": "s"},
)  # fmt: skip


def activity(**counts):
    return RankActivity(**{**dict.fromkeys(RankActivity.__dataclass_fields__, 0), **counts})


def test_one_ddr4_rank_takes_what_the_data_sheet_gives_by_hand():
    ns = Fraction(8, 5)  # clocks in a nanosecond
    energy = dram_energy(DDR4, RankActivity(10, 20, 30, 2, 0, open_clocks=1000 * ns, clocks=3000 * ns))
    assert energy.activate == pytest.approx(8 * 10 * 1073.4375e-12)
    assert energy.read == pytest.approx(8 * 20 * 348e-12)
    assert energy.write == pytest.approx(8 * 30 * 294e-12)
    assert energy.refresh == pytest.approx(8 * 2 * 89460e-12)
    assert energy.active_standby == pytest.approx(8 * 69.9e-3 * 1000e-9)
    assert energy.precharged_standby == pytest.approx(8 * 51.9e-3 * 2000e-9)
    assert energy.io is None and energy.summary()["io"] is None  # no source says what the bus takes
    known = (joules for name, joules in energy.summary().items() if name not in ("io", "total", "basis"))
    assert energy.total == energy.summary()["total"] == pytest.approx(sum(known))


def test_bursts_that_stay_at_the_bank_cost_what_they_cost_inside_the_device_and_nothing_on_the_bus():
    """Per event of a rank of 8 devices: 1024 pJ a read, 1536 a write; on the bus 256 and 128."""
    standard = replace(DDR4, currents=ENERGIES)
    found = dram_energy(standard, activity(reads=2, bank_reads=5, writes=3, bank_writes=10))
    assert found.read == pytest.approx(7 * 1024e-12) and found.write == pytest.approx(13 * 1536e-12)
    assert found.io == pytest.approx((2 * 256 + 3 * 128) * 1e-12)
    assert found.summary()["total"] == pytest.approx((7168 + 19968 + 512 + 384) * 1e-12)


def test_every_component_of_energies_per_event_is_a_product_by_hand():
    # 7200 pJ an activate, 64,000 a refresh and a quarter of it a bank refresh, 400 mW closed and 480 open, 0.625 ns
    standard = replace(DDR4, currents=ENERGIES)
    found = dram_energy(standard, RankActivity(10, 0, 0, 3, 8, open_clocks=100, clocks=300))
    assert found.activate == pytest.approx(72_000e-12)
    assert found.refresh == pytest.approx((3 * 64_000 + 8 * 16_000) * 1e-12)
    assert found.active_standby == pytest.approx(100 * 0.625e-9 * 0.48)
    assert found.precharged_standby == pytest.approx(200 * 0.625e-9 * 0.4)


def test_the_total_of_many_ranks_is_the_sum_of_each():
    counts = np.array([[3, 0], [5, 7]])
    many = dram_energy(DDR4, RankActivity(counts, counts, counts, counts, 0 * counts, counts, 9 * counts))
    assert many.total.shape == (2, 2)
    assert many.summary()["total"] == pytest.approx(15 * dram_energy(DDR4, RankActivity(1, 1, 1, 1, 0, 1, 9)).total)


@pytest.mark.parametrize(
    ("name", "activate_nj", "read", "write"),
    [
        ("DDR4-3200AA-8Gb_x8", 1.07, 5.4, 4.6),
        ("DDR4-3200AA-8Gb_x16", 3.24, 5.8, 5.2),
        ("DDR5-4800B-16Gb_x8", 0.53, 6.7, 5.9),
        ("DDR5-5600B-16Gb_x8", 0.17, 3.1, 3.7),
        ("LPDDR5X-7500-16Gb_x16", 1.11, 3.75, 2.2),
    ],
)
def test_energies_per_activate_and_bit_are_those_worked_out_from_the_sheets(name, activate_nj, read, write):
    standard = load_standard(name)
    event = event_energy(standard)
    bits = standard.burst_bytes * 8
    devices = standard.bus_bits // standard.organization.width
    assert event.activate_pj / devices / 1000 == pytest.approx(activate_nj, abs=0.006)
    assert (event.read_pj + event.read_io_pj) / bits == pytest.approx(read, abs=0.051)
    assert (event.write_pj + event.write_io_pj) / bits == pytest.approx(write, abs=0.051)


@pytest.mark.parametrize("scale", ["maximum", "ddr4_measured"])
@pytest.mark.parametrize("standard", WITH_CURRENTS)
def test_every_event_of_a_shipped_device_costs_something(standard, scale):
    event = event_energy(standard, scale)
    assert min(event.activate_pj, event.read_pj, event.write_pj, event.refresh_pj, event.bank_refresh_pj) > 0
    assert min(event.precharged_mw, event.active_mw) > 0


def test_a_scale_that_makes_an_event_negative_is_refused():
    assert event_energy(DDR4, "ddr3l_measured").activate_pj > 0
    with pytest.raises(
        InputError, match="expected one that fits DDR5-4800B, found ddr3l_measured, with which activate"
    ):
        event_energy(load_standard("DDR5-4800B"), "ddr3l_measured")


@pytest.mark.parametrize("standard", OF_SHEETS)
def test_the_loops_of_the_data_sheet_draw_its_currents(standard):
    currents = standard.currents
    event = event_energy(standard)
    devices = standard.bus_bits // standard.organization.width
    burst_ns = standard.burst_length * 1000 / currents.data_rate_mtps

    def power(loop, standby):  # mW of all supplies in a loop; what has no current in it stands by
        drawn = [(getattr(r, loop), getattr(r, standby), r.volts) for r in currents.rails.values()]
        return devices * sum(volts * (other if current is None else current) for current, other, volts in drawn)

    assert event.active_mw + (event.read_pj + event.read_io_pj) / burst_ns == pytest.approx(power("I4R", "I3N"))
    assert event.active_mw + (event.write_pj + event.write_io_pj) / burst_ns == pytest.approx(power("I4W", "I3N"))
    rails = currents.rails.values()
    refreshing = (currents.tREFI_ns, "I5R") if any(r.I5R is not None for r in rails) else (currents.tRFC_ns, "I5B")
    assert event.precharged_mw + event.refresh_pj / refreshing[0] == pytest.approx(power(refreshing[1], "I2N"))
    one_bank = event.precharged_mw + (event.active_mw - event.precharged_mw) / currents.I3N_banks
    in_loop = event.activate_pj + one_bank * currents.tRAS_ns
    in_loop += event.precharged_mw * (currents.tRC_ns - currents.tRAS_ns)
    without_i0 = devices * sum(
        r.volts * ((r.I2N + (r.I3N - r.I2N) / currents.I3N_banks) * currents.tRAS_ns
                   + r.I2N * (currents.tRC_ns - currents.tRAS_ns))
        for r in rails if r.I0 is None
    )  # fmt: skip
    with_i0 = devices * currents.tRC_ns * sum(r.volts * r.I0 for r in rails if r.I0 is not None)
    assert in_loop == pytest.approx(with_i0 + without_i0)


def test_the_classic_activate_is_negative_on_ddr5_where_the_one_bank_baseline_is_not():
    currents = load_standard("DDR5-4800B-16Gb_x8").currents
    vdd = currents.rails["VDD"]
    standby = vdd.I3N * currents.tRAS_ns + vdd.I2N * (currents.tRC_ns - currents.tRAS_ns)
    assert vdd.I0 * currents.tRC_ns - standby < 0 < event_energy(load_standard("DDR5-4800B-16Gb_x8")).activate_pj


def test_changed_timings_change_when_things_happen_not_what_they_cost():
    slower = with_overrides(DDR4, {"nRC": 200, "nRAS": 150, "nRFC": 1000, "nBL": 8})
    assert event_energy(slower) == event_energy(DDR4)


def test_refreshes_spread_out_cost_what_they_draw_over_an_interval():
    event = event_energy(load_standard("DDR4-2400R-8Gb_x8"))
    assert event.refresh_pj == pytest.approx(8 * (53 - 34) * 1.2 * 7800)


def test_bank_refreshes_share_the_energy_of_a_refresh():
    standard = load_standard("DDR5-4800B-16Gb_x8")
    same_bank = dram_energy(standard, activity(bank_refreshes=8)).refresh
    assert same_bank == pytest.approx(dram_energy(standard, activity(refreshes=1)).refresh) != 0


@pytest.mark.parametrize("standard", WITH_CURRENTS)
def test_bank_refreshes_do_the_work_of_one_refresh_in_its_interval(standard):
    others = [kind for kind in standard.refresh if kind != "all_bank"]
    if not others:
        assert standard.currents.bank_refreshes is None
    for kind in others:
        ratio = standard.refresh["all_bank"].interval / standard.refresh[kind].interval
        assert standard.currents.bank_refreshes == pytest.approx(ratio, rel=0.01)


def test_bank_refreshes_that_the_currents_do_not_know_are_refused():
    with pytest.raises(InputError, match="bank refreshes: expected none"):
        dram_energy(DDR4, activity(bank_refreshes=1))


def test_what_vddq_draws_beyond_standby_is_io():
    event = event_energy(load_standard("LPDDR5X-7500-16Gb_x16"))
    assert event.read_io_pj == pytest.approx((111.9 - 0.6) * 0.5 * 16 / 7.5)
    assert event.write_io_pj == 0
    writing = {"rails": {"VDD": RAIL, "VDDQ": RAIL | {"volts": 0.5, "I4W": 60.0}}}
    event_of_writes = event_energy(replace(DDR4, currents=DeviceCurrents.model_validate(TABLE | writing)))
    assert (event_of_writes.write_pj, event_of_writes.write_io_pj) == pytest.approx((0, 8 * (60 - 40) * 0.5 * 2.5))
    assert event.read_pj == pytest.approx(((390 - 40) * 1.05 + (18.0 - 2.8) * 1.8) * 16 / 7.5)


def test_a_device_without_public_currents_has_no_energy_and_says_so():
    standard = load_standard("DDR4-3200AA-4Gb_x8")
    energy = dram_energy(standard, activity(reads=1, clocks=10))
    assert np.isnan(energy.total) and all(np.isnan(v) for k, v in energy.summary().items() if k != "basis")
    assert energy.basis == "no energy: no public currents for DDR4-3200AA-4Gb_x8"
    with pytest.raises(InputError, match="expected a device with currents, found none"):
        event_energy(standard)


def test_the_basis_says_what_the_figures_are():
    basis = dram_energy(DDR4, activity()).basis
    assert basis.startswith("data-sheet maximum (8 Gb x8 at 3200 MT/s")
    assert basis.endswith("I/O and termination not included")
    assert "figures of 2400 MT/s" in dram_energy(load_standard("DDR4-2666V-8Gb_x8"), activity()).basis
    assert "measured" in dram_energy(DDR4, activity(), "ddr4_measured").basis
    assert "no figures of 16 Gb x16" in dram_energy(load_standard("DDR4-3200-Hermes"), activity()).basis
    assert dram_energy(load_standard("HBM3-6400"), activity()).basis.startswith("estimated")


def test_a_scale_multiplies_each_loop_by_its_own_factor():
    # I2N 21.46, I3N 18.2, I4R 92.4, I0 30.78 mA: 3N falls below 2N, as it was measured
    event = event_energy(DDR4, "ddr4_measured")
    assert event.read_pj == pytest.approx(8 * (92.4 - 18.2) * 1.2 * 2.5)
    one_bank = 21.46 + (18.2 - 21.46) / 16
    vpp = 0.54 * 3 * 46.25 - (0.58 * 3 + (0.35 - 0.58) * 3 / 16) * 32.5 - 0.58 * 3 * 13.75
    vdd = 30.78 * 46.25 - one_bank * 32.5 - 21.46 * 13.75
    assert event.activate_pj == pytest.approx(8 * (vdd * 1.2 + vpp * 2.5))


def test_an_unknown_scale_is_refused():
    with pytest.raises(InputError, match="expected one of maximum, ddr4_measured, ddr3l_measured, found 'typical'"):
        dram_energy(DDR4, activity(), "typical")


def test_the_currents_of_the_nearest_data_rate_are_taken_the_lower_of_two():
    entries = [SimpleNamespace(data_rate_mtps=rate) for rate in (3200, 2400)]
    assert nearest_currents(entries, Fraction(8000, 3)).data_rate_mtps == 2400
    assert nearest_currents(entries, 2933).data_rate_mtps == 3200
    assert nearest_currents(entries, 2800).data_rate_mtps == 2400
    assert nearest_currents([], 2800) is None


RAIL = {"volts": 1.2, "I2N": 30.0, "I3N": 40.0, "source": "s"}
TABLE = {
    "kind": "currents", "data_rate_mtps": 3200, "tRC_ns": 46.0, "tRAS_ns": 32.0, "tRFC_ns": 350.0, "tREFI_ns": 7800.0,
    "I3N_banks": 16, "rails": {"VDD": RAIL}, "source": "s",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tRAS_ns": 46.0}, "tRAS_ns less than tRC_ns"),
        ({"rails": {"VDD": RAIL | {"I5B": 250.0, "I5R": 53.0}}}, "I5B or I5R, not both"),
        ({"rails": {"VDD": RAIL | {"I0": 29.0}}}, "currents of VDD no lower than its standby"),
        ({"rails": {"VDD": RAIL | {"I4R": 39.0}}}, "I4R"),
        ({"rails": {"VDD": RAIL | {"I5B": 29.0}}}, "I5B"),
        ({"rails": {}}, "at least 1 item"),
        ({"rails": {"VDD": RAIL | {"volts": 0.0}}}, "greater than 0"),
        ({"rails": {"VDD": RAIL | {"I2P": 20.0}}}, "Extra inputs"),
        ({"I3N_banks": 0}, "greater than or equal to 1"),
        ({"source": ""}, "at least 1 character"),
    ],
)
def test_faulty_currents_are_refused(change, message):
    assert DeviceCurrents.model_validate(TABLE)
    with pytest.raises(ValidationError, match=message):
        DeviceCurrents.model_validate(TABLE | change)


def test_energies_per_event_are_taken_as_they_are():
    event = event_energy(replace(DDR4, currents=ENERGIES))  # 8 devices, bursts of 512 bits
    assert event == (7200, 1024, 1536, 64000, 16000, 400, 480, 256, 128)


def open_clocks_by_clock(commands, banks, end):
    """Count clock by clock, in one rank; `commands` are (cycle, name, bank) in order."""
    first = {}
    for _, name, bank in commands:
        if name not in ("PREA", "REF"):
            first.setdefault(bank, name)
        elif name == "PREA":
            for other in range(banks):
                first.setdefault(other, "PREA")
    is_open = [first.get(bank, "") in ("RD", "WR", "RDA", "WRA", "PRE") for bank in range(banks)]
    count, place = 0, 0
    for clock in range(end):
        while place < len(commands) and commands[place][0] == clock:
            _, name, bank = commands[place]
            if name == "PREA":
                is_open = [False] * banks
            elif name != "REF":
                is_open[bank] = name in ("ACT", "RD", "WR")
            place += 1
        count += any(is_open)
    return count


def log_of(commands, standard=DDR4):
    """A log of (cycle, name, bank, rank)."""
    cycle, name, bank, rank = zip(*commands, strict=True) if commands else ((), (), (), ())
    banks = np.array(bank, np.int16)
    return CommandLog.of(
        cycle=np.array(cycle, np.int64), command=np.array([COMMANDS.index(n) for n in name], np.uint8),
        rank=np.array(rank, np.int16), bank_group=banks // 4, bank=banks % 4, standard=standard.name,
    )  # fmt: skip


COMMAND = st.tuples(st.integers(0, 60), st.sampled_from(COMMANDS[:8]), st.integers(0, 15))


@given(st.lists(st.lists(COMMAND, max_size=15), min_size=2, max_size=2), st.integers(61, 90))
def test_open_clocks_of_any_log_are_those_counted_clock_by_clock(ranks, end):
    ranks = [sorted(commands, key=lambda c: c[0]) for commands in ranks]
    two = load_standard("DDR4-3200AA-8Gb_x8", ranks=2)
    log = log_of([(*command, rank) for rank, commands in enumerate(ranks) for command in commands])
    found = activity_of_log(log, two, end=end)
    assert found.open_clocks.tolist() == [open_clocks_by_clock(commands, 16, end) for commands in ranks]
    assert found.clocks.tolist() == [end, end]


def test_a_log_is_counted_by_rank():
    commands = [(0, "ACT", 0, 1), (22, "RD", 0, 1), (30, "RDA", 0, 1), (40, "ACT", 3, 0), (62, "WR", 3, 0)]
    found = activity_of_log(log_of(commands), load_standard("DDR4-3200AA-8Gb_x8", ranks=2))
    assert found.activates.tolist() == [1, 1]
    assert found.reads.tolist() == [0, 2]
    assert found.writes.tolist() == [1, 0]
    end = 62 + 16 + 4  # the data of the write
    assert found.clocks.tolist() == [end, end]
    assert found.open_clocks.tolist() == [end - 40, 30]


def test_the_ranks_of_a_log_are_by_dimm_channel_pseudo_channel_and_rank():
    hbm = load_standard("HBM3-6400-8Gb_8hi", channels=2)  # 2 pseudo-channels of 2 ranks
    names = ["ACT", "RDN", "WRN", "REFpb", "ACT"]
    log = CommandLog.of(
        cycle=np.arange(5) * 40, command=np.array([COMMANDS.index(name) for name in names], np.uint8),
        channel=np.array([0, 1, 1, 0, 1]), pseudo_channel=np.array([1, 0, 1, 0, 0]), dimm=np.array([0, 0, 1, 0, 0]),
        rank=np.array([0, 1, 1, 1, 1]), bank_group=np.zeros(5, int), bank=np.zeros(5, int),
    )  # fmt: skip
    found = activity_of_log(log, hbm, end=200)
    assert np.flatnonzero(found.activates).tolist() == [2, 5]
    assert np.flatnonzero(found.reads).tolist() == [5]
    assert np.flatnonzero(found.writes).tolist() == [8 + 7]
    assert np.flatnonzero(found.bank_refreshes).tolist() == [1]
    assert len(found.clocks) == 2 * 2 * 2 * 2


def test_a_log_may_begin_with_banks_open():
    found = activity_of_log(log_of([(110, "RD", 0, 0), (130, "PRE", 0, 0)]), DDR4, begin=100, end=200)
    assert (found.open_clocks.tolist(), found.clocks.tolist()) == ([30], [100])


def test_an_empty_log_is_an_idle_rank():
    found = activity_of_log(log_of([]), DDR4, end=50)
    assert (found.open_clocks.tolist(), found.clocks.tolist()) == ([0], [50])


@pytest.mark.parametrize(
    ("command", "message"),
    [((5, "ACT", 0, 1), "rank: expected 0 to 0, found 1 to 1"), ((9, "ACT", 0, 0), "expected cycles from 0 to 8")],
)
def test_a_log_of_other_ranks_or_another_time_is_refused(command, message):
    with pytest.raises(InputError, match=message):
        activity_of_log(log_of([command]), DDR4, end=8)


def test_a_command_to_all_banks_moves_a_burst_in_each():
    found = activity_of_log(log_of([(10, "RDab", 0, 0), (20, "WRab", 0, 0), (30, "WRab", 0, 0)]), DDR4, end=90)
    banks = DDR4.organization.bank_groups * DDR4.organization.banks
    assert banks > DDR4.organization.banks
    assert (found.bank_reads.tolist(), found.bank_writes.tolist()) == ([banks], [2 * banks])
    assert (found.reads.tolist(), found.writes.tolist()) == ([0], [0])
