"""Each timing rule of each standard holds in the host engine's device state: blocked at t - 1, ready at t.

The rules are typed here from the sheets, in timing names, apart from the tables of `workloads/hardware/dram`. Gaps are
JEDEC's, from last clock to last clock; the engine names a command by its first clock.
"""

from functools import cache

import numpy as np
import pytest

from ndpsim.dram.host import commands
from ndpsim.dram.host import state as host
from ndpsim.dram.host.commands import NUMBERS
from ndpsim.dram.host.constraint_table import rules_of
from ndpsim.dram.host.issue import precharge_all, raise_bank, refresh
from ndpsim.dram.host.queue import legal_at
from ndpsim.dram.host.state import Policy, new_channels
from ndpsim.dram.standard.standard import load_standard

# rule, scope, earlier, later, gap
ALL_FAMILIES = """
tRAS    bank        ACT       PRE            nRAS
tRAS    rank        ACT       PREA           nRAS
tRC     bank        ACT       ACT            nRC
tRC     rank        ACT       REF            nRC
tRP     bank        PRE       ACT            nRP
tRP     rank        PRE       REF            nRP
tRP     bank        RDA       ACT            nRTP + nRP
tRP     rank        RDA       REF            nRTP + nRP
tRP     bank        WRA       ACT            nCWL + nBL + nWR + nRP
tRP     rank        WRA       REF            nCWL + nBL + nWR + nRP
tFAW    rank        ACT*4     ACT            nFAW
tCCD_S  rank        RD,RDA    RD,RDA         nCCD_S
tCCD_S  rank        WR,WRA    WR,WRA         nCCD_S
tCCD_L  bank_group  RD,RDA    RD,RDA         nCCD_L
tWTR_S  rank        WR,WRA    RD,RDA         nCWL + nBL + nWTR_S
tRTP    bank        RD,RDA    PRE            nRTP
tRTP    rank        RD,RDA    PREA           nRTP
tWR     bank        WR,WRA    PRE            nCWL + nBL + nWR
tWR     rank        WR,WRA    PREA           nCWL + nBL + nWR
"""
DDR4 = """
tRCD    bank        ACT       RD,RDA,WR,WRA  nRCD
tRP     rank        PREA      ACT,REF        nRP
tRRD_S  rank        ACT       ACT            nRRD_S
tRRD_L  bank_group  ACT       ACT            nRRD_L
tCCD_L  bank_group  WR,WRA    WR,WRA         nCCD_L
tWTR_L  bank_group  WR,WRA    RD,RDA         nCWL + nBL + nWTR_L
tRTW    rank        RD,RDA    WR,WRA         nCL + nBL + 2 - nCWL
tRFC    rank        REF       ACT,PRE,PREA,RD,RDA,WR,WRA,REF  nRFC
tRTRS   other_rank  RD,RDA    RD,RDA         nBL + nRTRS
tRTRS   other_rank  WR,WRA    WR,WRA         nBL + nRTRS
tRTRS   other_rank  RD,RDA    WR,WRA         nCL + nBL + nRTRS - nCWL
tRTRS   other_rank  WR,WRA    RD,RDA         nCWL + nBL + nRTRS - nCL
"""
DDR5 = """
tRCD      bank        ACT       RD,RDA,WR,WRA  nRCD
tRP       rank        PREA      ACT,REF,REFsb  nRP
tRRD_S    rank        ACT       ACT            nRRD_S
tRRD_L    bank_group  ACT       ACT            nRRD_L
tCCD_L_WR bank_group  WR,WRA    WR,WRA         nCCD_L_WR
tWTR_L    bank_group  WR,WRA    RD,RDA         nCWL + nBL + nWTR_L
tRTW      rank        RD,RDA    WR,WRA         nCL + nBL + 4 - nCWL
tPPD      rank        PRE,PREA  PRE,PREA       nPPD
tRFC      rank        REF       ACT,PRE,PREA,RD,RDA,WR,WRA,REF,REFsb  nRFC
tRC       bank        ACT       REFsb          nRC
tRRD_L    rank        ACT       REFsb          nRRD_L
tRP       bank        PRE       REFsb          nRP
tRP       bank        RDA       REFsb          nRTP + nRP
tRP       bank        WRA       REFsb          nCWL + nBL + nWR + nRP
tRFCsb    bank        REFsb     ACT,PRE,RD,RDA,WR,WRA,REFsb  nRFCsb
tRFCsb    rank        REFsb     PREA,REF,REFsb nRFCsb
tREFSBRD  rank        REFsb     ACT            nREFSBRD
tRTRS     other_rank  RD,RDA    RD,RDA         nBL + nRTRS
tRTRS     other_rank  WR,WRA    WR,WRA         nBL + nRTRS
tRTRS     other_rank  RD,RDA    WR,WRA         nCL + nBL + nRTRS - nCWL
tRTRS     other_rank  WR,WRA    RD,RDA         nCWL + nBL + nRTRS - nCL
"""
# BL/n_min is nBL, BL/n_max, the time of a burst in its own bank group, is nCCD_L
LPDDR5X = """
tRCD     bank        ACT       RD,RDA,WR,WRA  nRCD
tRPab    rank        PREA      ACT,REF,REFpb  nRPab
tRRD     rank        ACT       ACT,REFpb      nRRD
tCCD_L   bank_group  WR,WRA    WR,WRA         nCCD_L
tWTR_L   bank_group  WR,WRA    RD,RDA         nCWL + nCCD_L + nWTR_L
tRTW     rank        RD,RDA    WR,WRA         nCL + nBL + 2 - nCWL
tPPD     rank        PRE,PREA  PRE,PREA       nPPD
tRFCab   rank        REF       ACT,PRE,PREA,RD,RDA,WR,WRA,REF,REFpb  nRFC
tRC      bank        ACT       REFpb          nRC
tRP      bank        PRE       REFpb          nRP
tRP      bank        RDA       REFpb          nRTP + nRP
tRP      bank        WRA       REFpb          nCWL + nBL + nWR + nRP
tRFCpb   bank        REFpb     ACT,PRE,RD,RDA,WR,WRA,REFpb  nRFCpb
tRFCpb   rank        REFpb     PREA,REF       nRFCpb
tpbR2pbR rank        REFpb     REFpb          nPBR2PBR
tpbR2act rank        REFpb     ACT            nPBR2ACT
tRTRS    other_rank  RD,RDA    RD,RDA         nBL + nRTRS
tRTRS    other_rank  WR,WRA    WR,WRA         nBL + nRTRS
tRTRS    other_rank  RD,RDA    WR,WRA         nCL + nBL + nRTRS - nCWL
tRTRS    other_rank  WR,WRA    RD,RDA         nCWL + nBL + nRTRS - nCL
"""
HBM = """
tRCD     bank        ACT       RD,RDA         nRCDRD
tRCD     bank        ACT       WR,WRA         nRCDWR
tRP      rank        PREA      ACT,REF,REFpb  nRP
tRRD_S   rank        ACT       ACT,REFpb      nRRD_S
tRRD_L   bank_group  ACT       ACT,REFpb      nRRD_L
tCCD_L   bank_group  WR,WRA    WR,WRA         nCCD_L
tWTR_L   bank_group  WR,WRA    RD,RDA         nCWL + nBL + nWTR_L
tRTW     rank        RD,RDA    WR,WRA         nRTW
tRFC     rank        REF       ACT,PRE,PREA,RD,RDA,WR,WRA,REF,REFpb  nRFC
tRC      bank        ACT       REFpb          nRC
tRP      bank        PRE       REFpb          nRP
tRP      bank        RDA       REFpb          nRTP + nRP
tRP      bank        WRA       REFpb          nCWL + nBL + nWR + nRP
tRFCpb   bank        REFpb     ACT,PRE,RD,RDA,WR,WRA,REFpb  nRFCpb
tRFCpb   rank        REFpb     PREA,REF       nRFCpb
tRREFD   rank        REFpb     ACT,REFpb      nRREFD
"""
HBM2E = """
tRTRS    other_rank  RD,RDA    RD,RDA         nBL + nRTRS
tRTRS    other_rank  WR,WRA    WR,WRA         nBL + nRTRS
tRTRS    other_rank  RD,RDA    WR,WRA         nCL + nBL + nRTRS - nCWL
tRTRS    other_rank  WR,WRA    RD,RDA         nCWL + nBL + nRTRS - nCL
"""
HBM3 = """
tPPD     rank        PRE,PREA  PRE,PREA       nPPD
tCCD_R   other_rank  RD,RDA    RD,RDA         nCCD_R
tCCD_R   other_rank  WR,WRA    WR,WRA         nCCD_R
tRTW     other_rank  RD,RDA    WR,WRA         nRTW
tCCD_R   other_rank  WR,WRA    RD,RDA         nCWL + nCCD_R - nCL
"""
COLUMNS = {"RD", "RDA", "WR", "WRA"}
# By preset: its rules, its commands of two clocks, and the bank groups in the refreshed set of bank group 1
PRESETS = {
    "DDR4-3200AA": (ALL_FAMILIES + DDR4, set(), (1,)),
    "DDR4-2400R": (ALL_FAMILIES + DDR4, set(), (1,)),
    "DDR5-4800B": (ALL_FAMILIES + DDR5, {"ACT", *COLUMNS}, range(8)),
    "LPDDR5X-8533": (ALL_FAMILIES + LPDDR5X, {"ACT"}, (1, 3)),
    "HBM2E-3200": (ALL_FAMILIES + HBM + HBM2E, {"ACT"}, (1,)),
    "HBM3-6400": (ALL_FAMILIES + HBM + HBM3, {"ACT"}, (1,)),
}
SETS = ("REFsb", "REFpb")
SCOPES = ("bank", "bank_group", "rank", "other_rank")
CYCLE = 100_000


