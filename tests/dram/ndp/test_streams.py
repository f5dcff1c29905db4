"""Streams of one rank on every standard, worked out by hand from STREAM_CONTROLLER.md.

A place is the number of a row: (row * banks + bank) * groups + group in BANK_MAP, row * banks + bank in ROTATING_MAP.
"""

from dataclasses import replace

import numpy as np
import pytest

from ndpsim.dram.address_map import parse_address_map
from ndpsim.dram.log.log import COMMANDS
from ndpsim.dram.ndp.engine import run_stream
from ndpsim.dram.ndp.gaps import largest_gap
from ndpsim.dram.ndp.mac_array import Array, holds_of
from ndpsim.dram.ndp.rank_state import new_log, new_state
from ndpsim.dram.ndp.rows import StreamRows
from ndpsim.dram.ndp.timing import timing_of
from ndpsim.dram.standard.constraints import RuleRow
from ndpsim.dram.standard.standard import load_standard, standard_names, with_overrides
from ndpsim.errors import InputError

BANK_MAP = "rank row bank bank_group column"
ROTATING_MAP = "rank row bank column bank_group"
DDR5 = load_standard("DDR5-4800B")
HBM3 = load_standard("HBM3-6400")


def commands(standard, *streams, text=BANK_MAP, ahead=4):
    """The commands of streams, as (cycle, name, group, bank), of a rank that is never refreshed.

    A stream is RD or WR, the bursts of each of its trains, and their places; it starts when the one before is over.
    """
    organization = standard.organization.model_copy(update={"ranks": 1})
    timing = timing_of(standard, ahead, 16)
    state = new_state(timing, [1 << 40])
    log = new_log(1000)
    amap = parse_address_map(text, organization).arrays()
    stride = organization.columns * (organization.bank_groups if text == ROTATING_MAP else 1)
    start = 0
    for kind, bursts, places in streams:
        rows = StreamRows(0, stride, bursts, 1, 0, len(places), -1)
        lists = np.array(places, np.uint32)
        array = Array(False, holds_of(timing, [0, 1000]), 1 if kind == "RD" else 0)
        end = run_stream(timing, amap, state, 0, 1, kind == "WR", rows, lists, start, array, True, log)
        start = -(-end * timing.ticks // timing.tck)
    used = sorted(log.records[: log.used[0]].tolist())
    return [(cycle, COMMANDS[command], group, bank) for cycle, command, _, _, group, bank, *_ in used]


def cycles(found, name):
    """The cycles of the commands of a name."""
    return [cycle for cycle, command, *_ in found if command == name]


def test_a_rotating_train_of_ddr5_begins_after_the_second_clock_of_its_last_activate():
    found = commands(DDR5, ("RD", 10, [0]), text=ROTATING_MAP)
    # Eight groups, nRRD_S 8, nFAW 32; nRCD 39 would allow the first burst at 39.
    assert cycles(found, "ACT") == [0, 8, 16, 24, 32, 40, 48, 56]
    assert cycles(found, "RD") == [58 + 8 * k for k in range(10)]


def test_an_activate_waits_for_both_clocks_of_a_burst():
    # Taken up after the first burst at 39, which has 39 and 40.
    found = commands(DDR5, ("RD", 4, [0, 1]), ahead=1)
    assert found[:4] == [(0, "ACT", 0, 0), (39, "RD", 0, 0), (41, "ACT", 1, 0), (51, "RD", 0, 0)]


@pytest.mark.parametrize(("allowed", "issued"), [(36, 36), (37, 37), (38, 41), (39, 41), (40, 41), (41, 41)])
def test_an_activate_of_two_clocks_meets_no_burst_of_two(allowed, issued):
    found = commands(with_overrides(DDR5, {"nRRD_S": allowed}), ("RD", 2, [0, 1]))
    assert cycles(found, "ACT") == [0, issued]
    assert cycles(found, "RD")[:2] == [39, 51]  # the bursts of the first train never wait


def test_precharges_are_tPPD_apart_and_wait_for_both_clocks_of_an_activate():
    found = commands(DDR5, ("RD", 1, [0, 1]), ("RD", 1, [2, 32, 33]))  # then row 1 of the banks 0.0 and 1.0
    # The second burst, at 47, arrives at 47 + 49 and takes 1000 ps, 2.4 clocks: the second stream begins at 99.
    assert found[4:8] == [(99, "ACT", 2, 0), (101, "PRE", 0, 0), (103, "PRE", 1, 0), (138, "RD", 2, 0)]
    # nRP 39 to the second clock of the ACT would allow 139, which the burst has; nRRD_S 8.
    assert cycles(found, "ACT")[3:] == [140, 148]


def test_on_hbm_row_and_column_commands_share_a_clock():
    # A read comes nRCDRD + 1 after the two clocks of ACT began: at 32.
    found = commands(with_overrides(HBM3, {"nRRD_S": 32}), ("RD", 2, [0, 1]))
    assert found[:3] == [(0, "ACT", 0, 0), (32, "ACT", 1, 0), (32, "RD", 0, 0)]


def test_on_hbm_a_write_follows_its_activate_sooner_than_a_read():
    (_, (read, *_)), (_, (write, *_)) = commands(HBM3, ("RD", 1, [0])), commands(HBM3, ("WR", 1, [0]))
    assert (read, write) == (31 + 1, 15 + 1)


def test_on_hbm_a_rotating_train_begins_after_the_second_clock_of_its_last_activate():
    # Writes: nRCDWR + 1 = 16 allows 16 - 2k for the ACTs at 0, 4, 8, 12; the last ACT has the clocks 12 and 13.
    found = commands(HBM3, ("WR", 4, [0]), text=ROTATING_MAP)
    assert cycles(found, "WR") == [22, 24, 26, 28]  # 12 + 16 - 3 * 2
    found = commands(with_overrides(HBM3, {"nRCDWR": 1}), ("WR", 4, [0]), text=ROTATING_MAP)
    assert cycles(found, "WR") == [14, 16, 18, 20]


def test_on_lpddr5x_an_activate_does_not_fit_into_a_train_at_full_rate():
    lpddr = load_standard("LPDDR5X-8533")
    found = commands(lpddr, ("RD", 64, [0, 1]), text=ROTATING_MAP, ahead=1)
    bursts, acts = cycles(found, "RD"), cycles(found, "ACT")
    assert np.diff(bursts[:64]).tolist() == [2] * 63
    assert acts[4] == bursts[63] + 1
    # In one bank bursts are 4 clocks apart, and the ACT fits behind the first one.
    found = commands(lpddr, ("RD", 64, [0, 1]), ahead=1)
    assert cycles(found, "ACT") == [0, cycles(found, "RD")[0] + 1]


def test_writes_to_ddr5_are_paced_apart_from_reads():
    assert np.diff(cycles(commands(DDR5, ("RD", 3, [0])), "RD")).tolist() == [12, 12]  # nCCD_L
    assert np.diff(cycles(commands(DDR5, ("WR", 3, [0])), "WR")).tolist() == [24, 24]  # nCCD_L_WR
    for kind in ("RD", "WR"):
        found = commands(DDR5, (kind, 9, [0]), text=ROTATING_MAP)
        assert np.diff(cycles(found, kind)).tolist() == [8] * 8


def test_rotation_may_be_too_fast_for_writes_alone():
    # x4 devices have nCCD_L_WR 48, which four groups of nCCD_S 8 do not cover.
    x4 = load_standard("DDR5-4800B-16Gb_x4")
    four = replace(x4, organization=x4.organization.model_copy(update={"bank_groups": 4}))
    reads = cycles(commands(four, ("RD", 6, [0]), text=ROTATING_MAP), "RD")
    assert np.diff(reads).tolist() == [8] * 5
    writes = cycles(commands(four, ("WR", 6, [0]), text=ROTATING_MAP), "WR")
    assert np.diff(writes).tolist() == [8, 8, 8, 24, 8]  # trains of one burst; the fifth waits for the first group


def test_a_write_follows_a_read_by_the_turn_of_the_standard():
    # nCL + nBL + 4 - nCWL is over when the read is; a WR may come at once.
    found = commands(DDR5, ("RD", 1, [0]), ("WR", 1, [0]))
    assert cycles(found, "WR") == [39 + 1 + 40 + 8 + 3]  # 1000 ps for the burst are 2.4 clocks
    found = commands(DDR5, ("WR", 1, [0]), ("RD", 1, [0]))
    assert cycles(found, "RD") == [39 + 38 + 8 + 24]  # nCWL + nBL + nWTR_L
    found = commands(DDR5, ("WR", 1, [0]), ("RD", 1, [1]), ahead=1)
    # The write is over at 86; that is 35833 1/3 ps and counts as 35834, which lies in clock 86: ACT at 87.
    assert cycles(found, "RD") == [87 + 39]


@pytest.mark.parametrize("name", [name for name in standard_names() if name.count("-") == 1])
def test_all_shipped_standards_are_taken(name):
    standard = load_standard(name)
    timing = timing_of(standard, 4, 16)
    assert timing.tck == standard.tck_ps * timing.ticks
    assert timing.reads.near == max(standard.timing["nCCD_S"], standard.clocks["RD"])
    assert timing.reads.far == max(standard.timing["nCCD_L"], timing.reads.near)
    assert timing.interval == standard.timing["nREFI"]
    assert timing.shared_bus == (not standard.family.startswith("HBM"))


def test_a_gap_is_the_largest_of_its_rows_without_windows():
    rows = (*DDR5.rows, RuleRow("slow", "rank", "ACT", "ACT", "nFAW - 1"), RuleRow("quick", "rank", "ACT", "ACT", "3"))
    assert largest_gap(DDR5, "rank", "ACT", "ACT") == 8
    assert largest_gap(replace(DDR5, rows=rows), "rank", "ACT", "ACT") == 31
    assert largest_gap(DDR5, "bank", "RD", "RD") == 0


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (RuleRow("tX", "bank", "RD", "RD", "3"), r"tX \(RD to RD, bank\): expected no such gap"),
        (RuleRow("tX", "rank", "RD", "ACT", "3"), r"tX \(RD to ACT, rank\): expected no such gap"),
        (RuleRow("tX", "bank_group", "PRE", "ACT", "3"), r"tX \(PRE to ACT, bank_group\): expected no such gap"),
        (RuleRow("tX", "rank", "REF", "RD", "nRFC + nRCD + 2"), r"tX \(REF to RD, rank\): expected no such gap"),
        (RuleRow("tX", "rank", "RD", "RD", "30", 3),
         r"tX \(RD to RD, rank\): expected a window over the ACTs of a rank only"),
        (RuleRow("tX", "bank_group", "ACT", "ACT", "30", 3),
         r"tX \(ACT to ACT, bank_group\): expected a window over the ACTs of a rank only"),
        (RuleRow("tX", "rank", "ACT", "ACT", "99", 8), "tFAW and tX: expected one window only"),
    ],
)  # fmt: skip
def test_a_rule_that_the_controller_does_not_keep_is_refused(row, sentence):
    with pytest.raises(InputError, match=f"^DDR5-4800B: {sentence} in a standard for NDP streams$"):
        timing_of(replace(DDR5, rows=(*DDR5.rows, row)), 4, 16)


