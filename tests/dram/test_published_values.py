import pytest

from ndpsim.dram.standard import load_standard

HERMES = load_standard("DDR4-3200-Hermes")


@pytest.mark.parametrize(
    ("timing", "clocks"),
    [("nWR", 24), ("nRTP", 12), ("nWTR_S", 4), ("nWTR_L", 12), ("nRFC", 880), ("nREFI", 12480)],
)
def test_timings_given_in_nanoseconds_become_the_published_clocks_of_ddr4_3200(timing, clocks):
    assert HERMES.timing[timing] == clocks


@pytest.mark.parametrize(
    ("timing", "clocks"),
    [
        ("nRC", 76),
        ("nRCD", 24),
        ("nCL", 24),
        ("nRP", 24),
        ("nBL", 4),
        ("nCCD_S", 4),
        ("nCCD_L", 8),
        ("nRRD_S", 4),
        ("nRRD_L", 6),
        ("nFAW", 26),
    ],
)
def test_timings_of_table_ii_are_those_of_the_paper(timing, clocks):
    assert HERMES.timing[timing] == clocks


def test_the_row_cycle_is_activate_to_precharge_to_activate():
    assert HERMES.timing["nRAS"] + HERMES.timing["nRP"] == HERMES.timing["nRC"]


def test_the_clock_of_ddr4_3200_is_625_ps():
    assert HERMES.tck_ps == 625
    assert HERMES.data_rate_mtps == 3200


def test_a_dimm_of_the_paper_holds_32_gib():
    levels = HERMES.organization
    bursts = levels.ranks * levels.bank_groups * levels.banks * levels.rows * levels.columns
    assert bursts * 64 == 32 << 30