@cache
def standard_of(preset):
    return load_standard(preset, ranks=2)


@cache
def typed_rules(preset):
    """Return (rule, scope, earlier, later, gap from first clock to first, window), but for gaps that bind nothing."""
    table, two_clocks, _ = PRESETS[preset]
    timing, found = standard_of(preset).timing, []
    for line in filter(None, table.splitlines()):
        rule, scope, earliers, laters, gap = line.split(maxsplit=4)
        earliers, _, window = earliers.partition("*")
        for earlier in earliers.split(","):
            for later in laters.split(","):
                clocks = eval(gap, {}, dict(timing)) + (earlier in two_clocks) - (later in two_clocks)
                if clocks > 0:
                    found.append((rule, scope, earlier, later, clocks, int(window or 1)))
    return found


class Device:
    """A pseudo-channel with two ranks of idle banks; commands take effect whether they are legal or not.

    A place is (rank, bank group, bank). No rule but that of the command busses goes beyond a pseudo-channel.
    """

    def __init__(self, preset):
        self.shape = standard_of(preset).organization
        kind = next(reversed(standard_of(preset).refresh))  # that of a set of banks, where there is one
        rules = rules_of(standard_of(preset), kind)
        self.sets = 0 if kind == "all_bank" else self.shape.banks * rules.set_groups
        self.m = new_channels(rules, Policy(32, 32, 26, 6, 0, 0, 4096, 1, 0, self.sets, 0, 0), 1)[0]
        self.ranks = rules.ranks_per_bus

    def bank(self, rank, group, bank):
        return ((rank * self.shape.bank_groups + group) * self.shape.banks + bank) * host.BANK_SIZE

    def issue(self, command, place, cycle):
        rank, no_log = place[0] * host.RANK_SIZE, np.zeros((0, 5), np.int64)
        if command == "PREA":
            precharge_all(self.m, no_log, rank, cycle)
        elif command in ("REF", *SETS):
            self.m[host.SETS] = 0 if command == "REF" else self.sets
            self.m[rank + host.SET] = self.m[self.bank(*place) + host.SET_NUMBER]
            refresh(self.m, no_log, rank, cycle)
        else:
            raise_bank(self.m, NUMBERS[command], self.bank(*place), cycle)

    def legal_at(self, command, place):
        later = {"RDA": commands.RD, "WRA": commands.WR}.get(command, NUMBERS[command])
        if command in ("PREA", "REF"):
            return self.m[place[0] * host.RANK_SIZE + host.RANK_READY + later]
        return legal_at(self.m, self.bank(*place), later)


