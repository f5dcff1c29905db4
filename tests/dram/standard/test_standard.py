from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.dram.standard.file import TimingValue
from ndpsim.dram.standard.standard import (
    clock_period_ps,
    in_clocks,
    load_standard,
    standard_names,
    with_overrides,
)
from ndpsim.errors import InputError

JESD79_4, JESD79_5, UP = "add 0.974 and truncate", "times 0.997, add 1 and truncate", "up"
FAMILIES = {  # a preset of each
    "DDR4": load_standard("DDR4-3200AA", ranks=2),
    "DDR5": load_standard("DDR5-4800B", ranks=2),
    "LPDDR5X": load_standard("LPDDR5X-8533", ranks=2),
    "HBM2E": load_standard("HBM2E-3200"),
    "HBM3": load_standard("HBM3-6400"),
}
each_family = pytest.mark.parametrize("standard", FAMILIES.values(), ids=FAMILIES)


def clocks(ns=None, nck=None, data_rate=3200, rounding=JESD79_4):
    exact = None if ns is None else Decimal(str(ns))
    return in_clocks(TimingValue(ns=exact, nck=nck, source="test"), clock_period_ps(data_rate), rounding)


def at_most(ns, data_rate):
    return in_clocks(TimingValue(max_ns=Decimal(str(ns)), source="test"), clock_period_ps(data_rate), JESD79_5)


def gap(standard, scope, earlier, later, window=1):
    """Return the clocks that the standard asks for between two commands; 0 if nothing."""
    return max(
        (c.gap for c in standard.constraints if c[1:4] == (scope, earlier, later) and c.window == window), default=0
    )


def test_every_shipped_standard_loads_under_its_name():
    names = standard_names()
    assert {"DDR4-3200-Hermes", "DDR4-2400R", "DDR4-3200AA-16Gb_x4", "DDR5-4800B", "LPDDR5-6400"} <= set(names)
    assert [load_standard(name).name for name in names] == names == sorted(names)


def test_the_clock_period_is_exact():
    assert clock_period_ps(3200) == 625
    assert isinstance(clock_period_ps(3200), int)
    assert clock_period_ps(2400) == Fraction(2500, 3)
    assert clock_period_ps(Fraction(25600, 3), transfers_per_clock=8) == Fraction(1875, 2)


def test_nanoseconds_become_clocks_by_the_rounding_of_jesd79_4():
    assert clocks(ns=15) == 24  # exactly 24 clocks
    assert clocks(ns=5, data_rate=2400) == 6  # exactly 6 clocks of 2500/3 ps
    assert clocks(ns=13.75, data_rate=2666) == 19  # 18.33 clocks


@pytest.mark.parametrize(("ps", "expected"), [(6250, 10), (6266, 10), (6267, 11), (6874, 11), (6875, 11)])
def test_jesd79_4_rounds_off_less_than_a_fortieth_of_a_clock(ps, expected):
    assert clocks(ns=ps / 1000) == expected


@pytest.mark.parametrize(("ps", "expected"), [(6250, 10), (6268, 10), (6269, 11), (6893, 11), (6895, 11), (6896, 12)])
def test_jesd79_5_rounds_off_three_thousandths_of_the_time(ps, expected):
    assert clocks(ns=ps / 1000, rounding=JESD79_5) == expected  # 6268.8 and 6895.7 ps are 10 and 11 clocks / 0.997


@pytest.mark.parametrize(("ps", "expected"), [(6250, 10), (6251, 11), (6875, 11)])
def test_up_rounds_off_nothing(ps, expected):
    assert clocks(ns=ps / 1000, rounding=UP) == expected


