"""Each timing rule of each standard has its test: a command is legal at a cycle, and a clock sooner breaks the rule.

The gaps are between first clocks, worked out by hand from the timings of the default devices: a gap of JEDEC's, from
last clock to last clock, is a clock longer from a command of two clocks to one of one, and shorter the other way.
"""

import pytest
from dram.logs import act, broken, column, of_set, pre, prea, rd, ref, spelt, two_ranks, wr

from ndpsim.dram.checker.rules import FAMILIES

OPEN = [act(0), act(100, group=1), act(200, bank=1), act(300, rank=1)]  # so long ago that they bind nothing
# By rule, and what else it concerns: the commands before, and the one that waits, from the cycle where its gap counts
SCENES = {
    "tRCD": ([act(1000)], rd(1000)),
    "tRCD of a write": ([act(1000)], column("WRA", 1000)),
    "tRCDRD": ([act(1000)], rd(1000)),
    "tRCDWR": ([act(1000)], wr(1000)),
    "tRAS": ([act(1000)], pre(1000)),
    "tRAS of all": ([act(1000)], prea(1000)),
    "tRC": ([act(1000), pre(1000 + 78)], act(1000)),
    "tRP": ([act(0), pre(1000)], act(1000)),
    "tRP of all": ([act(0), prea(1000)], act(1000, group=1)),
    "tRP of a refresh": ([act(0), pre(1000)], ref(1000)),
    "tRP of a set": ([act(0), pre(1000)], of_set(1000)),
    "tRPab": ([act(0), prea(1000)], act(1000, group=1)),
    "tRPab of a refresh": ([act(0), prea(1000)], ref(1000)),
    "tRTP": ([*OPEN, rd(1000)], pre(1000)),
    "tWR": ([*OPEN, wr(1000)], pre(1000)),
    "tRRD_S": ([act(1000)], act(1000, group=1)),
    "tRRD_S of a set": ([act(1000)], of_set(1000, group=1)),
    "tRRD_L": ([act(1000)], act(1000, bank=1)),
    "tRRD_L of a set": ([act(1000)], of_set(1000, bank=1)),
    "tRRD": ([act(1000)], act(1000, group=1)),
    "tRRD of a set": ([act(1000)], of_set(1000, bank=1)),
    "tFAW": ([act(1000 + 8 * i, group=i) for i in range(4)], act(1000, bank=1)),
    "tCCD_S": ([*OPEN, rd(1000)], rd(1000, group=1)),
    "tCCD_S of writes": ([*OPEN, wr(1000)], wr(1000, group=1)),
    "tCCD_L": ([*OPEN, rd(1000)], rd(1000, bank=1)),
    "tCCD_L of writes": ([*OPEN, wr(1000)], wr(1000, bank=1)),
    "tCCD_L_WR": ([*OPEN, wr(1000)], wr(1000, bank=1)),
    "tWTR_S": ([*OPEN, wr(1000)], rd(1000, group=1)),
    "tWTR_L": ([*OPEN, wr(1000)], rd(1000, bank=1)),
    "tRTW": ([*OPEN, rd(1000)], wr(1000)),
    "tPPD": ([*OPEN, pre(1000)], pre(1000, group=1)),
    "tRFC": ([ref(1000)], act(1000)),
    "tRFC to the next": ([ref(1000)], ref(1000)),
    "tRFCsb": ([of_set(1000)], act(1000)),
    "tRFCsb to the next": ([of_set(1000)], of_set(1000, bank=1)),
    "tREFSBRD": ([of_set(1000)], act(1000, bank=1)),
    "tRFCpb": ([of_set(1000)], act(1000)),
    "tpbR2pbR": ([of_set(1000)], of_set(1000, bank=1)),
    "tpbR2act": ([of_set(1000)], act(1000, bank=1)),
    "tRREFD": ([of_set(1000)], of_set(1000, bank=1)),
    "tRREFD to an activate": ([of_set(1000)], act(1000, bank=1)),
    "tRTRS": ([*OPEN, rd(1000)], rd(1000, rank=1)),
    "tRTRS to a write": ([*OPEN, rd(1000)], wr(1000, rank=1)),
    "tCCD_R": ([*OPEN, rd(1000)], rd(1000, rank=1)),
    "tCCD_R to a write": ([*OPEN, rd(1000)], wr(1000, rank=1)),
}
# What a command that is a clock too early may break besides
ALSO = {"tRC": {"tRP"}, "tCCD_S": {"data_bus"}, "tCCD_S of writes": {"data_bus"}, "tFAW": {"tRRD_S", "tRRD"}}
GAPS = {
    "DDR4-3200AA": {
        "tRCD": 22, "tRCD of a write": 22, "tRAS": 52, "tRAS of all": 52, "tRC": 74, "tRP": 22, "tRP of all": 22,
        "tRP of a refresh": 22, "tRTP": 12, "tWR": 44, "tRRD_S": 4, "tRRD_L": 8, "tFAW": 34, "tCCD_S": 4,
        "tCCD_S of writes": 4, "tCCD_L": 8, "tCCD_L of writes": 8, "tWTR_S": 24, "tWTR_L": 32, "tRTW": 12, "tRFC": 560,
        "tRFC to the next": 560, "tRTRS": 6, "tRTRS to a write": 12,
    },
    "DDR5-4800B": {
        "tRCD": 39, "tRCD of a write": 39, "tRAS": 78, "tRAS of all": 78, "tRC": 116, "tRP": 38, "tRP of all": 38,
        "tRP of a refresh": 39, "tRP of a set": 39, "tRTP": 19, "tWR": 119, "tRRD_S": 8, "tRRD_L": 12,
        "tRRD_L of a set": 13, "tFAW": 32, "tCCD_S": 8, "tCCD_S of writes": 8, "tCCD_L": 12, "tCCD_L_WR": 24,
        "tWTR_S": 52, "tWTR_L": 70, "tRTW": 14, "tPPD": 2, "tRFC": 705, "tRFC to the next": 706, "tRFCsb": 311,
        "tRFCsb to the next": 312, "tREFSBRD": 71, "tRTRS": 10, "tRTRS to a write": 12,
    },
    "LPDDR5X-8533": {
        "tRCD": 21, "tRCD of a write": 21, "tRAS": 46, "tRAS of all": 46, "tRC": 65, "tRP": 19, "tRP of a refresh": 20,
        "tRP of a set": 20, "tRPab": 22, "tRPab of a refresh": 23, "tRTP": 8, "tWR": 51, "tRRD": 4, "tRRD of a set": 5,
        "tFAW": 16, "tCCD_S": 2, "tCCD_S of writes": 2, "tCCD_L": 4, "tCCD_L of writes": 4, "tWTR_S": 21, "tWTR_L": 29,
        "tRTW": 15, "tPPD": 2, "tRFC": 298, "tRFC to the next": 299, "tRFCpb": 149, "tpbR2pbR": 96, "tpbR2act": 7,
        "tRTRS": 4, "tRTRS to a write": 15,
    },
    "HBM2E-3200": {
        "tRCDRD": 21, "tRCDWR": 11, "tRAS": 46, "tRAS of all": 46, "tRC": 68, "tRP": 22, "tRP of all": 22,
        "tRP of a refresh": 23, "tRP of a set": 23, "tRTP": 10, "tWR": 40, "tRRD_S": 5, "tRRD_S of a set": 6,
        "tRRD_L": 7, "tRRD_L of a set": 8, "tFAW": 26, "tCCD_S": 2, "tCCD_S of writes": 2, "tCCD_L": 4,
        "tCCD_L of writes": 4, "tWTR_S": 21, "tWTR_L": 27, "tRTW": 20, "tRFC": 719, "tRFC to the next": 720,
        "tRFCpb": 207, "tRREFD": 13, "tRREFD to an activate": 12, "tRTRS": 3, "tRTRS to a write": 20,
    },
    "HBM3-6400": {
        "tRCDRD": 32, "tRCDWR": 16, "tRAS": 46, "tRAS of all": 46, "tRC": 72, "tRP": 25, "tRP of all": 25,
        "tRP of a refresh": 26, "tRP of a set": 26, "tRTP": 9, "tWR": 45, "tRRD_S": 4, "tRRD_S of a set": 5,
        "tRRD_L": 5, "tRRD_L of a set": 6, "tFAW": 24, "tCCD_S": 2, "tCCD_S of writes": 2, "tCCD_L": 4,
        "tCCD_L of writes": 4, "tWTR_S": 19, "tWTR_L": 22, "tRTW": 20, "tPPD": 2, "tRFC": 559, "tRFC to the next": 560,
        "tRFCpb": 319, "tRREFD": 8, "tRREFD to an activate": 7, "tCCD_R": 3, "tCCD_R to a write": 13,
    },
}  # fmt: skip
CASES = [(name, scene) for name, gaps in GAPS.items() for scene in gaps]