def legal_by_the_table(preset, earlier, later, shared):
    """Return when `later` is legal by what it shares with an `earlier` in CYCLE; NEVER if nothing delays it."""
    scopes = SCOPES[3:] if shared == "other_rank" else SCOPES[SCOPES.index(shared) : 3]
    gaps = [gap for _, scope, a, b, gap, window in typed_rules(preset)
            if (a, b, window) == (earlier, later, 1) and scope in scopes]  # fmt: skip
    return CYCLE + max(gaps) if gaps else host.NEVER


def places(preset, refreshed):
    """Yield what a place shares with rank 0, bank group 1, bank 1, or with the set that is refreshed with it."""
    of_set = PRESETS[preset][2] if refreshed else (1,)
    for group in range(4):
        yield "bank" if group in of_set else "rank", (0, group, 1)
    yield from (("bank_group", (0, 1, 0)), ("rank", (0, 2, 0)), ("other_rank", (1, 1, 1)))


def rules_of_window(window):
    rules = [(preset, *rule) for preset in PRESETS for rule in typed_rules(preset) if rule[-1] == window]
    return [pytest.param(*rule[:6], id="-".join([*rule[:2], *rule[3:5], rule[2]])) for rule in rules]


RULE = ("preset", "rule", "scope", "earlier", "later", "gap")