@pytest.mark.parametrize(
    "row",
    [
        RuleRow("tX", "rank", "REF", "RD", "nRFC + nRCD"),  # an ACT comes between
        RuleRow("tX", "other_rank", "RD", "ACT", "3"),
        RuleRow("tX", "bank", "RDA", "PRE", "3"),
        RuleRow("tX", "bank", "RD", "RD", "0"),
    ],
)
def test_a_rule_that_binds_nothing_here_is_taken(row):
    found, own = timing_of(replace(DDR5, rows=(*DDR5.rows, row)), 4, 16), timing_of(DDR5, 4, 16)
    assert found.table.tolist() == own.table.tolist()
    assert found._replace(table=own.table) == own


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"clocks": DDR5.clocks | {"PRE": 2}}, "PRE: expected a command of one clock"),
        ({"busses": (("ACT", "PRE"), ("PREA", "REF", "RD", "WR"))}, "command busses: expected all row commands on one"),
        (
            {"busses": (("ACT", "PRE", "PREA", "REF", "RD"), ("WR",))},
            "command busses: expected all row commands on one",
        ),
        ({"timing": DDR5.timing | {"nCCD_S": 7}}, "RD to RD, rank: expected a gap of at least nBL, 8"),
        ({"data_rate_mtps": 10**9 + 7}, "data rate: expected a clock period in picoseconds with a denominator of at"),
    ],
)
def test_a_standard_of_another_shape_is_refused(changes, sentence):
    with pytest.raises(InputError, match=f"^DDR5-4800B: {sentence}"):
        timing_of(replace(DDR5, **changes), 4, 16)