@pytest.mark.parametrize(("name", "scene"), CASES, ids=[f"{name}-{scene.replace(' ', '_')}" for name, scene in CASES])
def test_rule(name, scene):
    standard = two_ranks(name)
    gap, (before, waits) = GAPS[name][scene], SCENES[scene]
    if scene == "tRC":
        before = [before[0], before[1]._replace(cycle=1000 + GAPS[name]["tRAS"])]
    if scene == "tFAW":
        near = GAPS[name].get("tRRD_S") or GAPS[name]["tRRD"]
        before = [command._replace(cycle=1000 + near * i) for i, command in enumerate(before)]
    before = [spelt(command, standard) for command in before]
    legal = spelt(waits._replace(cycle=waits.cycle + gap), standard)
    assert broken([*before, legal], "channel", standard) == {}
    rule = scene.split()[0]
    found = broken([*before, legal._replace(cycle=legal.cycle - 1)], "channel", standard)
    assert rule in found and set(found) <= {rule} | ALSO.get(scene, set())


@pytest.mark.parametrize("name", GAPS)
def test_every_timing_rule_has_its_test(name):
    family = FAMILIES[two_ranks(name).family]
    tested = {scene.split()[0] for scene in GAPS[name]}
    assert tested == {rule.name for rule in family.timing} | {family.other_rank[0], "tFAW"}