@pytest.mark.parametrize(RULE, rules_of_window(1))
def test_blocked_at_t_minus_1_and_ready_at_t_and_nothing_outside_is_delayed(preset, rule, scope, earlier, later, gap):
    assert legal_by_the_table(preset, earlier, later, scope) == CYCLE + gap, "another rule hides this one"
    device = Device(preset)
    device.issue(earlier, (0, 1, 1), CYCLE)
    for shared, place in places(preset, earlier in SETS):
        assert device.legal_at(later, place) == legal_by_the_table(preset, earlier, later, shared), (shared, place)


@pytest.mark.parametrize(RULE, rules_of_window(4))
def test_the_fifth_activate_of_a_window_waits_for_the_first(preset, rule, scope, earlier, later, gap):
    assert (rule, scope, earlier, later) == ("tFAW", "rank", "ACT", "ACT")
    device = Device(preset)
    for i, cycle in enumerate((CYCLE, CYCLE + 1, CYCLE + 2)):
        device.issue("ACT", (0, i, 0), cycle)
    for place in ((0, 0, 1), (0, 3, 0)):
        assert device.legal_at("ACT", place) < CYCLE + gap
    device.issue("ACT", (0, 3, 0), CYCLE + 3)
    for place in ((0, 0, 1), (0, 1, 1), (0, 2, 1), (0, 3, 1)):
        assert device.legal_at("ACT", place) == CYCLE + gap
    device.issue("ACT", (0, 0, 1), CYCLE + 4)
    assert device.legal_at("ACT", (0, 1, 1)) == CYCLE + 1 + gap
    for rank in range(1, device.ranks):
        assert device.legal_at("ACT", (rank, 0, 1)) == host.NEVER


@pytest.mark.parametrize("preset", PRESETS)
def test_the_rules_typed_here_are_all_rules_of_the_standard(preset):
    table = [(c.rule, c.scope, c.earlier, c.later, c.gap, c.window) for c in standard_of(preset).constraints]
    assert sorted(table) == sorted(typed_rules(preset))