def test_a_maximum_is_rounded_down():
    assert at_most(3900, 3200) == 6240
    assert at_most(3906, 7500 // 4) == 3661
    assert at_most(0.1, 3200) == 1


def test_the_larger_of_the_two_minima_counts():
    assert clocks(ns=7.5, nck=4) == 12
    assert clocks(ns=7.5, nck=13) == 13
    assert clocks(nck=9, rounding=JESD79_5) == 9


@given(st.integers(1, 10**7), st.sampled_from([2400, Fraction(8000, 3), 3200, 4800, 5600, 6400]))
def test_no_rounding_takes_off_more_than_its_standard_allows_or_adds_a_clock(ps, data_rate):
    exact = Fraction(ps) / clock_period_ps(data_rate)
    ns = Decimal(ps) / 1000
    assert exact - Fraction(26, 1000) <= clocks(ns, data_rate=data_rate) < exact + 1
    assert exact * Fraction(997, 1000) < clocks(ns, data_rate=data_rate, rounding=JESD79_5) < exact + 1
    assert exact <= clocks(ns, data_rate=data_rate, rounding=UP) < exact + 1
    assert exact - 1 < at_most(ns, data_rate) <= max(exact, 1)


def test_an_unknown_standard_lists_the_known_ones():
    with pytest.raises(InputError, match=r"expected one of .*DDR4-3200-Hermes.*, found 'DDR9'"):
        load_standard("DDR9")


def test_ranks_and_channels_can_be_chosen():
    levels = load_standard("DDR5-4800B", ranks=4, channels=1).organization
    assert (levels.ranks, levels.channels) == (4, 1)
    assert load_standard("DDR5-4800B").organization.ranks == 1
    for count in (3, 0, True):
        with pytest.raises(InputError, match=f"ranks: expected a power of two, found {count}"):
            load_standard("DDR5-4800B", ranks=count)


def test_overrides_replace_timings_in_clocks_and_leave_the_original():
    standard = load_standard("DDR4-3200-Hermes")
    assert with_overrides(standard, {"nRFC": 560}).timing["nRFC"] == 560
    assert standard.timing["nRFC"] == 880


def test_sums_and_constraints_and_refresh_follow_what_is_overridden():
    standard = load_standard("DDR4-3200AA")
    longer = with_overrides(standard, {"nRAS": 60, "nREFI": 5000})
    assert (standard.timing["nRC"], longer.timing["nRC"]) == (74, 82)
    assert (gap(standard, "bank", "ACT", "ACT"), gap(longer, "bank", "ACT", "ACT")) == (74, 82)
    assert longer.refresh["all_bank"].interval == 5000
    assert list(longer.timing) == list(standard.timing)


def test_a_sum_that_was_overridden_follows_no_longer():
    fixed = with_overrides(load_standard("DDR4-3200AA"), {"nRC": 90})
    assert fixed.timing["nRC"] == 90
    assert with_overrides(fixed, {"nRAS": 60}).timing["nRC"] == 90


def test_bad_overrides_are_all_reported():
    with pytest.raises(InputError) as error:
        with_overrides(load_standard("DDR4-3200-Hermes"), {"nFOO": 1, "nRFC": 0})
    first, second = str(error.value).splitlines()
    assert first.startswith("timing: expected one of nBL, ") and first.endswith("found 'nFOO'")
    assert second == "nRFC: expected an integer from 1 to 1073741824, found 0"


def test_an_override_that_makes_a_sum_too_large_is_refused():
    with pytest.raises(InputError, match=r"nRC: expected nRAS \+ nRP from 1 to 1073741824 clocks, found 1073741846"):
        with_overrides(load_standard("DDR4-3200AA"), {"nRAS": 1 << 30})


def test_gaps_are_counted_from_last_clock_to_last_clock_and_given_from_first_to_first():
    ddr5 = FAMILIES["DDR5"]  # ACT, RD and WR take two clocks, PRE and REF one
    t = ddr5.timing
    assert gap(ddr5, "bank", "ACT", "RD") == t["nRCD"]
    assert gap(ddr5, "bank", "ACT", "PRE") == t["nRAS"] + 1
    assert gap(ddr5, "bank", "RD", "PRE") == t["nRTP"] + 1
    assert gap(ddr5, "bank", "PRE", "ACT") == t["nRP"] - 1
    assert gap(ddr5, "rank", "REF", "ACT") == t["nRFC"] - 1
    assert gap(ddr5, "rank", "ACT", "ACT", window=4) == t["nFAW"]
    assert (ddr5.read_latency, ddr5.write_latency) == (t["nCL"] + 1, t["nCWL"] + 1)
    ddr4 = FAMILIES["DDR4"]
    assert gap(ddr4, "bank", "ACT", "PRE") == ddr4.timing["nRAS"]
    assert ddr4.read_latency == ddr4.timing["nCL"]


def test_gaps_of_no_clock_bind_nothing():
    assert all(one.gap > 0 for standard in FAMILIES.values() for one in standard.constraints)
    wide = with_overrides(FAMILIES["DDR4"], {"nCL": 10, "nCWL": 30})
    assert gap(wide, "rank", "RD", "WR") == 0


READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
EVERYWHERE = [  # what every standard must bound, whatever its numbers
    *(("bank", "ACT", later) for later in (*READS, *WRITES, "PRE", "ACT")),
    *(("rank", "ACT", later) for later in ("ACT", "PREA", "REF")),
    *(("bank", earlier, "ACT") for earlier in ("PRE", "RDA", "WRA")),
    *(("rank", earlier, later) for earlier in ("PREA", "REF") for later in ("ACT", "REF")),
    *(("rank", earlier, "REF") for earlier in ("PRE", "RDA", "WRA")),
    *(("bank", earlier, "PRE") for earlier in (*READS, *WRITES)),
    *(("rank", earlier, "PREA") for earlier in (*READS, *WRITES)),
    *(("rank", *pair) for pair in product((*READS, *WRITES), repeat=2)),
    *(("bank_group", *pair) for pair in (*product(READS, repeat=2), *product(WRITES, repeat=2))),
    *(("bank_group", *pair) for pair in product(WRITES, READS)),
    *(("other_rank", *pair) for pair in (*product(READS, repeat=2), *product(WRITES, repeat=2))),
    *(("other_rank", *pair) for pair in product(READS, WRITES)),
]


@each_family
def test_every_pair_of_commands_that_jedec_bounds_has_a_constraint(standard):
    assert [pair for pair in EVERYWHERE if not gap(standard, *pair)] == []
    assert gap(standard, "rank", "ACT", "ACT", window=4) == standard.timing["nFAW"]


@pytest.mark.parametrize(
    ("family", "command", "spans"),
    [  # refreshed set: own bank, next refresh, ACT of another bank, ACT before
        ("DDR5", "REFsb", ("nRFCsb", "nRFCsb", "nREFSBRD", "nRRD_L")),
        ("LPDDR5X", "REFpb", ("nRFCpb", "nPBR2PBR", "nPBR2ACT", "nRRD")),
        ("HBM2E", "REFpb", ("nRFCpb", "nRREFD", "nRREFD", "nRRD_S")),
        ("HBM3", "REFpb", ("nRFCpb", "nRREFD", "nRREFD", "nRRD_S")),
    ],
)
def test_refreshes_of_single_banks_are_bounded_on_all_sides(family, command, spans):
    standard = FAMILIES[family]
    t, act = standard.timing, standard.clocks["ACT"]
    own, again, other, before = (t[name] for name in spans)
    assert gap(standard, "bank", command, "ACT") == own + 1 - act
    assert gap(standard, "rank", command, command) == again
    assert gap(standard, "rank", command, "ACT") == other + 1 - act
    assert gap(standard, "rank", "ACT", command) == before + act - 1
    assert gap(standard, "bank", "ACT", command) == t["nRC"] + act - 1
    assert gap(standard, "bank", "PRE", command) == t["nRP"]
    assert gap(standard, "rank", "PREA", command) == t.get("nRPab", t["nRP"])
    column = standard.clocks["RD"]
    assert gap(standard, "bank", "RDA", command) == t["nRTP"] + t["nRP"] + column - 1
    assert gap(standard, "bank", "WRA", command) == t["nCWL"] + t["nBL"] + t["nWR"] + t["nRP"] + column - 1
    assert gap(standard, "rank", command, "REF") == own
    assert gap(standard, "rank", "REF", command) == t["nRFC"]


@each_family
def test_auto_precharge_binds_what_the_plain_command_binds(standard):
    kept = {constraint for constraint in standard.constraints if constraint.later in ("RD", "WR")}
    for constraint in kept:
        assert constraint._replace(later=constraint.later + "A") in standard.constraints


@each_family
@pytest.mark.parametrize("scope", ["rank", "other_rank"])
def test_bursts_on_a_data_bus_never_overlap(standard, scope):
    latency = {"RD": standard.read_latency, "WR": standard.write_latency}
    between = 0 if scope == "rank" else 1
    for earlier, later in product(latency, repeat=2):
        apart = max(gap(standard, scope, earlier, later), 1) + latency[later] - latency[earlier]
        idle = between + (scope == "rank" and earlier != later and earlier == "RD")
        assert apart >= standard.timing["nBL"] + idle, (earlier, later)


@pytest.mark.parametrize(("earlier", "later", "expected"), [("RD", "RD", 6), ("WR", "WR", 6), ("RD", "WR", 12)])
def test_ddr4_ranks_leave_two_idle_clocks_between_their_bursts(earlier, later, expected):
    assert gap(FAMILIES["DDR4"], "other_rank", earlier, later) == expected


def test_writes_of_ddr5_to_one_group_are_further_apart_than_reads():
    standard = load_standard("DDR5-4800B-16Gb_x4")
    assert gap(standard, "bank_group", "RD", "RDA") == 12
    assert gap(standard, "bank_group", "WR", "WRA") == 48
    assert gap(standard, "rank", "WR", "WR") == 8


def test_rows_and_columns_of_hbm_have_a_command_bus_each():
    for family in ("HBM2E", "HBM3"):
        assert FAMILIES[family].busses == (("ACT", "PRE", "PREA", "REF", "REFpb"), ("RD", "WR", "RDA", "WRA"))
    assert len(FAMILIES["DDR5"].busses) == 1


@pytest.mark.parametrize(
    ("preset", "kind", "expected"),
    [
        ("DDR4-3200AA", "all_bank", ("REF", 12480, 8, 4)),
        ("DDR5-4800B-16Gb_x16", "same_bank", ("REFsb", 1170, 8, 4)),
        ("DDR5-4800B-8Gb_x8", "same_bank", ("REFsb", 2340, 8, 8)),
        ("LPDDR5X-8533", "per_bank", ("REFpb", 520, 8, 2)),
        ("HBM3-6400", "per_bank", ("REFpb", 390, 8, 1)),
    ],
)
def test_kinds_of_refresh(preset, kind, expected):
    assert load_standard(preset).refresh[kind] == expected
