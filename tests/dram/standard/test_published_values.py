"""Clocks of the shipped standards, beside tables typed from published ones (Ramulator 2.1, DRAMsim3, gem5, ...)."""

from fractions import Fraction

import pytest

from ndpsim.dram.standard.standard import load_standard, standard_names

HERMES = load_standard("DDR4-3200-Hermes")


def clocks(preset, *names):
    return tuple(load_standard(preset).timing[name] for name in names)


@pytest.mark.parametrize(
    ("timing", "expected"),
    [("nWR", 24), ("nRTP", 12), ("nWTR_S", 4), ("nWTR_L", 12), ("nRFC", 880), ("nREFI", 12480)],
)
def test_timings_given_in_nanoseconds_become_the_published_clocks_of_ddr4_3200(timing, expected):
    assert HERMES.timing[timing] == expected


@pytest.mark.parametrize(
    ("timing", "expected"),
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
def test_timings_of_table_ii_are_those_of_the_paper(timing, expected):
    assert HERMES.timing[timing] == expected


def test_the_clock_of_ddr4_3200_is_625_ps():
    assert HERMES.tck_ps == 625
    assert HERMES.data_rate_mtps == 3200


def test_a_dimm_of_the_paper_holds_32_gib():
    levels = HERMES.organization
    assert (levels.ranks, levels.bank_groups, levels.banks) == (4, 2, 4)
    bursts = levels.ranks * levels.bank_groups * levels.banks * levels.rows * levels.columns
    assert bursts * 64 == 32 << 30


@pytest.mark.parametrize("name", standard_names())
def test_the_row_cycle_is_at_least_activate_to_precharge_to_activate(name):
    timing = load_standard(name).timing
    assert timing["nRC"] >= timing["nRAS"] + timing["nRP"]


DDR4_BIN = ("nCL", "nRCD", "nRP", "nRAS", "nRC", "nCWL", "nWR", "nRTP", "nCCD_S", "nCCD_L", "nWTR_S", "nWTR_L")


@pytest.mark.parametrize(
    ("preset", "cl", "others"),
    [  #                  RAS  RC CWL  WR RTP CCD   WTR
        ("DDR4-2400P", 15, (39, 54, 12, 18, 9, 4, 6, 3, 9)),
        ("DDR4-2400R", 16, (39, 55, 12, 18, 9, 4, 6, 3, 9)),
        ("DDR4-2400T", 17, (39, 56, 12, 18, 9, 4, 6, 3, 9)),
        ("DDR4-2400U", 18, (39, 57, 12, 18, 9, 4, 6, 3, 9)),
        ("DDR4-2666T", 17, (43, 60, 14, 20, 10, 4, 7, 4, 10)),
        ("DDR4-2666U", 18, (43, 61, 14, 20, 10, 4, 7, 4, 10)),
        ("DDR4-2666V", 19, (43, 62, 14, 20, 10, 4, 7, 4, 10)),
        ("DDR4-2666W", 20, (43, 63, 14, 20, 10, 4, 7, 4, 10)),
        ("DDR4-2933V", 19, (47, 66, 16, 22, 11, 4, 8, 4, 11)),
        ("DDR4-2933W", 20, (47, 67, 16, 22, 11, 4, 8, 4, 11)),
        ("DDR4-2933Y", 21, (47, 68, 16, 22, 11, 4, 8, 4, 11)),
        ("DDR4-2933AA", 22, (47, 69, 16, 22, 11, 4, 8, 4, 11)),
        ("DDR4-3200W", 20, (52, 72, 16, 24, 12, 4, 8, 4, 12)),
        ("DDR4-3200AA", 22, (52, 74, 16, 24, 12, 4, 8, 4, 12)),
        ("DDR4-3200AC", 24, (52, 76, 16, 24, 12, 4, 8, 4, 12)),
    ],
)
def test_ddr4_bins(preset, cl, others):
    assert clocks(preset, *DDR4_BIN) == (cl, cl, cl, *others)


@pytest.mark.parametrize(
    ("speed", "x4", "x8", "x16"),
    [  #        RRD_S RRD_L FAW
        ("2400R", (4, 6, 16), (4, 6, 26), (7, 8, 36)),
        ("2666V", (4, 7, 16), (4, 7, 28), (8, 9, 40)),
        ("2933Y", (4, 8, 16), (4, 8, 31), (8, 10, 44)),
        ("3200AA", (4, 8, 16), (4, 8, 34), (9, 11, 48)),
    ],
)
@pytest.mark.parametrize("density", ["2Gb", "4Gb", "8Gb", "16Gb"])
def test_activates_of_ddr4_depend_on_the_width_of_the_device(speed, x4, x8, x16, density):
    for width, expected in (("x4", x4), ("x8", x8), ("x16", x16)):
        assert clocks(f"DDR4-{speed}-{density}_{width}", "nRRD_S", "nRRD_L", "nFAW") == expected


@pytest.mark.parametrize(("density", "rfc"), [("2Gb", 256), ("4Gb", 416), ("8Gb", 560), ("16Gb", 880)])
def test_refresh_of_ddr4_takes_160_260_350_or_550_ns(density, rfc):
    assert clocks(f"DDR4-3200AA-{density}_x8", "nRFC") == (rfc,)


@pytest.mark.parametrize(("preset", "refi"), [("2400R", 9360), ("2666V", 10400), ("2933Y", 11440), ("3200AA", 12480)])
def test_refreshes_of_ddr4_are_at_most_7800_ns_apart(preset, refi):
    assert clocks(f"DDR4-{preset}", "nREFI") == (refi,)


DDR5_BIN = ("nCL", "nRCD", "nRP", "nCWL", "nRAS", "nRC", "nWR", "nRTP", "nCCD_S", "nCCD_L", "nWTR_S", "nWTR_L")
DDR5_BIN += ("nRRD_S", "nRRD_L", "nFAW", "nPPD", "nREFI")


@pytest.mark.parametrize(
    ("preset", "expected"),
    [  #               CL RCD  RP CWL  RAS   RC  WR RTP  CCD    WTR    RRD  FAW PPD REFI
        ("3200AN", (24, 24, 24, 22, 52, 76, 48, 12, 8, 8, 4, 16, 8, 8, 32, 2, 6240)),
        ("4800AN", (34, 34, 34, 32, 77, 111, 72, 18, 8, 12, 6, 24, 8, 12, 32, 2, 9360)),
        ("4800B", (40, 39, 39, 38, 77, 116, 72, 18, 8, 12, 6, 24, 8, 12, 32, 2, 9360)),
        ("5600AN", (40, 40, 40, 38, 90, 130, 84, 21, 8, 14, 7, 28, 8, 14, 32, 2, 10920)),
        ("5600B", (46, 45, 45, 44, 90, 135, 84, 21, 8, 14, 7, 28, 8, 14, 32, 2, 10920)),
        ("6400AN", (46, 46, 46, 44, 103, 149, 96, 24, 8, 16, 8, 32, 8, 16, 32, 2, 12480)),
        ("6400B", (52, 52, 52, 50, 103, 155, 96, 24, 8, 16, 8, 32, 8, 16, 32, 2, 12480)),
    ],
)
def test_ddr5_bins(preset, expected):
    assert clocks(f"DDR5-{preset}", *DDR5_BIN) == expected


@pytest.mark.parametrize(
    ("speed", "x4", "x8"), [("3200AN", 32, 16), ("4800B", 48, 24), ("5600B", 56, 28), ("6400B", 64, 32)]
)
def test_only_x4_writes_of_ddr5_wait_for_a_read_modify_write(speed, x4, x8):
    found = [clocks(f"DDR5-{speed}-16Gb_{width}", "nCCD_L_WR", "nFAW") for width in ("x4", "x8", "x16")]
    assert found == [(x4, 32), (x8, 32), (x8, 40)]


@pytest.mark.parametrize(
    ("density", "expected"),
    # 195, 295, 410 ns are 312, 472, 656 clocks of 625 ps; times 0.997 and truncated plus 1
    [("8Gb", (312, 184, 1560)), ("16Gb", (471, 208, 780)), ("32Gb", (655, 304, 780))],
)
def test_refresh_of_ddr5(density, expected):
    assert clocks(f"DDR5-3200AN-{density}_x8", "nRFC", "nRFCsb", "nREFIsb") == expected


LPDDR5_BIN = ("nCL", "nCWL", "nRCD", "nRP", "nRPab", "nRAS", "nRC", "nRRD", "nFAW", "nWR", "nWTR_S", "nWTR_L")
LPDDR5_BIN += ("nCCD_S", "nCCD_L", "nRTP", "nREFI")


@pytest.mark.parametrize(
    ("preset", "expected"),
    [  #                     RL  WL RCD  RP RPab RAS RC RRD FAW  WR  WTR   CCD RTP REFI
        ("LPDDR5-6400", (17, 9, 15, 15, 17, 34, 49, 4, 16, 28, 5, 10, 2, 4, 6, 3124)),
        ("LPDDR5X-7500", (20, 11, 17, 17, 20, 40, 57, 4, 15, 32, 6, 12, 2, 4, 8, 3661)),
        # tRC is tRAS + tRPpb in clocks: 65 and 73, where 60 ns at once would be 64 and 72.
        ("LPDDR5X-8533", (23, 12, 20, 20, 23, 45, 65, 4, 16, 37, 7, 13, 2, 4, 8, 4166)),
        ("LPDDR5X-9600", (26, 14, 22, 22, 26, 51, 73, 5, 18, 41, 8, 15, 2, 4, 9, 4687)),
    ],
)
def test_lpddr5_bins(preset, expected):
    assert clocks(preset, *LPDDR5_BIN) == expected


@pytest.mark.parametrize(
    ("density", "ab", "pb", "pb_to_pb"),
    [(2, 130, 60, 60), (4, 180, 90, 90), (8, 210, 120, 90), (16, 280, 140, 90), (32, 380, 190, 90)],
)
def test_refresh_of_lpddr5x_in_nanoseconds(density, ab, pb, pb_to_pb):
    found = clocks(f"LPDDR5X-6400-{density}Gb_x16", "nRFC", "nRFCpb", "nPBR2PBR", "nPBR2ACT", "nREFIpb")
    assert found == (*(-(-ns * 4 // 5) for ns in (ab, pb, pb_to_pb)), 6, 390)


HBM_BIN = ("nCL", "nCWL", "nRCDRD", "nRCDWR", "nRP", "nRAS", "nRC", "nWR", "nRTP", "nRRD_S", "nRRD_L", "nFAW")
HBM_BIN += ("nCCD_S", "nCCD_L", "nWTR_S", "nWTR_L", "nRTW", "nRFCpb", "nREFI")


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        # HBM2 nanoseconds, rounded up: RL 18, WL 7, RCD 12 and 6, RP 14, RAS 28, WR 16, RTP 6, RRD 3 and 4, FAW 16,
        # WTR 4 and 8, RFCpb 130. RC is RAS + RP; RTW is RL + 2 + 1 - WL.
        ("HBM2E-3200", (29, 12, 20, 10, 23, 45, 68, 26, 10, 5, 7, 26, 2, 4, 7, 13, 20, 208, 6240)),
        ("HBM2E-3600", (33, 13, 22, 11, 26, 51, 77, 29, 11, 6, 8, 29, 2, 5, 8, 15, 23, 234, 7020)),
        ("HBM3-6400", (20, 10, 31, 15, 26, 45, 72, 33, 9, 4, 5, 24, 2, 4, 7, 10, 20, 320, 6240)),
    ],
)
def test_hbm_bins(preset, expected):
    assert clocks(preset, *HBM_BIN) == expected


@pytest.mark.parametrize(
    ("preset", "rfc"),
    [
        ("HBM3-6400-4Gb_4hi", 416),
        ("HBM3-6400-8Gb_8hi", 560),
        ("HBM3-6400-16Gb_16hi", 720),
        ("HBM2E-3200-8Gb_4hi", 560),
        ("HBM2E-3200-16Gb_8hi", 720),
    ],
)
def test_refresh_of_hbm_takes_260_350_or_450_ns_by_the_density_of_a_channel(preset, rfc):
    assert clocks(preset, "nRFC") == (rfc,)


def test_hbm3_has_clocks_of_its_own_between_stack_ids_and_bank_refreshes():
    assert clocks("HBM3-6400", "nCCD_R", "nPPD", "nRREFD") == (3, 2, 8)


@pytest.mark.parametrize(
    ("preset", "tck_ps", "burst_clocks", "burst_bytes", "gigabytes_a_second"),
    [
        ("DDR4-3200AA", 625, 4, 64, 25.6),
        ("DDR4-2666V", 750, 4, 64, Fraction(64000, 3000)),
        ("DDR5-4800B", Fraction(1250, 3), 8, 64, 38.4),
        ("DDR5-6400B", Fraction(625, 2), 8, 64, 51.2),
        ("LPDDR5X-7500", Fraction(3200, 3), 2, 32, 15),
        ("LPDDR5X-8533", Fraction(1875, 2), 2, 32, Fraction(25600 * 2, 3000)),
        ("HBM2E-3200", 625, 2, 32, 409.6),
        ("HBM2E-3600", Fraction(5000, 9), 2, 32, 460.8),
        ("HBM3-6400", 625, 2, 32, 819.2),
    ],
)
def test_clocks_and_bandwidth_of_all_channels(preset, tck_ps, burst_clocks, burst_bytes, gigabytes_a_second):
    standard = load_standard(preset)
    assert (standard.tck_ps, standard.timing["nBL"], standard.burst_bytes) == (tck_ps, burst_clocks, burst_bytes)
    busses = standard.organization.channels * standard.organization.pseudo_channels
    found = Fraction(burst_bytes * busses * 1000, burst_clocks) / tck_ps
    assert float(found) == pytest.approx(float(gigabytes_a_second))


@pytest.mark.parametrize(
    ("preset", "gibibytes"),
    [("HBM2E-3200", 16), ("HBM3-6400", 16), ("HBM3-6400-16Gb_16hi", 32), ("DDR5-4800B", 16), ("LPDDR5X-8533", 2)],
)
def test_capacity_of_a_stack_module_or_die(preset, gibibytes):
    standard = load_standard(preset)
    levels = standard.organization
    size = levels.channels * levels.pseudo_channels * levels.ranks * levels.bank_groups * levels.banks
    assert size * levels.rows * levels.columns * standard.burst_bytes == gibibytes << 30
